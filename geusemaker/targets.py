"""Where deployments can be: the one place that knows the local cloud from AWS."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloud

TargetKind = Literal["local", "aws"]


@dataclass(frozen=True)
class TargetRuntime:
    """What a target adds: variables for the engine and for AWS clients, and the registry images come from."""

    environment: dict[str, str]
    registry: str | None


def local_cloud() -> LocalCloud:
    """The local cloud of this user (or of ``GEUSEMAKER_LOCAL_DIR``)."""
    from geusemaker.local_cloud.client import LocalCloud, default_folder

    given = os.environ.get("GEUSEMAKER_LOCAL_DIR")
    return LocalCloud(Path(given).expanduser().resolve() if given else default_folder())


def open_target(kind: TargetKind, note: Callable[[str], None]) -> TargetRuntime:
    """Make a target ready for use; the local cloud is started where it does not run.

    Raises:
        LocalCloudError: it cannot be started.
    """
    if kind == "aws":
        return TargetRuntime(environment={}, registry=None)
    cloud = local_cloud()
    status = cloud.status()
    if not status.running:
        note("Starting the local cloud.")
        status = cloud.start()
    # The providers are attached: looking for official plugins to fetch would cost seconds a run, and the network.
    environment = {**cloud.environment(), "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
    return TargetRuntime(environment=environment, registry=status.registry)
