"""MarkService: says which versions are bad and which are to be kept. Nothing that runs is touched."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import (
    ChangeFailedError,
    DeploymentBusyError,
    EngineError,
    GeusemakerError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.models.history import StackTags
from geusemaker.models.plan import Event
from geusemaker.models.result import MarkResult
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services import lease
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.identity import require_account
from geusemaker.services.rollback.target import default_target, unknown_version
from geusemaker.services.states import get_state, load_state, require_idle, require_readable

_ATTEMPTS: Final = 5
_KIND: Final = "mark"
_TURN_SECONDS: Final = 60.0
"""For so long other marks are waited for; each takes a second or two."""
_PAUSE_SECONDS: Final = 0.2


class MarkService:
    """Marks and pins.

    Marks are a stack tag, and a backend's tags are written whole: of two writers at once one would lose what it wrote.
    So they are written under the lease, as everything else is. Marks have to work while the instance is dead, too: then
    writers of this machine take turns, what was written is read back, and written again where it is not there. Two
    machines that mark in the same second while the instance is dead are the case that this leaves.
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
        with self._with.engine.turn(), ExitStack() as stack:
            state = self._state()
            self._version(state, number)
            self._take_lease(state, stack)
            return self._set_alone(number, bad, pinned, reason)

    def _set_alone(self, number: int, bad: bool | None, pinned: bool | None, reason: str) -> MarkResult:
        # Read again: whoever had the lease before may have marked the same version.
        before = self._version(self._state(), number)
        wanted = (before.bad if bad is None else bad, before.pinned if pinned is None else pinned)
        same = self._same_system(before)
        note = self._note(wanted, reason) or (before.note if any(wanted) else "")
        try:
            written = wanted == (before.bad, before.pinned) or self._write(number, same, *wanted)
            if written and note != before.note:
                self._with.engine.set_note(number, note)
            state = load_state(self._with, whole=True)
        except (GeusemakerError, KeyboardInterrupt) as error:
            raise self._unsure(number, error) from error
        if not written:
            raise EngineError(
                f"The mark on v{number} was written {_ATTEMPTS} times and is not there: somebody else writes as well.",
                state="Nothing was changed.",
                next_step="Run the command again.",
            )
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

    def _unsure(self, number: int, error: GeusemakerError | KeyboardInterrupt) -> GeusemakerError:
        """What is to be said where the mark may have been written, or a part of it."""
        name = self._with.deployment
        state = f"The mark on v{number} may be written, or not; nothing else was touched."
        next_step = f"`geusemaker history {name}` shows it; running the command again is safe."
        if isinstance(error, KeyboardInterrupt):
            return InterruptedOperationError("Interrupted.", state=state, next_step=next_step)
        return ChangeFailedError(error.message, restored=False, state=state, next_step=next_step)

    def _take_lease(self, state: DeploymentState, stack: ExitStack) -> None:
        """Hold the lease until ``stack`` is closed, if there is an instance to take it through.

        Raises:
            DeploymentBusyError: another operation has it, or other marks do all the time.
        """
        if state.target is None or state.destroyed:
            return
        try:
            require_account(self._with, state.target)
            instance = self._with.cloud(state.target.region).find_instance(state.name)
            if instance is None or not instance.may_answer:
                return
            secrets = self._with.engine.load_secrets()
            host = stack.enter_context(self._with.open_host(instance.address, state.target, secrets))
            operation = self._with.clock.new_operation_id()
            self._begin(host, operation, instance.id)
        except (DeploymentBusyError, RefusedError):
            raise
        except GeusemakerError as error:
            text = f"Written without the lease, as the instance does not give it: {error.message}"
            self._with.on_event(Event(kind="warning", message=text))
            return
        stack.callback(lease.give_back, self._with, host, operation, "done")

    def _begin(self, host: Host, operation: str, instance_id: str) -> None:
        deadline = self._with.clock.monotonic() + _TURN_SECONDS
        while True:
            try:
                lease.take(
                    self._with,
                    host,
                    operation,
                    _KIND,
                    expects=None,
                    takeover=None,
                    instance_id=instance_id,
                    untouched="Nothing was changed.",
                )
                return
            except DeploymentBusyError:
                holder = host.lease().lease or Lease()
                marks = holder.state != "held" or holder.kind == _KIND
                if not marks or self._with.clock.monotonic() > deadline:
                    raise
                self._with.clock.sleep(_PAUSE_SECONDS)

    def _same_system(self, version: Version) -> frozenset[int]:
        versions = self._state().versions
        return frozenset(one.number for one in versions if one.config.system == version.config.system)

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
        require_idle(self._with, state)
        if state.unreadable_marks:  # writing would lose what they say
            require_readable(state)
        return state

    @staticmethod
    def _version(state: DeploymentState, number: int) -> Version:
        version = state.find_version(number)
        if version is None:
            raise unknown_version(state, number)
        return version


def _with(numbers: tuple[int, ...], number: int, wanted: bool) -> set[int]:
    return {*numbers, number} if wanted else {*numbers} - {number}


def _holds(tags: StackTags, same: frozenset[int], number: int, bad: bool, pinned: bool) -> bool:
    return (bool(same & {*tags.bad}), number in tags.pinned) == (bad, pinned)
