"""What a judgement is made of, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geusemaker.agent.protocol.stored import Sentinel
from geusemaker.models.ending import InstanceEnd
from geusemaker.models.history import StoppedInstance
from geusemaker.models.inspection import (
    STATUS_EXIT_CODES,
    DataVolumeState,
    FileSystemState,
    InstanceState,
    Interruption,
    ServiceState,
    StoppedService,
)
from geusemaker.models.stack import ServiceName
from geusemaker.models.state import DeploymentState


@dataclass(frozen=True)
class Trouble:
    """Why something could not be looked at.

    ``code``: ``account`` (the credentials are of another), ``aws``, ``secrets`` (what opens them is missing or wrong),
    ``engine`` (it could not read them), or the host's own (see HostError).
    """

    code: str
    message: str
    next_step: str = ""


@dataclass(frozen=True)
class Facts:
    """What was looked at. What could not be is empty, and ``trouble`` says why."""

    state: DeploymentState
    interruption: Interruption | None = None
    left_behind: str = ""
    """What an operation still holds that was killed when it had changed nothing, or all was done."""
    instance: InstanceState | None = None
    ended: InstanceEnd | None = None
    """Why the instance does not run, or did not."""
    file_system: FileSystemState | None = None
    volume: DataVolumeState | None = None
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    stopped: Mapping[str, StoppedService] = field(default_factory=dict)
    """Services that somebody stopped on purpose, as noted on the file system."""
    rest: StoppedInstance | None = None
    """The note that the instance itself is stopped on purpose, while it is."""
    stays: str = ""
    """What is paid all the same; empty: nothing, as on the local cloud."""
    asked: bool = False
    """Whether the instance answered."""
    sentinel: Sentinel | None = None
    """The file that tells whose data this is; None where there is none."""
    sentinel_known: bool = False
    """Whether the file system could be asked for it."""
    data_trouble: str = ""
    """Why the mounted file system could not be read."""
    lease_damage: str = ""
    """What is said of a lease on it that cannot be read."""
    trouble: Trouble | None = None
    lost: str = ""
    """What the file system knows of a version that the history has lost."""
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """What state things are in, in a word and in a sentence or two, and what of it ``recover`` puts right."""

    status: str
    summary: str
    repairs: tuple[str, ...] = ()
    """What is not as it should be, one phrase each."""
    restarts: tuple[ServiceName, ...] = ()
    """Services that run and do not answer: starting them once more may help."""
    failing: tuple[ServiceName, ...] = ()
    """Services that fail by themselves, again and again: what is active cannot be put right as it is."""

    @property
    def exit_code(self) -> int:
        """0 healthy, 7 looked and not healthy, 8 could not be judged."""
        return STATUS_EXIT_CODES.get(self.status, 7)
