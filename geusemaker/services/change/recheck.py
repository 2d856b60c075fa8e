"""Plans again under the lease: what is applied is what was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geusemaker.checks.host import check_data
from geusemaker.errors import PlanRefusedError
from geusemaker.models.history import HistoryEntry
from geusemaker.models.plan import CheckResult, Event, ResourceOperation
from geusemaker.services import lease, manifest, mending, notices
from geusemaker.services.change.plan import refuse_failed
from geusemaker.services.change.work import Work
from geusemaker.services.differences import movements
from geusemaker.services.guard import same_plan


def recheck(work: Work) -> dict[str, Any] | None:
    """Announce the change, put right what the engine left, and plan again.

    Returns:
        The manifest of the data as it is before the change; None where there is nobody to ask.

    Raises:
        PlanRefusedError: something is not as it was when the plan was shown.
        ValidationFailedError: the data that is mounted by now is not the deployment's.
    """
    with_, found, host = work.collaborators, work.found, work.connection.host
    cloud = with_.cloud(work.change.target.region)
    with work.phase("check", "planning again, to apply just what was shown"), ThreadPoolExecutor(4) as pool:
        # The engine's run takes longest; what can be asked meanwhile is.
        announced = pool.submit(work.operation.announce)
        updates = pool.submit(with_.engine.history, 10)
        data = pool.submit(manifest.read, host) if host is not None else None
        observed = pool.submit(cloud.observe, work.asked.name)
        if found.mending is not None:
            announced.result()
            _mend(work, found.mending)
        operations = with_.engine.preview(found.candidate)
        announced.result()
        _require_unmoved(work, updates.result(), operations, observed.result())
        before = data.result() if data is not None else None
        if host is not None and not found.answers.mounted and work.asked.has_data:
            # It is mounted by now, and nobody has looked at it yet.
            check = check_data(host.health({}), work.asked.name)
            refuse_failed((*work.plan.checks, check), work.operation.untouched)
    return before


def _mend(work: Work, found: mending.Mending) -> None:
    """Put right what the engine left: it was shown, and said yes to."""
    with work.phase("repair"):
        if found.lines:
            work.operation.untouched = work.asked.only_mended
        owner_is_gone = work.asked.options.owner_is_gone
        mending.mend(work.collaborators, work.asked.state, found, owner_is_gone=owner_is_gone)


def _require_unmoved(
    work: Work,
    history: Sequence[HistoryEntry],
    operations: Sequence[ResourceOperation],
    observed: Mapping[str, str],
) -> None:
    """Require that all is as it was when the plan was shown; if not, the plan as it would be now is told.

    The engine compares the program with its own state, not with AWS: AWS is looked at apart.
    """
    state, plan, untouched = work.asked.state, work.plan, work.operation.untouched
    # Updates only: a refresh, as a repair makes one, carries the config that a killed operation left in the file.
    newest = next((entry.provenance for entry in history if entry.kind == "update"), None)
    known = {state.last_operation_id, *(version.provenance.operation_id for version in state.versions)}
    if newest is not None and newest.operation_id not in known:
        raise lease.changed_meanwhile(state.name, untouched)
    if next((entry.rotation for entry in history if entry.says_target), state.rotation) != state.rotation:
        raise PlanRefusedError(
            f"The secrets of {state.name} are not any more what they were when the plan was made.",
            state=untouched,
            next_step="Run the command again: it takes them as they are now.",
        )
    moved = movements(work.found.observed, observed)
    if moved or not same_plan(plan.operations, operations):
        checks = (*plan.checks, *(CheckResult(name="moved", status="fail", detail=text) for text in moved))
        now = plan.model_copy(update={"operations": tuple(operations), "checks": checks})
        now = now.model_copy(update={"downtime": notices.downtime(now)})
        work.collaborators.on_event(Event(kind="plan", plan=now))
        raise PlanRefusedError(
            f"The plan is not any more what was shown: {'; '.join(moved) or 'Pulumi would do something else'}.",
            state=untouched,
            next_step="Look at the plan as it is now, and run the command again if that is what you want.",
            checks=checks,
        )
