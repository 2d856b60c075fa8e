"""What a failed change leaves: evidence, a verdict, a record, and where to go back to by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geusemaker.catalog import MIGRATED
from geusemaker.errors import HostError
from geusemaker.host.redaction import redaction
from geusemaker.models.bake import BakeReport
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.program.compose import probes
from geusemaker.services import evidence, facts, notices, verdicts
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change.finish import write_record
from geusemaker.services.change.model import Asked
from geusemaker.services.change.record import make_result
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.differences import same_system
from geusemaker.services.migrations import must_go_on
from geusemaker.services.outcomes import health_of, to_blame, waited_for
from geusemaker.services.rollback.target import advice, default_target
from geusemaker.services.states import load_state
from geusemaker.services.verdicts import condemns


@dataclass(frozen=True)
class WayBack:
    """Where a failed change goes back to by itself."""

    version: Version
    state: DeploymentState
    """The deployment's, read after the failure was recorded."""
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
    baked: BakeReport | None = None,
) -> tuple[OperationResult, WayBack | None]:
    """Keep evidence and record the failure: the result, and where to go back to where that is allowed.

    Without a way back the operation has ended.
    """
    with_, change, plan, operation = work.collaborators, work.change, work.plan, work.operation
    name, active = work.asked.name, work.asked.state.active
    reason = notices.failure(outcome, change.config)
    if outcome.timed_out:
        reason += _waited_for(work, outcome)
    host = work.after_failure()
    secrets = attempt(with_.on_event, "Secrets cannot be taken out", with_.engine.load_secrets)
    kept = evidence.collect(
        lambda: with_.journal.evidence_folder(plan.operation_id),
        outcome,
        host,
        plan,
        with_.on_event,
        redaction(secrets),
    )
    failing = {service for service, healthy in health_of(outcome).items() if not healthy}
    blamed = {*to_blame(outcome)} or failing
    # What was still being waited for when something else failed was not seen to be unhealthy.
    seen = {name: healthy for name, healthy in health_of(outcome).items() if healthy or name in blamed}
    already_failing = bool(failing) and failing <= work.found.answers.unhealthy
    # Of a config that ran with other values before, and failed with these, the values are at fault.
    ran = active is not None and same_system(active.config, change.config)
    only_values = ran and bool(change.secret_values)
    if condemns(outcome) and not only_values:
        verdicts.note(with_, failed=plan.number)
    if already_failing and work.found.answers.active_fails and active is not None:
        verdicts.note(with_, failed=active.number)
    failed = make_result(plan, work.elapsed, success=False, health=seen).model_copy(
        update={
            "error_message": reason,
            "evidence": kept.folder,
            "failure_logs": {service: lines for service, lines in kept.tails.items() if service in blamed},
            "exit_code": 4,
            "bake": baked,
        }
    )
    record = write_record(work, failed, before, None, checkpoint)
    if host is not None:
        facts.copy_record(with_, host, record)
    operation.write_end("failed")
    after = _read_again(work, fell_ill=plan.operation_id if was_healthy else "")
    fallback = default_target(after) if change.returns else None
    before_it = work.asked.state.target.site if work.asked.state.target is not None else None
    otherwise = change.grows or only_values or change.target.site != before_it
    if fallback is not None and same_system(fallback.config, change.config) and not otherwise:
        fallback = None
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


def _read_again(work: Work, fell_ill: str) -> DeploymentState:
    """The state now that all of the failure that can be is on record: history, intent, verdicts.

    A backend that does not answer for once must not be what the way back fails of. Then it is the state from before,
    with this operation in it as one that was killed: of such a one nobody knows what it put on the instance.
    """
    with_, operation = work.collaborators, work.operation
    read = attempt(
        with_.on_event,
        "The history could not be read again, so the way back is judged by what was known before",
        lambda: load_state(with_, fell_ill=fell_ill),
    )
    if read is not None:
        return read
    intent = with_.intent(operation.id, operation.kind, operation.number, "")
    return work.asked.state.model_copy(
        update={"intent": intent, "interrupted": True, "last_operation_id": operation.id}
    )
