"""geusemaker: a self-hosted AI stack on AWS, and a safe way back from any change of it.

    from geusemaker import UpdateRequest, Workspace

    prod = Workspace.find().deployment("prod")
    result = prod.update(UpdateRequest(images={"n8n": "n8nio/n8n:1.101.0"}))
    print(result.success, result.version, result.health_status)

The names are those of ``geusemaker/_api.py``; they are loaded when the first is used, so that importing costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geusemaker._api import *  # noqa: F403 (the list is there)


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if not name.startswith("_") and name in __dir__():
        return getattr(import_module("geusemaker._api"), name)
    raise AttributeError(f"module 'geusemaker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(name for name in vars(import_module("geusemaker._api")) if not name.startswith("_"))
