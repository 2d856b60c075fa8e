"""What a failed change leaves: evidence, a verdict, a record, and where to go back to by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geusemaker.catalog import MIGRATED
from geusemaker.engine.versions import judge
from geusemaker.errors import HostError
from geusemaker.host.redaction import redaction
from geusemaker.models.history import ApplyOutcome, utc_now
from geusemaker.models.plan import Plan
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Provenance, Version
from geusemaker.program.compose import probes
from geusemaker.services import evidence, facts, notices, verdicts
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change.finish import write_record
from geusemaker.services.change.model import Asked, Change
from geusemaker.services.change.record import make_result
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.differences import same_system
from geusemaker.services.migrations import must_go_on
from geusemaker.services.outcomes import health_of, waited_for
from geusemaker.services.rollback.target import advice, default_target
from geusemaker.services.verdicts import condemns


@dataclass(frozen=True)
class WayBack:
    """Where a failed change goes back to by itself."""

    version: Version
    state: DeploymentState
    """The deployment's, with the failure in it."""
    outcome: ApplyOutcome
    began_with: frozenset[str] | None
    """The migrations of n8n's database when the change began, if it was the n8n of ``version`` that ran."""


def fail(
    work: Work,
    outcome: ApplyOutcome,
    before: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
    *,
    was_healthy: bool = False,
) -> tuple[OperationResult, WayBack | None]:
    """Keep evidence and record the failure: the result, and where to go back to where that is allowed.

    Without a way back the operation has ended.
    """
    with_, change, plan, operation = work.collaborators, work.change, work.plan, work.operation
    name, known = work.asked.name, work.asked.state
    reason = notices.failure(outcome, change.config)
    if outcome.timed_out:
        reason += _waited_for(work, outcome)
    host = work.after_failure()
    secrets = attempt(with_.on_event, "Secrets cannot be taken out", with_.engine.load_secrets)
    folder = evidence.collect(
        lambda: with_.journal.evidence_folder(plan.operation_id),
        outcome,
        host,
        plan,
        with_.on_event,
        redaction(secrets),
    )
    failing = {service for service, healthy in health_of(outcome).items() if not healthy}
    already_failing = bool(failing) and failing <= work.found.answers.unhealthy
    condemned = condemns(outcome)
    if condemned:
        verdicts.note(with_, failed=plan.number)
    if already_failing and work.found.answers.active_fails and known.active is not None:
        verdicts.note(with_, failed=known.active.number)
        known = _condemned(known, known.active.number)
    after = _after_failure(known, change, plan, condemned=condemned)
    fallback = default_target(after) if change.returns else None
    if fallback is not None and same_system(fallback.config, change.config) and not change.grows:
        fallback = None
    failed = make_result(plan, work.elapsed, success=False, health=health_of(outcome)).model_copy(
        update={"error_message": reason, "evidence": folder, "exit_code": 4}
    )
    record = write_record(work, failed, before, None, checkpoint)
    if host is not None:
        facts.copy_record(with_, host, record)
    operation.write_end("failed")
    migrating = _migrating(work, host) if outcome.timed_out else ""
    if not migrating and not already_failing and fallback is not None:
        return failed, WayBack(fallback, after, outcome, _began_with(work.asked, fallback, before))
    operation.give_back(host, "failed")
    next_step = notices.no_way_back(change, after, was_healthy=was_healthy)
    if migrating:
        reason = f"{reason} {migrating}"
        next_step = (
            f"Watch `geusemaker status {name}`; when n8n is ready there, run the same command again: it finds the "
            "migrations done."
        )
    elif already_failing:
        next_step = (
            f"{', '.join(sorted(failing))} was unhealthy before the change already, so it was not taken back. "
            f"{advice(after)}"
        )
    return failed.model_copy(update={"error_message": reason, "next_step": next_step}), None


def _waited_for(work: Work, outcome: ApplyOutcome) -> str:
    with_, change = work.collaborators, work.change
    cloud = with_.cloud(change.target.region)
    found = attempt(with_.on_event, "AWS cannot be asked", lambda: cloud.find_instance(work.asked.name))
    return waited_for(outcome, found, change.config.instance_type)


def _migrating(work: Work, host: Host | None) -> str:
    """What n8n is at where it must not be stopped now; empty: nothing, or nobody can tell."""
    config = work.change.config
    if host is None or MIGRATED.name not in config.services:
        return ""
    try:
        health = host.health(probes(config))
    except HostError as error:
        work.warn(f"Whether n8n is migrating its database is not known: {error.message}")
        return ""
    return must_go_on(config, health.services)


def _began_with(asked: Asked, fallback: Version, before: dict[str, Any] | None) -> frozenset[str] | None:
    """The migrations of n8n's database before this changed anything, if it was the n8n of ``fallback`` that ran."""
    active = asked.state.active
    if active is None or asked.state.unsettled or active.newer_data_as is not None:
        return None
    ran, returns = (version.config.services.get(MIGRATED.name) for version in (active, fallback))
    if ran is None or returns is None or ran.image.by_digest != returns.image.by_digest:
        return None
    return facts.recorded_migrations(before)


def _condemned(state: DeploymentState, number: int) -> DeploymentState:
    """The state with a version on record as one whose services fail."""
    versions = (
        version.model_copy(update={"gate_failed": True}) if version.number == number else version
        for version in state.versions
    )
    return state.model_copy(update={"versions": tuple(judge(list(versions)))})


def _after_failure(state: DeploymentState, change: Change, plan: Plan, *, condemned: bool) -> DeploymentState:
    """The state as it is once the failed operation stands in the history."""
    failed = Version(
        provenance=Provenance(
            number=plan.number,
            operation_id=plan.operation_id,
            kind=change.kind,
            actor="",
            created_at=state.versions[-1].provenance.created_at if state.versions else utc_now(),
        ),
        config=plan.config,
        status="failed",
        healthy=False,
        gate_failed=condemned,
    )
    return state.model_copy(
        update={
            "last_failed": True,
            "last_operation_id": plan.operation_id,
            "versions": tuple(judge([*state.versions, failed])),
        }
    )
