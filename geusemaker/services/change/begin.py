"""Begins a change, and gives everything back where it fails before anything that runs was touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geusemaker.errors import (
    ChangeFailedError,
    DeploymentBusyError,
    GeusemakerError,
    InterruptedOperationError,
    PlanRefusedError,
)
from geusemaker.services.change.power import power_on
from geusemaker.services.change.work import Work
from geusemaker.services.operation import nothing_changed
from geusemaker.services.rest.instance import forget


def begin(work: Work) -> None:
    """Have the instance up, and take its lease; where there is no instance to take it through, `apply` takes it.

    Raises:
        DeploymentBusyError: another operation has the lease.
        PlanRefusedError: another operation was the last.
        ChangeFailedError: the instance does not come back from its reboot.
        HostError: the instance or its file system does not answer.
    """
    if work.asked.state.interrupted and work.asked.state.intent is not None:
        work.collaborators.teller.interrupted(work.asked.state.intent)
    power_on(work)
    if work.asked.state.stopped is not None:
        forget(work.collaborators)  # it is on: should AWS stop it one day, that is not on purpose
    host, instance, provenance = work.connection.host, work.found.instance, work.found.provenance
    if host is None:
        return
    work.operation.take_lease(
        host,
        instance.id if instance else "",
        expects=provenance.previous_operation_id or None,
        # A lease that `apply` took by itself (a first deploy) names no owner that could be looked for.
        takeover=provenance.previous_operation_id if provenance.takes_over else None,
        owner_is_gone=work.asked.options.owner_is_gone,
        number=work.plan.number,
        salvage=work.asked.change.repair,
    )


@contextmanager
def given_back(work: Work) -> Iterator[None]:
    """What fails in here has changed nothing that runs: the lease is given back, and the error says so."""
    try:
        yield
    except (ChangeFailedError, InterruptedOperationError):
        work.operation.settle(work.connection.host, "failed")
        raise
    except (DeploymentBusyError, PlanRefusedError):
        # Where the lease was refused it is another operation's turn to say what is going on.
        if work.operation.has_lease or work.operation.announced:
            abandon(work)
        raise
    except (GeusemakerError, OSError, KeyboardInterrupt) as error:
        abandon(work)
        raise nothing_changed(error, work.operation.untouched) from error


def abandon(work: Work) -> None:
    """Nothing was changed: give the lease back. The number stays used.

    What an earlier operation left unsettled stays so, and this intent is now the only one that tells.
    """
    state, operation = work.asked.state, work.operation
    left_failed = state.last_failed and not state.interrupted
    # Where this operation's lease never was, the next one will find the earlier operation's.
    last = operation.id if operation.has_lease else state.last_operation_id or operation.id
    operation.write_end("failed" if left_failed else "abandoned", last=last)
    operation.give_back(work.connection.host, "abandoned")
