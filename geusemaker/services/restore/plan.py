"""What a restore would do, shown before it does, and why it cannot."""

from __future__ import annotations

from geusemaker.checks import failures
from geusemaker.checks.host import check_data, run_host_checks
from geusemaker.errors import ValidationFailedError
from geusemaker.models.checkpoint import Checkpoint, DataNow, RestorePlan
from geusemaker.models.request import RestoreRequest
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.program.compose import probes
from geusemaker.services.checkpoints import read_checkpoints
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.notices import CHECKPOINTS
from geusemaker.services.operation import UNTOUCHED
from geusemaker.services.restore.choice import (
    choose_backup,
    choose_checkpoint,
    choose_services,
    kept_aside,
    replacements,
    restore_checks,
    restore_downtime,
    restore_notice,
)


def checkpoints_on(host: Host) -> tuple[Checkpoint, ...]:
    """Those that are beside the data."""
    return read_checkpoints(host.checkpoints().checkpoints)


def plan_restore(
    collaborators: Collaborators,
    host: Host,
    state: DeploymentState,
    active: Version,
    target: Target,
    request: RestoreRequest,
) -> tuple[RestorePlan, str]:
    """(what would be done, the id of the mounted file system)"""
    there = checkpoints_on(host)
    if request.backup is not None:
        checkpoint = choose_backup(state.name, there, request.backup)
    else:
        checkpoint = choose_checkpoint(state.name, there, request.checkpoint)
    services = choose_services(state.name, checkpoint, active.config, request.services)
    health = host.health(probes(active.config))
    now = DataNow.model_validate(host.checkpoints(services).now)
    replaced, left = replacements(checkpoint, now, services)
    checks = (
        *run_host_checks(health, active.config, target),
        check_data(health, state.name),
        *restore_checks(checkpoint, now, services, active.config),
    )
    if failed := failures(checks):
        raise ValidationFailedError(
            f"Checkpoint {checkpoint.checkpoint} cannot be restored now: {'; '.join(failed)}.",
            state=UNTOUCHED,
            next_step=f"`geusemaker history {state.name}` shows the versions; `geusemaker rollback {state.name} "
            f"--to-version {checkpoint.version}` goes to the one whose data it is.",
            checks=checks,
        )
    operation_id = collaborators.clock.new_operation_id()
    plan = RestorePlan(
        deployment=state.name,
        operation_id=operation_id,
        checkpoint=checkpoint,
        services=services,
        replaced=replaced,
        left=left,
        checks=checks,
        downtime=restore_downtime(services, active.config),
        data_notice=f"What is there now is copied to {CHECKPOINTS}/v{active.number}/{operation_id} first"
        f"{kept_aside(services)}. {restore_notice(checkpoint, services)}".rstrip(),
        reason=request.reason,
        active_version=active.number,
        target_kind=target.kind,
    )
    return plan, str(health.mount.file_system_id)
