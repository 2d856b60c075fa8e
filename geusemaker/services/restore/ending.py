"""How a restore ends: to its end, half-way, or before anything was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from geusemaker.agent.protocol.answers import Restored
from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import ChangeFailedError, GeusemakerError, HostError, InterruptedOperationError
from geusemaker.models.checkpoint import RestorePlan
from geusemaker.models.record import told_by
from geusemaker.models.result import RestoreResult
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import UNTOUCHED, Operation, nothing_changed

_OUT_OF_SIGHT: Final = ("unreachable", "timeout", "agent_died")
"""Codes of errors that the agent did not tell itself: it may be at work still, or have left n8n stopped."""


@dataclass(frozen=True)
class Act:
    """A restore that was begun."""

    collaborators: Collaborators
    operation: Operation
    host: Host
    plan: RestorePlan
    started: float


def ended_early(act: Act, error: HostError | KeyboardInterrupt) -> RestoreResult:
    """What a restore that did not come to its end amounts to.

    Raises:
        HostError: nothing was changed.
        InterruptedOperationError: Ctrl-C; says whether anything was changed.
        ChangeFailedError: the instance is out of sight, so nobody knows how far it came.
    """
    if isinstance(error, KeyboardInterrupt):
        if not act.operation.cancel(act.host, "The restore") or _may_have_changed(act):
            raise _unfinished(act.plan, error) from error
    elif error.code in _OUT_OF_SIGHT:
        raise _unfinished(act.plan, error) from error
    elif _may_have_changed(act):
        return failed(act, Restored(), error.message, "The restore failed half-way")
    act.operation.settle(act.host, "abandoned")
    raise nothing_changed(error, UNTOUCHED) from error


def _may_have_changed(act: Act) -> bool:
    """Whether anything that shows may have been done: the agent notes so in the lease before it does."""
    try:
        held = act.host.lease().lease or Lease()
    except HostError:
        return True
    return held.operation != act.operation.id or held.changed


def _unfinished(plan: RestorePlan, error: BaseException) -> GeusemakerError:
    """It was stopped, or is out of sight, in the middle. The intent stays open: that is how others know."""
    name = plan.deployment
    state = "Each database is the old one or the restored one; collections may be either. Nothing is lost."
    again = f"`geusemaker restore {name} --checkpoint {plan.checkpoint.checkpoint}` again"
    next_step = f"Run {again}, or `geusemaker recover {name}` to go on with what is there."
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError("Interrupted in the middle.", state=state, next_step=next_step)
    return ChangeFailedError(
        f"The instance went out of sight during the restore: {error}",
        restored=False,
        state=state,
        next_step=next_step,
    )


def failed(act: Act, done: Restored, reason: str, what: str) -> RestoreResult:
    """The result, on record, of a restore that began to change things: ``what`` is how far it came."""
    plan = act.plan
    taken = f"v{plan.active_version}/{plan.operation_id}"
    result = result_of(act, done, success=False).model_copy(
        update={
            "taken": taken,
            "exit_code": 4,
            "error_message": f"{what}: {reason}",
            "next_step": f"`geusemaker status {plan.deployment}` tells how things are; `geusemaker restore "
            f"{plan.deployment} --checkpoint {taken}` puts back what was there before.",
        }
    )
    return finish(act, result)


def result_of(act: Act, done: Restored, *, success: bool, health: dict[str, bool] | None = None) -> RestoreResult:
    """The result of a restore, from what the agent has done."""
    plan = act.plan
    return RestoreResult(
        success=success,
        deployment=plan.deployment,
        version=plan.active_version,
        operation_id=plan.operation_id,
        checkpoint=plan.checkpoint.checkpoint,
        replaced=list(plan.replaced),
        kept=done.kept,
        set_aside=done.set_aside,
        taken=done.checkpoint.checkpoint,
        health_status=health or {},
        duration_seconds=round(act.collaborators.clock.monotonic() - act.started, 3),
        checks=list(plan.checks),
        undo=f"geusemaker restore {plan.deployment} --checkpoint {done.checkpoint.checkpoint}"
        if success and done.checkpoint.checkpoint
        else "",
    )


def finish(act: Act, result: RestoreResult) -> RestoreResult:
    """Put it on record, and give the lease back."""
    replaced = [f"{one.then.service}.{one.then.name}: as now -> as in {result.checkpoint}" for one in result.replaced]
    act.operation.finish(
        act.host,
        **told_by(result),
        reason=act.plan.reason,
        changes=replaced,
        checkpoint={"checkpoint": result.taken, "kept": result.kept, "set_aside": result.set_aside},
        restored=result.checkpoint,
    )
    return result
