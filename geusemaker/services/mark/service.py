"""MarkService: says which versions are bad and which are to be kept. Nothing that runs is touched."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from geusemaker.errors import (
    ChangeFailedError,
    EngineError,
    GeusemakerError,
    InterruptedOperationError,
)
from geusemaker.models.history import StackTags
from geusemaker.models.result import MarkResult
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.rollback.target import default_target, known_version
from geusemaker.services.states import get_state, load_state, require_idle, require_readable
from geusemaker.services.tag_lease import take_lease_of_tags

_ATTEMPTS: Final = 5
_KIND: Final = "mark"


class MarkService:
    """Marks and pins.

    Marks are a stack tag, and a backend's tags are written whole: of two writers at once one would lose what it wrote.
    So they are written under the lease, announced and put on record, as everything else is. Marks have to work while
    the instance is dead, too: then writers of this machine take turns, what was written is read back, and written again
    where it is not there. Two machines that mark in the same second while the instance is dead are the case that this
    leaves.
    """

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def mark(self, number: int, *, bad: bool, reason: str = "") -> MarkResult:
        """Mark a version bad, or good again.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version, or the marks there are cannot be read.
            DeploymentBusyError: an operation is under way.
            EngineError: it could not be written.
        """
        return self._set(number, bad=bad, reason=reason)

    def pin(self, number: int, *, pinned: bool, reason: str = "") -> MarkResult:
        """Keep a version out of the archive, or let it go there when it is past retention.

        Raises:
            As ``mark``.
        """
        return self._set(number, pinned=pinned, reason=reason)

    def _set(self, number: int, *, bad: bool | None = None, pinned: bool | None = None, reason: str) -> MarkResult:
        operation = Operation(self._with, self._with.clock.new_operation_id(), _KIND, number)
        with self._with.engine.turn(), ExitStack() as stack:
            state = self._state()
            known_version(state, number)
            host = take_lease_of_tags(self._with, operation, state, stack)
            # Read again: whoever had the lease before may have marked the same version.
            state = self._state()
            before = known_version(state, number)
            wanted = (before.bad if bad is None else bad, before.pinned if pinned is None else pinned)
            note = self._note(wanted, reason) or (before.note if any(wanted) else "")
            if (wanted, note) == ((before.bad, before.pinned), before.note):
                return self._result(state, number, changed=False)
            operation.begin(host, beside=state)
            changes = [f"v{number}: {word}" for word in _words((before.bad, before.pinned), wanted)]
            told: dict[str, Any] = {"number": number, "from_version": None, "changes": changes, "reason": reason}
            try:
                state = self._write_all(state, before, wanted, note)
            except GeusemakerError as error:
                operation.finish(host, success=False, error_message=error.message, **told)
                raise
            operation.finish(host, success=True, **told)
            return self._result(state, number, changed=wanted != (before.bad, before.pinned))

    def _write_all(
        self, state: DeploymentState, before: Version, wanted: tuple[bool, bool], note: str
    ) -> DeploymentState:
        """Write mark and note; the state with them.

        Raises:
            EngineError: others write as well, all the time; nothing was changed.
            ChangeFailedError, InterruptedOperationError: it may be written, or a part of it.
        """
        number = before.number
        same = frozenset(one.number for one in state.versions if one.config.system == before.config.system)
        try:
            written = wanted == (before.bad, before.pinned) or self._write(number, same, *wanted)
            if written and note != before.note:
                self._with.engine.set_note(number, note)
            after = load_state(self._with, whole=True)
        except (GeusemakerError, KeyboardInterrupt) as error:
            raise self._unsure(number, error) from error
        if not written:
            raise EngineError(
                f"The mark on v{number} was written {_ATTEMPTS} times and is not there: somebody else writes as well.",
                state=UNTOUCHED,
                next_step="Run the command again.",
            )
        return after

    def _result(self, state: DeploymentState, number: int, *, changed: bool) -> MarkResult:
        version, target = known_version(state, number), default_target(state)
        return MarkResult(
            deployment=state.name,
            version=number,
            bad=version.bad,
            pinned=version.pinned,
            archived=version.archived,
            note=version.note,
            changed=changed,
            default_target=target.number if target is not None else None,
        )

    def _unsure(self, number: int, error: GeusemakerError | KeyboardInterrupt) -> GeusemakerError:
        """What is to be said where the mark may have been written, or a part of it."""
        name = self._with.deployment
        state = f"The mark on v{number} may be written, or not; nothing else was touched."
        next_step = f"`geusemaker history {name}` shows it; running the command again is safe."
        if isinstance(error, KeyboardInterrupt):
            return InterruptedOperationError("Interrupted.", state=state, next_step=next_step)
        return ChangeFailedError(error.message, restored=False, state=state, next_step=next_step)

    def _note(self, wanted: tuple[bool, bool], reason: str) -> str:
        """Why, and who said so; for a mark that is taken away nothing is kept."""
        words = " ".join(reason.split())
        return f"{words} ({self._with.actor})" if words and any(wanted) else ""

    def _write(self, number: int, same: frozenset[int], bad: bool, pinned: bool) -> bool:
        """Write a mark until it is there, which it is not where somebody else writes each time; whether it is.

        ``same``: the versions with the same system, on any of which the mark may be that is taken back.
        """
        for _ in range(_ATTEMPTS):
            found = self._with.engine.tags()
            marked = (
                {*found.bad, number} if bad and not same & {*found.bad} else {*found.bad} - (set() if bad else same)
            )
            self._with.engine.set_marks(marked, _with(found.pinned, number, pinned))
            if _holds(self._with.engine.tags(), same, number, bad, pinned):
                return True
        return False

    def _state(self) -> DeploymentState:
        state = get_state(self._with, whole=True)
        if state.unreadable_intent or (state.intent is not None and state.intent.kind != _KIND):
            require_idle(self._with, state)  # other marks are waited for
        if state.unreadable_marks:  # writing would lose what they say
            require_readable(state)
        return state


def _words(before: tuple[bool, bool], after: tuple[bool, bool]) -> list[str]:
    """What is said of a version that is marked, or pinned, in another way; nothing where only the note is another."""
    named = (("good", "bad"), ("not pinned", "pinned"))
    return [f"{words[was]} -> {words[now]}" for words, was, now in zip(named, before, after, strict=True) if was != now]


def _with(numbers: tuple[int, ...], number: int, wanted: bool) -> set[int]:
    return {*numbers, number} if wanted else {*numbers} - {number}


def _holds(tags: StackTags, same: frozenset[int], number: int, bad: bool, pinned: bool) -> bool:
    return (bool(same & {*tags.bad}), number in tags.pinned) == (bad, pinned)
