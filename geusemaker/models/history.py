"""What the backend remembers: updates, tags, locks. Versions are made from these."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError

from geusemaker.models.base import Model
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.version import OperationKind, Provenance, Trigger

HISTORY_PAGE: Final = 100
"""Entries of a history that are read at first; older ones only where they are asked for."""
DAMAGED: Final = "damaged"
"""The kind of an entry whose file cannot be read: what it was is not known."""
_ACTOR_CHARACTERS: Final = 14
_HOST_CHARACTERS: Final = 24


class HistoryEntry(Model):
    """One entry of Pulumi's update history."""

    kind: str
    """update, refresh, destroy, import … or ``damaged``"""
    result: str
    """succeeded, failed or in-progress"""
    started_at: datetime
    ended_at: datetime | None = None
    config: StackConfig | None = None
    """None where the entry carries no config that this version of geusemaker can read."""
    provenance: Provenance | None = None
    target: Target | None = None
    unreadable: str = ""
    """Why config, provenance or target could not be read; empty when they could, or when there are none."""
    says_target: bool = False
    """Whether the entry says where the deployment is, be it in words that this geusemaker cannot read."""

    @classmethod
    def read(
        cls,
        *,
        kind: str,
        result: str,
        started_at: str,
        ended_at: str | None,
        deployment: str | None,
        provenance: str | None,
        target: str | None,
    ) -> Self:
        """Read an entry as Pulumi prints it; a config under an unknown schema does not hide the rest of history."""
        values: dict[str, Any] = {}
        problems = []
        readers: tuple[tuple[str, str | None, Any], ...] = (
            ("config", deployment, StackConfig),
            ("provenance", provenance, Provenance),
            ("target", target, Target),
        )
        for name, text, model in readers:
            if text:
                try:
                    values[name] = model.model_validate_json(text)
                except ValidationError as error:
                    problems.append(f"{name}: {error.errors()[0]['msg']}")
        return cls(
            kind=kind,
            result=result,
            started_at=datetime.fromisoformat(started_at),
            ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
            unreadable="; ".join(problems),
            says_target=bool(target),
            **values,
        )


IntentKind = OperationKind | Literal["destroy", "restore"]


class Intent(Model):
    """The operation in flight, or the last one: written before anything is changed."""

    operation_id: str
    kind: IntentKind
    number: int
    actor: str
    host: str
    pid: int
    born: str = ""
    """When the process began, in clock ticks since its machine's boot; empty where that cannot be told."""
    started_at: datetime
    outcome: str = ""
    """Empty while the operation runs (or was killed); done or failed after."""
    trigger: Trigger = "manual"
    unsettled: bool = False
    """An earlier operation was killed, and this one ended without repairing what that left."""

    def to_tag(self) -> str:
        """A compact text: a stack tag in Pulumi Cloud holds 256 characters."""
        short = {
            "actor": self.actor[:_ACTOR_CHARACTERS],
            "host": short_host(self.host),
            # Nobody looks for the process of an operation that has ended.
            "born": "" if self.outcome else self.born,
        }
        return self.model_copy(update=short).model_dump_json(exclude_defaults=True)


class StackTags(Model):
    """The mutable facts kept as stack tags."""

    intent: Intent | None = None
    bad: tuple[int, ...] = ()
    pinned: tuple[int, ...] = ()
    notes: dict[int, str] = Field(default_factory=dict)
    """Version → why and by whom it was marked or pinned."""


class LockOwner(Model):
    """Who holds Pulumi's lock on a stack."""

    pid: int
    user: str
    host: str
    since: str
    lives: bool = True
    """Whether that process is an engine that runs on this machine; of another machine's it says nothing."""


class ApplyOutcome(Model):
    """What one run of the engine came to."""

    succeeded: bool
    timed_out: bool = False
    failure: str = ""
    diagnostics: tuple[str, ...] = ()
    agent_error: dict[str, Any] | None = None
    """The agent's own error document, where a command on the instance failed."""
    agent_results: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Command resource → the agent's answer."""
    resources_deleted: tuple[str, ...] = ()
    duration_seconds: float = 0.0


def short_host(host: str) -> str:
    """A host's name as an intent keeps it. Long ones that begin alike (those of build runners) stay different."""
    if len(host) <= _HOST_CHARACTERS:
        return host
    digest = hashlib.sha256(host.encode()).hexdigest()[:8]
    return f"{host[: _HOST_CHARACTERS - 9]}~{digest}"


def utc_now() -> datetime:
    """Now, in UTC, to the second: what provenance and records carry."""
    return datetime.now(UTC).replace(microsecond=0)
