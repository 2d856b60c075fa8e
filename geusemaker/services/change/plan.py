"""From what was found to a plan, or to a refusal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from geusemaker.checks import failures
from geusemaker.checks.images import check_images
from geusemaker.checks.planned import check_ami, check_drift, check_there
from geusemaker.errors import PlanRefusedError, ValidationFailedError
from geusemaker.models import resource_types
from geusemaker.models.plan import CheckResult, ConfigChange, Plan, ResourceOperation
from geusemaker.models.stack import ServiceName, root_volume_gib
from geusemaker.models.version import Version
from geusemaker.services import costs, data_return, expected, notices
from geusemaker.services.addresses import address_change
from geusemaker.services.change.findings import Answers, Findings
from geusemaker.services.change.model import Asked
from geusemaker.services.connecting import connect_change
from geusemaker.services.differences import (
    SECRET_ENVIRONMENT,
    another_instance,
    config_changes,
    migrated_services,
    secret_changes,
)
from geusemaker.services.guard import DATA_TYPES, engine_refusals, makes_an_instance, refusals, replaces_instance
from geusemaker.services.labels import label_changes
from geusemaker.services.machine_notices import machine_notices
from geusemaker.services.rehearse import verdict
from geusemaker.services.secret_values import value_changes
from geusemaker.services.settling import settle_change
from geusemaker.services.site import exposure, site_changes
from geusemaker.services.tags import rights_changes
from geusemaker.services.way_back import way_back

_MEND: Final = "Mend what failed and run the command again."


def make_plan(found: Findings) -> Plan:
    """What would be done.

    Raises:
        PlanRefusedError: the plan guard said no.
        ValidationFailedError: a check failed.
        EngineError: the engine made no plan.
    """
    checks = _checks(found)
    if (error := found.preview_error) is not None:
        # Of some plans the engine shows nothing but that it refuses to make them.
        if reasons := _refusals(found, error.operations) or engine_refusals(error.diagnostics):
            raise _refusal(found, reasons, error.operations, checks) from error
        refuse_failed(checks, found.asked.untouched)
        raise error.completed(state=found.asked.untouched) from error
    plan = _plan(found, checks)
    if reasons := _refusals(found, plan.operations):
        raise _refusal(found, reasons, plan.operations, checks)
    refuse_failed(checks, found.asked.untouched)
    return plan


def refuse_failed(checks: Iterable[CheckResult], untouched: str) -> None:
    """Refuse where a check failed.

    Raises:
        ValidationFailedError
    """
    checks = tuple(checks)
    if failed := failures(checks):
        raise ValidationFailedError(
            f"Validation failed: {'; '.join(failed)}.", state=untouched, next_step=_MEND, checks=checks
        )


def copied(asked: Asked, answers: Answers) -> tuple[ServiceName, ...]:
    """The services whose data is copied first. A return by itself needs no copy: one was made minutes ago."""
    left = asked.left
    if not answers.is_there or not asked.options.checkpoint or asked.change.trigger != "manual" or left is None:
        return ()
    # One that is stopped on purpose has nobody to ask for a copy, and nothing touches its data now.
    migrated = migrated_services(left.config, asked.change.config)
    return tuple(name for name in migrated if name not in answers.stopped)


def _checks(found: Findings) -> tuple[CheckResult, ...]:
    change, context, operations = found.asked.change, found.context, found.operations
    makes_instance = context.instance is None or bool(_replacing(found)) or makes_an_instance(operations)
    checks = [*change.checks, *found.cloud_checks, check_ami(context, found.ami, makes_instance=makes_instance)]
    if found.preview_error is None:
        if context.instance is not None:
            checks.append(check_drift(context, context.instance, operations, grows=change.grows))
        addresses = [one.id for one in found.tagged if one.type == resource_types.ADDRESS]
        checks += check_there(context, operations, addresses)
    checks += found.answers.checks
    if found.priced is not None:
        checks += costs.check_models(change.config, change.target, found.answers.models, found.priced.rates)
    anew = replaces_instance(operations)
    missing = None if anew else found.answers.missing_images
    return (*checks, check_images(change.config, found.published, missing, on_new_instance=anew))


def _plan(found: Findings, checks: tuple[CheckResult, ...]) -> Plan:
    asked, change, answers = found.asked, found.asked.change, found.answers
    active, left = asked.state.active, asked.left
    services = copied(asked, answers)
    plan = Plan(
        deployment=asked.name,
        kind=change.kind,
        operation_id=found.provenance.operation_id,
        number=found.provenance.number,
        active_version=active.number if active else None,
        source_version=change.source_version,
        services_from=change.services_from,
        trigger=change.trigger,
        reason=asked.options.reason,
        config=change.config,
        changes=_all_changes(found),
        replaced=None if answers.differs is None else tuple(answers.differs),
        operations=found.operations,
        checks=checks,
        repairs=change.repairs,
        reboots=change.reboots,
        renewals=change.renewals,
        stopped=notices.stays_stopped(asked.name, change.kind, change.config, answers.stopped),
        exposure=exposure(asked.state.target, change.target, change.config),
        machine=machine_notices(found.context.running, change.config, checks),
        rehearsed=verdict.told(verdict.latest(answers.rehearsals, active.config, change.config)) if active else "",
        holes=found.holes,
        target_kind=change.target.kind,
        checkpoint_of=left.number if services and left is not None else None,
        checkpoint_services=services,
        data_return=data_return.named(answers.data_return, found.provenance.operation_id),
    )
    downtime = notices.downtime(plan, found.instance)
    downtime = " ".join(filter(None, (downtime, expected.told(found.past, plan))))
    if answers.reboot:
        downtime = "All services stop while the instance is stopped and started: a few minutes on AWS."
    data = notices.data_notice(plan, asked.has_data, change.target.adopting)
    last = asked.state.last_healthy
    cost = costs.of_change(
        found.priced,
        change.target,
        change.config,
        asked.state.target,
        last.config if last is not None else None,
        found.instance,
    )
    way = way_back(plan, asked.state) if change.trigger == "manual" else None
    return plan.model_copy(update={"downtime": downtime, "data_notice": data, "cost": cost, "way_back": way})


def _all_changes(found: Findings) -> tuple[ConfigChange, ...]:
    """Those of the config, of values of secrets, and where other secrets are on the instance for no such reason."""
    asked = found.asked
    base = _base(asked)
    values = value_changes(base.config if base else None, asked.change.config, found.provenance.set_secrets)
    changes = (*(_dated(one, found.image_dates) for one in _changes(asked)), *values)
    told = {change.path.partition(SECRET_ENVIRONMENT)[0] for change in changes if SECRET_ENVIRONMENT in change.path}
    elsewhere = secret_changes(found.answers.differs)
    return (*changes, *(one for one in elsewhere if one.path.removesuffix(".secrets") not in told))


def _dated(change: ConfigChange, dates: Mapping[str, str]) -> ConfigChange:
    """An AMI with the day on which it was made."""
    if change.path != "ami":
        return change
    old, new = (f"{one} of {dates[one]}" if one and dates.get(one) else one for one in (change.old, change.new))
    return change.model_copy(update={"old": old, "new": new})


def _base(asked: Asked) -> Version | None:
    # After a failed operation the differences that matter are those to what is being left, not to what was asked.
    state = asked.state
    if state.unsettled and state.versions:
        return state.versions[-1]
    return state.active or state.last_healthy


def _changes(asked: Asked) -> tuple[ConfigChange, ...]:
    change, state, base = asked.change, asked.state, _base(asked)
    changes = config_changes(base.config if base else None, change.config)
    if change.data_volume_gib is not None and state.target is not None:
        old, new = str(state.target.data_volume_gib), str(change.data_volume_gib)
        changes = (*changes, ConfigChange(path="data_volume_gib", old=old, new=new))
    if change.root_volume_gib is not None and state.target is not None and base is not None:
        old, new = str(root_volume_gib(state.target, base.config)), str(change.root_volume_gib)
        changes = (*changes, ConfigChange(path="root_volume_gib", old=old, new=new))
    facts = (site_changes, address_change, connect_change, settle_change, rights_changes)
    told_facts = (line for told in facts for line in told(state.target, change.target))
    return (*changes, *told_facts, *label_changes(state.labels, change.labels))


def _refusals(found: Findings, operations: Sequence[ResourceOperation]) -> list[str]:
    return refusals(
        operations,
        has_data=found.asked.has_data,
        allow_replace=found.asked.options.allow_replace,
        file_system=found.file_system,
        living=found.living,
        because=_replacing(found),
        no_instance=found.instance is None,
    )


def _replacing(found: Findings) -> tuple[str, ...]:
    running = found.context.running
    return another_instance(running, found.asked.change.config) if running is not None else ()


def _refusal(
    found: Findings,
    reasons: Sequence[str],
    operations: Sequence[ResourceOperation],
    checks: tuple[CheckResult, ...],
) -> PlanRefusedError:
    name = found.asked.name
    failed = failures(checks)
    next_step = _MEND if failed else f"`geusemaker inspect {name}` shows what there is."
    if found.asked.change.kind != "recover" and any(op.op == "create" and op.type in DATA_TYPES for op in operations):
        next_step = f"`geusemaker recover {name}` takes up again what AWS still has of it."
    seconds = [op for op in operations if op.op == "create" and op.type in found.living]
    if seconds:
        there = ", ".join(dict.fromkeys(found.living[op.type] for op in seconds))
        next_step = (
            f"{there} carries the tag geusemaker:deployment={name} and is not this stack's: another workspace's, "
            "or what a lost one left. Deploy under another name, or remove it by hand if nobody needs it."
        )
    also = f" Validation failed as well: {'; '.join(failed)}." if failed else ""
    return PlanRefusedError(
        f"The plan is refused: {'; '.join(reasons)}.{also}",
        state=found.asked.untouched,
        next_step=next_step,
        checks=checks,
    )
