"""The act itself: one run of the engine."""

from __future__ import annotations

from geusemaker.agent.deadlines import patience
from geusemaker.errors import ChangeFailedError, GeusemakerError, InterruptedOperationError
from geusemaker.models.history import ApplyOutcome
from geusemaker.services import bookkeeping
from geusemaker.services.change.begin import abandon
from geusemaker.services.change.capacity import Capacity
from geusemaker.services.change.meanwhile import Meanwhile
from geusemaker.services.change.work import Work


class _FailedError(Exception):
    """The engine's run failed; its outcome says how."""


def apply(work: Work, meanwhile: Meanwhile) -> ApplyOutcome:
    """Apply the plan.

    Returns:
        What it came to, a failure too.

    Raises:
        InterruptedOperationError: Ctrl-C.
        ChangeFailedError: it did not begin after the instance was rebooted, so nothing runs.
        GeusemakerError: the engine's run did not begin; nothing was changed.
    """
    change, plan = work.change, work.plan
    outcome: ApplyOutcome
    try:
        with work.phase("apply"), work.collaborators.way(change.target):
            outcome = work.collaborators.engine.up(
                work.found.candidate,
                message=f"{change.kind} v{plan.number}" + (f": {plan.reason}" if plan.reason else ""),
                on_event=work.collaborators.on_event,
                deadline_seconds=change.config.rollback.deadline_minutes * 60.0,
                on_stop=work.connection.canceller(change.target, plan.operation_id),
                before_instance=meanwhile.hold if work.connection.host is not None and plan.stops_instance else None,
                after_mount=meanwhile.mounted if meanwhile.has_to_ask else None,
                after_mount_seconds=patience("prefetch"),
                gives_up=Capacity(work) if plan.stops_instance else None,
            )
            if (told := meanwhile.error) is not None:
                # The engine tells of it as of a program that crashed.
                text = f"{told.message} {told.state}".strip() if change.target.adopting else str(told)
                outcome = outcome.model_copy(update={"failure": text, "diagnostics": ()})
            if not outcome.succeeded:
                raise _FailedError
    except _FailedError:
        return outcome
    except GeusemakerError as error:
        # What a run of the engine comes to is an outcome: it did not begin.
        if plan.holds_all:
            work.operation.settle(work.after_failure(), "failed")
            raise ChangeFailedError(
                f"All services were stopped before, and they were not started: {error.message}",
                restored=False,
                state=f"The data is untouched; no service of {work.asked.name} runs.",
                next_step=f"Mend the cause and run `geusemaker recover {work.asked.name}`.",
            ) from error
        abandon(work)
        raise error.completed(state=work.operation.untouched) from error
    except KeyboardInterrupt as error:
        work.operation.has_lease = True  # or `apply` has taken it for this operation
        work.operation.settle(work.after_failure(), "failed")
        name = work.asked.name
        raise InterruptedOperationError(
            f"Interrupted while v{plan.number} of {name} was being applied.",
            state="What runs on the instance may be neither the old nor the new version.",
            next_step=f"Run `geusemaker recover {name}` to get back to a healthy version.",
        ) from error
    except Exception as error:
        # It may have come to an end or not, so it is treated as one that failed.
        return ApplyOutcome(succeeded=False, failure=bookkeeping.reason(error))
    return outcome
