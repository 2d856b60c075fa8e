"""How a destroy ends: what is left is looked at, and what came of it told and put on record."""

from __future__ import annotations

from geusemaker.errors import ChangeFailedError, GeusemakerError, InterruptedOperationError
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, Plan
from geusemaker.models.record import told_by
from geusemaker.models.result import OperationResult
from geusemaker.services import costs, progress
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.destroy.act import Act
from geusemaker.services.destroy.leftovers import promised, still_there, wait_until_gone
from geusemaker.services.operation import UNTOUCHED, nothing_changed


def conclude(act: Act, outcome: ApplyOutcome) -> OperationResult:
    """Look at what is left, and write down what came of it."""
    state, plan = act.state, act.plan
    if not outcome.succeeded:
        raise failure(
            act,
            f"Not everything could be deleted: {next(iter(outcome.diagnostics), outcome.failure)}{_left(act)}",
            "Some of the data may be left." if act.delete_data else "The data is untouched.",
        )
    if state.target is not None:
        cloud = act.collaborators.cloud(state.target.region)
        with progress.phase(act.collaborators.on_event, "verify", "asking AWS whether all of it is gone"):
            undead = wait_until_gone(
                act.collaborators, cloud, promised(plan.operations), act.started + act.deadline_seconds
            )
        if undead:
            raise failure(
                act,
                f"Pulumi deleted it, but AWS still has {', '.join(undead)}.",
                "All else is gone." if act.delete_data else "All else is gone; the data is untouched.",
            )
    if act.delete_data:
        if left := act.collaborators.engine.resources():
            names = ", ".join(f"{resource['type']} {resource['id']}" for resource in left.values())
            raise failure(act, f"Not everything could be deleted: {names} is left.", "The data is left.")
        act.collaborators.engine.remove()
    else:
        act.operation.write_end("done", last=act.last)
        if stays := costs.what_stays(plan.cost):
            command = f"`geusemaker destroy {plan.deployment} --delete-data` removes it"
            act.collaborators.on_event(Event(kind="note", message=f"The data stays, and {stays}; {command}."))
    return _record(act, None)


def _left(act: Act) -> str:
    """What AWS has of what was to go, as the end of a sentence; that it cannot be asked is said."""
    target = act.state.target
    if target is None:
        return ""
    try:
        left = still_there(act.collaborators.cloud(target.region), promised(act.plan.operations))
    except GeusemakerError as error:
        return f" What is left cannot be told: {error.message}"
    return f" AWS still has {', '.join(left)}." if left else ""


def ended_early(act: Act, error: GeusemakerError | OSError | KeyboardInterrupt) -> GeusemakerError:
    """What is to be said of a destroy that the engine did not carry out, or not to its end."""
    state = act.state
    if not act.reached.may_have_changed:
        # What an earlier operation left is left as it was.
        act.operation.write_end("failed" if state.last_failed and not state.interrupted else "abandoned", last=act.last)
        act.operation.give_back(act.host, "abandoned")
        return nothing_changed(error, UNTOUCHED)
    act.operation.settle(act.host, "failed")
    again = f"Run `geusemaker destroy {state.name}` again, or `geusemaker deploy {state.name}` to have it back."
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError(
            "Interrupted while it was being deleted.",
            state=f"{_services(act)} a part may be gone.",
            next_step=again,
        )
    return ChangeFailedError(
        f"It was not deleted to the end: {reason(error)}",
        restored=False,
        state=f"{_services(act)} "
        + ("a part may be gone, the data included." if act.reached.deletes_data else "the data is untouched."),
        next_step=again,
    )


def _services(act: Act) -> str:
    """How the services are, as the beginning of a sentence."""
    return "Services are stopped;" if act.reached.stopped else "Services were not stopped by this;"


def failure(act: Act, message: str, left: str) -> ChangeFailedError:
    """Record a failure, and make its error."""
    act.operation.write_end("failed")
    _record(act, message)
    return ChangeFailedError(
        message,
        restored=False,
        state=left,
        next_step=f"Mend the cause and run `geusemaker destroy {act.state.name}` again.",
    )


def _record(act: Act, problem: str | None) -> OperationResult:
    """Put into the journal what it came to; ``problem`` is why it failed."""
    result = result_of(act.plan, act.collaborators, act.started, problem, data_deleted=act.delete_data)
    act.operation.record(**told_by(result), from_version=act.plan.active_version)
    return result


def result_of(
    plan: Plan,
    collaborators: Collaborators,
    started: float,
    problem: str | None = None,
    *,
    dry_run: bool = False,
    data_deleted: bool = False,
) -> OperationResult:
    """The result of a destroy that began at ``started``; ``problem`` is why it failed.

    ``data_deleted``: the data is gone with the rest, and there is no way back.
    """
    return OperationResult(
        success=problem is None,
        deployment=plan.deployment,
        kind="destroy",
        version=None,
        operation_id=plan.operation_id,
        duration_seconds=round(collaborators.clock.monotonic() - started, 3),
        error_message=problem,
        dry_run=dry_run,
        undo="" if problem or dry_run or data_deleted else f"geusemaker deploy {plan.deployment}",
    )
