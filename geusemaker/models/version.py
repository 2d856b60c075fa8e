"""Versions of a deployment and the records of the operations that made them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.stack import StackConfig

OperationKind = Literal["deploy", "update", "rollback", "recover"]
RotationKind = Literal["rotate-ssh", "rotate-database", "import-n8n-key"]
"""What changes a secret: it makes no version."""
VersionStatus = Literal["pending", "active", "superseded", "failed", "interrupted"]
Trigger = Literal["manual", "health_check_failed", "timeout", "spot_interruption", "apply_failed"]
"""``apply_failed``: the engine, AWS or the instance refused, and the services were not judged."""


WayBackKind = Literal["rollback", "with-data", "none", "unknown"]


class WayBack(Model):
    """How one gets back to what ran before a change: known before it is made, and put right by what it turns out to do.

    ``rollback``: one command, and the data stays as it is. ``with-data``: the data of before goes back as well, and
    what was written since is set aside. ``none``: not by a way that the rules know. ``unknown``: only trying tells.
    """

    to_version: int
    """The version that ran before."""
    kind: WayBackKind
    """Which way."""
    because: tuple[str, ...] = ()
    """Why it is no plain rollback, or what to know of one; a phrase each."""
    commands: tuple[str, ...] = ()
    """What to type, in order; none where there is no way."""

    def told(self, number: int) -> str:
        """It as one line: from the version with that number.

        ``v7 → v6: `geusemaker rollback prod v6```
        """
        step, why = f"v{number} → v{self.to_version}", "; ".join(self.because)
        typed = ", then ".join(f"`{command}`" for command in self.commands)
        if self.kind == "rollback":
            return f"{step}: {typed}" + (f" ({why})" if why else "")
        if self.kind == "with-data":
            return f"{step}: {typed} ({why}; what is written after this change is not in that copy, and is set aside)"
        return f"{step}: {self.kind}, because {why}"


class Provenance(Model):
    """Where a version comes from; stored beside its StackConfig under ``geusemaker:version``."""

    number: int = Field(ge=1)
    """The version's; they only grow."""
    operation_id: str
    """The operation's own id, which sorts by time."""
    previous_operation_id: str = ""
    """The operation before this one; its lease is the one this operation may take over."""
    takes_over: bool = False
    """Whether this operation may take the lease from the previous one, whose owner is known to be gone."""
    other_instances: tuple[str, ...] = ()
    """Living instances besides the deployment's own: while one of them serves the data, no other may."""
    known_rules: dict[str, str] = Field(default_factory=dict)
    """Rules of the security groups that AWS has and Pulumi's state does not, which this operation takes up: name in the
    program → id. They were made within their group by a geusemaker of before, by a killed engine, or by hand."""
    kind: OperationKind
    """What made it."""
    source_version: int | None = None
    """The version whose config it took, all of it; None: it is no rollback, or one of some services alone."""
    services_from: dict[str, int] = Field(default_factory=dict)
    """A rollback of some services alone: service → the version whose config of it this took. All else it has of the
    version that was active."""
    trigger: Trigger = "manual"
    """What set it off: a person, or what failed."""
    actor: str
    """Who did it: user, and machine where that is known."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    created_at: datetime
    """When."""
    set_secrets: tuple[str, ...] = ()
    """The names of the secrets that were set with it. Their values are no part of it."""
    active_operation_id: str = ""
    """The operation that made the version which was active before: older data that it put in place stays there."""
    with_data: bool = False
    """Whether older data was put in place before its services started."""
    data_of: str = ""
    """The checkpoint that was of, once that is chosen."""
    way_back: WayBack | None = None
    """The way back to what ran before, as it was foreseen; None: there was nothing to go back from, or it is of a
    geusemaker that did not say."""


class Version(Model):
    """A numbered, immutable StackConfig of a deployment and what became of it.

    ``healthy`` is a recorded fact: the update that made the version ended with its gate passed.
    """

    provenance: Provenance
    """Where it comes from."""
    config: StackConfig
    """What it runs."""
    status: VersionStatus
    """What became of it."""
    healthy: bool
    same_as: int | None = None
    """The oldest version with the same system; None where this is it."""
    bad: bool = False
    """It, or another version with the same system, was marked bad."""
    gate_failed: bool = False
    """Its own services failed their gate, or were found failing after it."""
    newer_data: bool = False
    """It became healthy on data that newer software had migrated, and is not known to work on it."""
    failed_as: int | None = None
    """The version as which this system's services failed when it was last tried; None when they did not."""
    newer_data_as: int | None = None
    """The version as which this system last became healthy, on newer data; None when it was on data of its own."""
    pinned: bool = False
    """It is kept ready, however old it gets."""
    archived: bool = False
    """It is past the deployment's retention."""
    note: str = ""
    """Why and by whom it was marked or pinned."""
    way_back: WayBackKind | None = None
    """The way from it back to what ran before it, as it turned out; None: nobody said."""
    duration_seconds: float | None = None
    """How long its update took; None: not known."""
    away_seconds: dict[str, float] | None = None
    """Service → how long its update had it away, those that were; None: not known, no journal in reach tells it."""

    @property
    def number(self) -> int:
        """The version's number; numbers only grow."""
        return self.provenance.number


class UnreadableVersion(Model):
    """A version that another geusemaker wrote in words that this one cannot read."""

    number: int | None = None
    """None where not even that can be read."""
    created_at: datetime
    """When its update began."""
    succeeded: bool
    """Whether its update ended well."""
    why: str
    """What of it cannot be read."""


class RollbackRecord(Model):
    """One rollback, as the story's data model has it, with what else a reader of history asks for."""

    timestamp: datetime
    """When."""
    trigger: Trigger
    """What set it off: a person, or what failed."""
    resources_deleted: list[str] = Field(default_factory=list)
    """What Pulumi deleted: type and name."""
    success: bool
    """Whether it came back healthy."""
    error_message: str | None = None
    """What went wrong, one sentence or two; None: nothing did."""
    previous_state_version: int
    """The version that was active before."""
    rolled_back_changes: list[str] = Field(default_factory=list)
    """What was taken back, one phrase each."""
    version: int | None = None
    """The version that it made; None: it made none."""
    source_version: int | None = None
    """The version whose config it has, all of it; None: some services alone went back."""
    services_from: dict[str, int] = Field(default_factory=dict)
    """Service → the version that it went back to, where some went back alone; empty: all did."""
    operation_id: str = ""
    """The operation's own id, which sorts by time."""
    actor: str = ""
    """Who did it: user, and machine where that is known."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    """Service → whether it was healthy at the end."""
    duration_seconds: float | None = None
    """How long it took; None: not known."""
