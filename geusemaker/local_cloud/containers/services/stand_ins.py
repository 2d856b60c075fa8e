"""Which services have a stand-in: each module of this folder that says what ``IMAGE`` it stands for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from geusemaker.local_cloud.containers.services.image import ANY, Image

_FOLDER = Path(__file__).parent


def find(service: str) -> ModuleType | None:
    """The module that stands in for a service, with ``IMAGE`` and ``run``; None where there is none."""
    name = f"{__package__}.{service}"
    if not service.isidentifier() or find_spec(name) is None:
        return None
    module = import_module(name)
    return module if isinstance(getattr(module, "IMAGE", None), Image) else None


def images() -> dict[str, Image]:
    """Service → its image; without the stand-in for all others."""
    found = ((file.stem, find(file.stem)) for file in sorted(_FOLDER.glob("*.py")))
    return {service: module.IMAGE for service, module in found if module is not None and module.IMAGE.repository != ANY}
