"""Does beforehand what can be done while everything still runs: images, a copy of the data, a restart of what hangs."""

from __future__ import annotations

from typing import Any, Final

from geusemaker.errors import ChangeFailedError, HostError, InterruptedOperationError
from geusemaker.program.compose import render
from geusemaker.services.change.begin import abandon
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host

_PREFETCH_SECONDS: Final = 3600.0
_CHECKPOINT_SECONDS: Final = 3600.0
_RESTART_SECONDS: Final = 600.0


def prepare(work: Work) -> dict[str, Any] | None:
    """Pull images, and copy the data where that is part of the plan.

    Returns:
        What was copied: the checkpoint's name, and what it holds; None where nothing was.

    Raises:
        HostError: it was not possible.
    """
    host = work.connection.host
    if host is None:
        return None
    with work.phase("prefetch", "pulling images while everything still runs"):
        compose = render(work.plan.config, data_volume=work.change.target.has_data_volume)
        document = {"operation": work.operation.id, "compose": compose}
        work.tell(host, "prefetch", document, timeout=_PREFETCH_SECONDS)
    return _take_checkpoint(work, host)


def restart(work: Work) -> None:
    """Start services once more that run and do not answer: to Compose, there is nothing to do about them.

    Raises:
        ChangeFailedError, InterruptedOperationError: nobody knows which of them run.
    """
    host, services = work.connection.host, work.change.restarts
    if host is None or not services or work.plan.stops_instance:
        return
    document = {"operation": work.operation.id, "services": list(services)}
    words = ", ".join(services)
    state, again = "Each of them may run, or not.", f"Run `geusemaker recover {work.asked.name}` again."
    try:
        with work.phase("restart", words):
            work.tell(host, "restart", document, timeout=_RESTART_SECONDS)
    except KeyboardInterrupt as error:
        abandon(work)  # no version was touched: how the services are is looked at again
        raise InterruptedOperationError(
            f"Interrupted while {words} was started once more.", state=state, next_step=again
        ) from error
    except HostError as error:
        abandon(work)
        raise ChangeFailedError(
            f"{words} could not be started once more: {error.message}", restored=False, state=state, next_step=again
        ) from error


def _take_checkpoint(work: Work, host: Host) -> dict[str, Any] | None:
    plan = work.plan
    if plan.checkpoint_of is None:
        return None
    document = {
        "operation": plan.operation_id,
        "number": plan.checkpoint_of,
        "kind": plan.kind,
        "services": list(plan.checkpoint_services),
    }
    try:
        with work.phase("checkpoint", "copying the data while everything still runs"):
            taken = work.tell(host, "checkpoint", document, timeout=_CHECKPOINT_SECONDS)
    except HostError as error:
        if work.asked.state.unsettled:
            # Something is broken already, and this may be the way out of it.
            work.warn(f"There is no checkpoint: {error.message}")
            return None
        error.next_step = error.next_step or "Mend the cause, or go on without a copy with --no-checkpoint."
        raise
    return {key: taken[key] for key in ("checkpoint", "holds")}
