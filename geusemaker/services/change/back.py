"""Goes back by itself after a change that failed: once, by another change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from geusemaker.errors import GeusemakerError, InterruptedOperationError
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.services import bookkeeping, notices
from geusemaker.services.change.fail import WayBack
from geusemaker.services.change.model import Asked, Change
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.guard import replaces_instance
from geusemaker.services.outcomes import trigger_of
from geusemaker.services.rollback.target import advice
from geusemaker.services.states import load_state


def go_back(
    work: Work, failed: OperationResult, way: WayBack, carry_out: Callable[[Collaborators, Asked], OperationResult]
) -> OperationResult:
    """Go back.

    Args:
        work: the change that failed; the way back works with connections of its own, and takes the lease over.
        failed: what it came to.
        way: where to.
        carry_out: makes another change, without asking.

    Raises:
        InterruptedOperationError: Ctrl-C.
    """
    name, trigger, number = work.asked.name, trigger_of(way.outcome), way.version.number
    reason = failed.error_message or ""
    work.warn(f"{reason} Going back to v{number} by itself ({trigger}).")
    work.connection.close()
    try:
        restored = carry_out(work.collaborators, _return(work, way, reason))
    except (InterruptedOperationError, KeyboardInterrupt) as error:
        work.operation.give_back(work.after_failure(), "failed")
        raise InterruptedOperationError(
            f"Interrupted on the way back to v{number}.",
            state=f"{reason} What runs on the instance may be either version, or neither.",
            next_step=f"Run `geusemaker recover {name}` to get back to a healthy version.",
        ) from error
    except Exception as error:
        # Whatever it is: the change failed and was not taken back, which is another exit code than its own.
        said = str(error) if isinstance(error, GeusemakerError) else bookkeeping.reason(error)
        restored = failed.model_copy(update={"error_message": said})
    if not restored.success and restored.newer_data is None:
        work.operation.give_back(work.after_failure(), "failed")
        return failed.model_copy(
            update={
                "exit_code": 4,
                "error_message": f"{reason} Going back to v{number} failed as well: {restored.error_message}",
                "next_step": _advice(work),
            }
        )
    back_again = failed.model_copy(
        update={
            "exit_code": 3,
            "version": restored.version,
            "rolled_back_to": number,
            "health_status": restored.health_status,
            "duration_seconds": work.elapsed,
            "away_seconds": work.away.seconds,
            "newer_data": restored.newer_data,
            "warnings": restored.warnings,
            "data_kept": restored.data_kept,
            "next_step": "Nothing has to be done now. " + notices.mend(name, failed.evidence, way.outcome),
        }
    )
    if restored.success:
        return back_again
    return back_again.model_copy(
        update={
            "exit_code": 4,
            "error_message": f"{reason} v{number} is back, but {restored.warnings[-1]}",
            "next_step": restored.next_step,
        }
    )


_GOES_BACK: Final = ("site", "ssh_cidrs", "connect", "tags", "root_volume_tagged", "permissions_boundary")
"""Facts of the deployment that a change which failed may have failed on."""


def _return(work: Work, way: WayBack, reason: str) -> Asked:
    """The change that goes back."""
    before, target = work.asked.state.target, work.change.target
    # Sizes stay as they are now; what is open goes back with what runs, and with it who may connect: other addresses
    # may be why it failed, and would shut this one out as well.
    back_to = {"site": None} if before is None else {name: getattr(before, name) for name in _GOES_BACK}
    back = Change(
        kind="rollback",
        config=way.version.config,
        target=target.model_copy(update=back_to),
        source_version=way.version.number,
        trigger=trigger_of(way.outcome),
        # The engine may have left something: it failed, or was stopped. Another instance may never have had the lease.
        repair=way.outcome.agent_error is None or way.outcome.timed_out or replaces_instance(work.plan.operations),
        began_with=way.began_with,
    )
    # Whoever allowed another instance for the way there allowed it for the way back: that needs the old image again.
    options = ChangeOptions(
        reason=f"{work.change.kind} v{work.plan.number} failed: {reason}"[:500],
        allow_replace=work.asked.options.allow_replace,
    )
    return Asked(back, options, way.state)


def _advice(work: Work) -> str:
    """What to type next, by the history as it is now."""
    try:
        return advice(load_state(work.collaborators))
    except GeusemakerError:
        return f"`geusemaker status {work.asked.name}` says what to do."
