"""How the fields of a config are called: on the command line, in a plan's changes, in the history.

Each is declared here once and stands in the annotation of its field in ``models/stack.py``. This module imports nothing
of ours and no pydantic, since the command line reads it for ``--help``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Option:
    """The option of ``deploy`` and ``update`` that sets a field."""

    flags: str
    help: str
    metavar: str | None = None
    request: str = ""
    """The field of a ConfigRequest that has the value as it is; empty: the services work the value out."""


@dataclass(frozen=True)
class Told:
    """How a field is told to people. One without this is told by its own name."""

    path: str | None = None
    """Its part of the path in a plan's changes; None: the field's name; empty: what is in it stands for itself."""
    history: str = ""
    """What a change of it is called in the history; empty: the old and the new value are shown."""
    system: bool = True
    """Whether it is part of what runs: versions that differ in nothing else are the same system."""
    not_shown: str = ""
    """Why a difference in it is not shown, in a few words; empty: it is."""
    option: Option | None = None


SCHEMA_VERSION: Final = Told(system=False, not_shown="tells how the others are written")
INSTANCE_TYPE: Final = Told(
    option=Option("--instance-type", "EC2 instance type, as t3.large.", "TYPE", request="instance_type")
)
INSTANCE_FACTS: Final = Told(system=False, not_shown="follows from the instance type")
AMI: Final = Told(
    history="AMI",
    option=Option(
        "--ami",
        "The instance's machine image; `newest`: today's Debian 13. A deploy pins the newest by itself; "
        "on an update another one needs --allow-replace.",
        "ID",
    ),
)
ROOT_VOLUME: Final = Told(
    system=False,
    not_shown="of versions of before; disks only grow, so the deployment has the size",
    option=Option("--root-volume", "Size of the instance's own disk.", "GIB"),
)
SERVICES: Final = Told(path="")
IMAGE: Final = Told(option=Option("--image", "Image of a service; repeatable.", "SERVICE=REF"))
ENVIRONMENT: Final = Told(
    path="env",
    history="environment",
    option=Option(
        "--env",
        "Environment variable of a service; an empty value removes it; repeatable. Not for secrets.",
        "SERVICE.KEY=VALUE",
    ),
)
RENDERING: Final = Told(history="compose file")

SETTINGS: Final = Told(path="settings", history="settings", system=False)
HEALTH_DEADLINE: Final = Told(
    path="health_deadline_seconds",
    option=Option(
        "--health-deadline",
        "How long a service may take to become healthy; default 180.",
        "SECONDS",
        request="health_deadline_seconds",
    ),
)
AUTO_ROLLBACK: Final = Told(
    option=Option(
        "--auto-rollback-on-failure/--no-auto-rollback-on-failure",
        "Whether a change that fails goes back by itself.",
        request="auto_rollback_on_failure",
    )
)
DEADLINE: Final = Told(
    option=Option("--deadline", "Minutes a change may take, 5 to 60; default 15.", "MIN", request="deadline_minutes")
)
RETENTION: Final = Told(
    option=Option("--retention", "Versions kept ready to go back to, 1 to 50; default 5.", "N", request="retention")
)

_PLAIN: Final = Told()


def told(metadata: Sequence[Any]) -> Told:
    """How a field is told, by the metadata that pydantic keeps of its annotation."""
    return next((found for found in metadata if isinstance(found, Told)), _PLAIN)
