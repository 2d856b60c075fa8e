"""What was found when it was looked how things are, before anything is changed: all that a plan is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geusemaker.agent.protocol.rehearsal import Rehearsal
from geusemaker.agent.protocol.stored import Stopped
from geusemaker.checks.cloud import CheckContext
from geusemaker.checks.images import Published
from geusemaker.errors import EngineError, GeusemakerError
from geusemaker.models.advisory import KnownHoles
from geusemaker.models.held import DataReturn
from geusemaker.models.inspection import InstanceState
from geusemaker.models.ownership import Tagged
from geusemaker.models.plan import CheckResult, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.stack import ServiceName
from geusemaker.models.version import Provenance
from geusemaker.services.change.model import Asked
from geusemaker.services.costs import Priced
from geusemaker.services.mending import Mending


@dataclass(frozen=True)
class Answers:
    """What the instance says of itself and of the data."""

    checks: tuple[CheckResult, ...] = ()
    is_there: bool = False
    """Whether its agent can be asked and told."""
    reboot: bool = False
    """Whether the instance runs, does not answer, and may be stopped and started."""
    never_set_up: bool = False
    """Whether the instance was made, and nothing on it."""
    mounted: str = ""
    """The id of the file system that the instance has mounted."""
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    """Services that somebody stopped on purpose."""
    missing_images: list[str] | None = None
    """The services whose image is not on the instance; None: not known."""
    differs: dict[ServiceName, list[str]] | None = None
    """What of each service is not what lies on the instance; None: not known."""
    unhealthy: frozenset[str] = frozenset()
    """Services of the active version that are not healthy."""
    models: Mapping[str, int] | None = None
    """Model of Ollama's → bytes; None: not asked, or not told."""
    rehearsals: tuple[Rehearsal, ...] = ()
    """The latest rehearsals on it."""
    data_return: DataReturn | None = None
    """The older data that goes back as well, where that was asked for."""
    active_fails: bool = False
    """Whether services of the active version end again and again."""


@dataclass(frozen=True)
class Findings:
    """What is asked for, completed by what was found of it, and how things are."""

    asked: Asked
    provenance: Provenance
    """That of the version that this makes."""
    candidate: Path
    """The config file to plan and apply with."""
    context: CheckContext
    mending: Mending | None
    """What a killed or failed engine left; None where that is not to be put right."""
    operations: tuple[ResourceOperation, ...]
    preview_error: EngineError | None
    """Why the engine made no plan."""
    observed: Mapping[str, str]
    """What AWS has of the deployment."""
    living: Mapping[str, str]
    """What AWS has under this name of which there must be just one: type → in words."""
    tagged: tuple[Tagged, ...]
    """What AWS has under this name; empty without a plan of the engine's."""
    file_system: str
    """The id of the file system that holds the data, or is taken up; empty where there is none."""
    cloud_checks: tuple[CheckResult, ...]
    ami: str | GeusemakerError | None
    """The architecture of the AMI; None where AWS has it no more; the error where it could not be asked."""
    published: Mapping[str, Published]
    """What the registries say of the images, by service."""
    answers: Answers
    past: tuple[OperationRecord, ...] = ()
    """What this machine's journal knows of earlier operations, oldest first."""
    image_dates: Mapping[str, str] = field(default_factory=dict)
    """AMI → the day on which it was made, where another one comes."""
    priced: Priced | None = None
    """What AWS asks for; None where nothing is to be paid."""
    holes: KnownHoles | None = None
    """What is published of holes that come back; None where no image does, or nobody was asked."""

    @property
    def instance(self) -> InstanceState | None:
        """The instance, as AWS tells of it."""
        return self.context.instance
