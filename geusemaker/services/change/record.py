"""What a change came to, as its caller and the journal are told. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from geusemaker.agent.protocol.answers import Applied
from geusemaker.models.plan import Plan
from geusemaker.models.record import told_by
from geusemaker.models.result import OperationResult
from geusemaker.models.version import RollbackRecord
from geusemaker.services.change.findings import Findings
from geusemaker.services.notices import data_kept


def make_result(
    plan: Plan, seconds: float, *, success: bool, health: dict[str, bool] | None = None, dry_run: bool = False
) -> OperationResult:
    """The result of a change; ``seconds`` is how long it took."""
    return OperationResult(
        success=success,
        deployment=plan.deployment,
        kind=plan.kind,
        version=plan.number if success and not dry_run else plan.active_version,
        operation_id=plan.operation_id,
        changes=[str(change) for change in plan.changes],
        data_kept=data_kept(plan),
        health_status=health or {},
        duration_seconds=seconds,
        dry_run=dry_run,
        checks=list(plan.checks),
    )


def with_kept(checkpoint: dict[str, Any] | None, applied: Applied) -> dict[str, Any] | None:
    """What was copied, with what came out of its place meanwhile and where that is kept."""
    kept = {"kept": applied.kept, "set_aside": applied.set_aside, "put_back": applied.put_back}
    told = {name: value for name, value in kept.items() if value}
    return {**(checkpoint or {}), **told} if told else checkpoint


def tell(
    found: Findings,
    plan: Plan,
    result: OperationResult,
    *,
    now: datetime,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
) -> dict[str, Any]:
    """The fields of a change's record that tell of it.

    Args:
        found: what it began with.
        plan: what was to be done.
        result: what it came to.
        now: when it ended.
        before: the manifest of the data before it.
        after: the manifest of the data after it.
        checkpoint: what was copied before it.
    """
    change, state = found.asked.change, found.asked.state
    from_version = plan.active_version or 0
    if state.unsettled and state.versions:
        from_version = state.versions[-1].number
    rollback = None
    if change.kind == "rollback":
        rollback = RollbackRecord(
            timestamp=now,
            trigger=change.trigger,
            success=result.success,
            error_message=result.error_message,
            previous_state_version=from_version,
            rolled_back_changes=result.changes,
            version=plan.number,
            source_version=change.source_version,
            services_from=change.services_from,
            operation_id=plan.operation_id,
            actor=found.provenance.actor,
            reason=plan.reason,
            health_status=result.health_status,
            duration_seconds=result.duration_seconds,
        )
    return told_by(result) | {
        "started_at": now,
        "from_version": from_version or None,
        "source_version": change.source_version,
        "services_from": change.services_from,
        "trigger": change.trigger,
        "reason": plan.reason,
        "manifest_before": before,
        "manifest_after": after,
        "checkpoint": checkpoint,
        "restored": plan.data_return.checkpoint if plan.data_return is not None and result.success else "",
        "rollback": rollback,
        "config": change.config,
        "provenance": found.provenance,
    }
