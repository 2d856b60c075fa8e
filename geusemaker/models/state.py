"""The state of a deployment, as the backend remembers it."""

from __future__ import annotations

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.history import Intent, StoppedInstance
from geusemaker.models.stack import Target
from geusemaker.models.version import UnreadableVersion, Version


class DeploymentState(Model):
    """What is known of a deployment without asking the instance: its versions and its latest operation."""

    name: str
    """The deployment's."""
    versions: tuple[Version, ...] = ()
    """Oldest first."""
    target: Target | None = None
    """Where it is; None: nothing says it."""
    intent: Intent | None = None
    """The latest operation, as it was noted before it began."""
    interrupted: bool = False
    """The latest operation was killed, or is still running."""
    last_failed: bool = False
    """The latest update failed, so what is on the instance may be neither version."""
    last_operation_id: str = ""
    """The latest one in the history."""
    destroyed: bool = False
    """Whether its instance was taken down, and not made again."""
    stopped: StoppedInstance | None = None
    """The instance that was stopped on purpose, as it was noted; whether it still is, AWS tells."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What the deployment is found by; no version has them."""
    rotation: str = ""
    """The operation that made the secrets as they are, by the newest entry; empty: the first deploy did."""
    highest_number: int = 0
    """The highest number in the history, that of a version this geusemaker cannot read included."""
    unreadable: str = ""
    """Why the newest version cannot be read; empty when it can, or when there is none."""
    unreadable_versions: tuple[UnreadableVersion, ...] = ()
    """Those that this geusemaker cannot read, oldest first; they are not among ``versions``."""
    unreadable_intent: str = ""
    """Why the note of the latest operation cannot be read; empty when it can, or when there is none."""
    unreadable_marks: str = ""
    """Why it cannot be read which versions are bad, pinned or failed; empty when it can."""
    damaged: tuple[str, ...] = ()
    """Entries of the history that cannot be read: file and reason. What they were is not known."""

    @property
    def active(self) -> Version | None:
        """The version the deployment runs now: the newest one that became healthy. None before one did."""
        if self.destroyed:
            return None
        return self.last_healthy

    @property
    def last_healthy(self) -> Version | None:
        """The newest version that became healthy, also when the deployment was destroyed since."""
        return next((version for version in reversed(self.versions) if version.healthy), None)

    @property
    def next_number(self) -> int:
        """The number of the next version; one that a killed operation was given is not given again."""
        numbers = [self.highest_number, *(version.number for version in self.versions)]
        if self.intent is not None:
            numbers.append(self.intent.number)
        return max(numbers) + 1

    @property
    def unsettled(self) -> bool:
        """Whether the instance may run something else than the active version."""
        return self.interrupted or self.last_failed

    @property
    def untold(self) -> bool:
        """Whether the latest operation may have changed what runs, and no version tells into what."""
        told = {version.provenance.operation_id for version in self.versions}
        return self.interrupted or (self.last_failed and self.last_operation_id not in told)

    @property
    def active_number(self) -> int | None:
        """The number of the version that the deployment runs, also where that cannot be read by this geusemaker."""
        if self.unreadable and self.unreadable_versions and self.unreadable_versions[-1].succeeded:
            return self.unreadable_versions[-1].number
        return self.active.number if self.active is not None else None

    def find_version(self, number: int) -> Version | None:
        """The version with that number."""
        return next((version for version in self.versions if version.number == number), None)
