"""MarkService: says which versions are bad and which are to be kept. Nothing that runs is touched."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import EngineError
from geusemaker.models.history import StackTags
from geusemaker.models.result import MarkResult
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.rollback.target import default_target, unknown_version
from geusemaker.services.states import busy, is_running, load_state, not_found

_ATTEMPTS: Final = 5


class MarkService:
    """Marks and pins.

    Marks are a stack tag, written whole and without a lock: of two writers at once one can lose what it wrote. So what
    was written is read back, and written again where it is not there. No lease is taken: marks have to work while the
    instance is dead.
    """

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def mark(self, number: int, *, bad: bool, reason: str = "") -> MarkResult:
        """Mark a version bad, or good again.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
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
        before = self._version(self._state(), number)
        wanted = (before.bad if bad is None else bad, before.pinned if pinned is None else pinned)
        if wanted != (before.bad, before.pinned):
            self._write(number, *wanted)
        note = self._note(wanted, reason) or (before.note if any(wanted) else "")
        if note != before.note:
            self._with.engine.set_note(number, note)
        state = load_state(self._with, whole=True)
        after = self._version(state, number)
        target = default_target(state)
        return MarkResult(
            deployment=state.name,
            version=number,
            bad=after.bad,
            pinned=after.pinned,
            archived=after.archived,
            note=after.note,
            changed=wanted != (before.bad, before.pinned),
            default_target=target.number if target is not None else None,
        )

    def _note(self, wanted: tuple[bool, bool], reason: str) -> str:
        """Why, and who said so; for a mark that is taken away nothing is kept."""
        words = " ".join(reason.split())
        return f"{words} ({self._with.actor})" if words and any(wanted) else ""

    def _write(self, number: int, bad: bool, pinned: bool) -> None:
        for _ in range(_ATTEMPTS):
            found = self._with.engine.tags()
            self._with.engine.set_marks(_with(found.bad, number, bad), _with(found.pinned, number, pinned))
            if _holds(self._with.engine.tags(), number, bad, pinned):
                return
        raise EngineError(
            f"The mark on v{number} was written {_ATTEMPTS} times and is not there: somebody else writes marks, too.",
            state="Nothing was changed.",
            next_step="Run the command again.",
        )

    def _state(self) -> DeploymentState:
        state = load_state(self._with, whole=True)
        if not state.versions and state.intent is None:
            raise not_found(self._with.deployment)
        if state.intent is not None and is_running(self._with, state.intent):
            raise busy(state.name, state.intent)
        return state

    @staticmethod
    def _version(state: DeploymentState, number: int) -> Version:
        version = state.find_version(number)
        if version is None:
            raise unknown_version(state, number)
        return version


def _with(numbers: tuple[int, ...], number: int, wanted: bool) -> set[int]:
    return {*numbers, number} if wanted else {*numbers} - {number}


def _holds(tags: StackTags, number: int, bad: bool, pinned: bool) -> bool:
    return (number in tags.bad, number in tags.pinned) == (bad, pinned)
