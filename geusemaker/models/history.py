"""What the backend remembers: updates, tags, locks. Versions are made from these."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, TypeAdapter, ValidationError

from geusemaker.models.base import Model
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.version import OperationKind, Provenance, RotationKind, Trigger, WayBackKind

HISTORY_PAGE: Final = 100
"""Entries of a history that are read at first; older ones only where they are asked for."""
DAMAGED: Final = "damaged"
"""The kind of an entry whose file cannot be read: what it was is not known."""
TAG_CHARACTERS: Final = 256
"""What a tag's value holds in Pulumi Cloud."""
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
    number: int | None = None
    """The version's number, also where the provenance is of a later geusemaker; None where it tells none."""
    rotation: str = ""
    """The operation that made the secrets of this entry's config; empty: they are those of the first deploy."""

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
        rotation: str | None = None,
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
                    problems.append(f"{name}: {_first_problem(error)}")
        return cls(
            kind=kind,
            result=result,
            started_at=datetime.fromisoformat(started_at),
            ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
            unreadable="; ".join(problems),
            says_target=bool(target),
            number=_number(provenance),
            rotation=rotation or "",
            **values,
        )


def _number(provenance: str | None) -> int | None:
    """The number in a provenance, whatever else is in it."""
    try:
        number = json.loads(provenance or "{}").get("number")
    except (ValueError, AttributeError):
        return None
    return number if isinstance(number, int) else None


BesideKind = Literal["mark", "rotate-passphrase", "set-secret", "delete-secret", "label"]
IntentKind = OperationKind | RotationKind | Literal["destroy", "restore", "stop", "start", "rehearse"] | BesideKind
BESIDE: Final = get_args(BesideKind)
"""Kinds of operations that touch nothing that runs: how the latest of the others left it holds on under them."""


class Intent(Model):
    """The operation in flight, or the last one: written before anything is changed."""

    operation_id: str
    """The operation's own id, which sorts by time."""
    kind: IntentKind
    """What it does."""
    number: int
    """The version that it makes, or is about."""
    actor: str
    """Who did it: user, and machine where that is known."""
    host: str
    """The machine it runs on."""
    pid: int
    """Its process there."""
    born: str = ""
    """When the process began, in clock ticks since its machine's boot; empty where that cannot be told."""
    started_at: datetime
    """When it began."""
    outcome: str = ""
    """Empty while the operation runs (or was killed); done or failed after."""
    trigger: Trigger = "manual"
    """What set it off: a person, or what failed."""
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


class Verdicts(Model):
    """What became of versions when they were tried, beyond what Pulumi's history says; kept as one stack tag."""

    failed: tuple[int, ...] = ()
    """Those whose own services failed their gate, or were found failing after it."""
    newer: tuple[int, ...] = ()
    """Those that became healthy on data which newer software had migrated, and are not known to work on it."""
    returns: dict[int, WayBackKind] = Field(default_factory=dict)
    """Those whose way back turned out to be another one than was foreseen → which."""

    def to_tag(self) -> str:
        """A text that a tag holds; where all do not fit, the oldest are left out, which are past retention."""
        kept = sorted({*self.failed, *self.newer, *self.returns})
        while True:
            lists = {"failed": sorted({*self.failed} & {*kept}), "newer": sorted({*self.newer} & {*kept})}
            for number in sorted({*self.returns} & {*kept}):
                lists.setdefault(self.returns[number], []).append(number)
            text = json.dumps({key: numbers for key, numbers in lists.items() if numbers}, separators=(",", ":"))
            if len(text) <= TAG_CHARACTERS:
                return text
            del kept[0]


class StoppedInstance(Model):
    """The instance that somebody stopped on purpose; noted in the backend, since its file system cannot be asked then.

    It holds for as long as that very instance stays stopped; see ``geusemaker.services.rest.at_rest``.
    """

    id: str
    """``i-…``"""
    by: str
    """Who."""
    since: datetime
    """When."""
    reason: str = ""
    """Why; empty where nothing was said."""

    def to_tag(self) -> str:
        """A text that a tag holds; what does not fit of the reason is left out."""
        note = self.model_copy(update={"by": self.by[:_ACTOR_CHARACTERS]})
        while len(text := note.model_dump_json(exclude_defaults=True)) > TAG_CHARACTERS:
            note = note.model_copy(update={"reason": note.reason[:-1]})
        return text


class StackTags(Model):
    """The mutable facts kept as stack tags."""

    intent: Intent | None = None
    bad: tuple[int, ...] = ()
    pinned: tuple[int, ...] = ()
    verdicts: Verdicts = Verdicts()
    notes: dict[int, str] = Field(default_factory=dict)
    """Version → why and by whom it was marked or pinned."""
    stopped: StoppedInstance | None = None
    """None: no instance is noted as stopped on purpose, or not in words that this geusemaker can read."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The deployment's labels."""
    unreadable: str = ""
    """Why the note of the latest operation cannot be read; empty when it can, or when there is none."""
    unreadable_marks: str = ""
    """Why it cannot be read which versions are bad, pinned or failed; empty when it can."""

    @classmethod
    def read(
        cls,
        *,
        intent: str | None,
        marks: str | None,
        verdicts: str | None,
        notes: dict[int, str],
        stopped: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> Self:
        """Read the tags as they are stored. One under a later schema is told of, and hides nothing else."""
        (marked, marks_problem), (judged, verdicts_problem) = _lists("marks", marks), _lists("verdicts", verdicts)
        found, unreadable = None, ""
        if intent:
            try:
                found = Intent.model_validate_json(intent)
            except ValidationError as error:
                unreadable = _first_problem(error)
        resting = None
        if stopped:
            with suppress(ValidationError):
                resting = StoppedInstance.model_validate_json(stopped)
        return cls(
            intent=found,
            stopped=resting,
            bad=marked.get("bad", ()),
            pinned=marked.get("pinned", ()),
            verdicts=Verdicts(
                failed=judged.get("failed", ()),
                newer=judged.get("newer", ()),
                returns={number: kind for kind in get_args(WayBackKind) for number in judged.get(kind, ())},
            ),
            notes=notes,
            labels=labels or {},
            unreadable=unreadable,
            unreadable_marks="; ".join(problem for problem in (marks_problem, verdicts_problem) if problem),
        )


_NUMBERS: Final = TypeAdapter(dict[str, tuple[int, ...]])


def _lists(tag: str, text: str | None) -> tuple[dict[str, tuple[int, ...]], str]:
    """(name → numbers, of a tag that keeps lists of versions; why it cannot be read)"""
    try:
        return _NUMBERS.validate_json(text or "{}"), ""
    except ValidationError as error:
        return {}, f"{tag}: {_first_problem(error)}"


def _first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a stored document; never a value of it."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")


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
    waiting: tuple[str, ...] = ()
    """What the run was at when it was stopped: ``Instance instance`` (type and name), a command by its name alone."""
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
