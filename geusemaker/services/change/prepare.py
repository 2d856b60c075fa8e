"""Does beforehand what can be done while everything still runs: images, a copy of the data, a restart of what hangs."""

from __future__ import annotations

from typing import Any

from geusemaker.errors import ChangeFailedError, HostError, InterruptedOperationError
from geusemaker.program.compose import render
from geusemaker.services.change.begin import abandon
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host


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
        target = work.change.target
        compose = render(
            work.plan.config,
            data_volume=target.has_data_volume,
            site=target.site,
            models_on_volume=target.models_on == "volume",
        )
        host.prefetch(work.operation.id, compose, work.collaborators.on_event)
    taken = _take_checkpoint(work, host)
    _load(work, host)
    return taken


def _load(work: Work, host: Host) -> None:
    """Have the older data that goes back beside what is there, so that the two are exchanged in a moment."""
    returned, provenance = work.plan.data_return, work.found.provenance
    if returned is None:
        return
    with work.phase("load", f"loading {returned.checkpoint} beside the data while everything still runs"):
        settled = provenance.active_operation_id or None
        host.load(work.operation.id, returned.checkpoint, settled, work.collaborators.on_event)


def restart(work: Work) -> None:
    """Start services once more that run and do not answer: to Compose, there is nothing to do about them.

    Raises:
        ChangeFailedError, InterruptedOperationError: nobody knows which of them run.
    """
    host, services = work.connection.host, work.change.restarts
    if host is None or not services or work.plan.stops_instance or work.plan.holds_all:
        return
    words = ", ".join(services)
    state, again = "Each of them may run, or not.", f"Run `geusemaker recover {work.asked.name}` again."
    try:
        with work.phase("restart", words):
            host.restart(work.operation.id, services, work.collaborators.on_event)
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
    try:
        with work.phase("checkpoint", "copying the data while everything still runs"):
            taken = host.checkpoint(
                plan.operation_id,
                plan.checkpoint_of,
                plan.kind,
                plan.checkpoint_services,
                work.collaborators.on_event,
            )
    except HostError as error:
        if work.asked.state.unsettled:
            # Something is broken already, and this may be the way out of it.
            work.warn(f"There is no checkpoint: {error.message}")
            return None
        raise error.completed(next_step="Mend the cause, or go on without a copy with --no-checkpoint.") from error
    return {"checkpoint": taken.checkpoint, "holds": taken.holds}
