"""What the instance is asked for a look at a deployment, and what it answers."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final

from geusemaker.agent.protocol.backups import Backups
from geusemaker.agent.protocol.looks import DomainLook
from geusemaker.agent.protocol.stored import Lease, Sentinel, SpotNotice
from geusemaker.errors import GeusemakerError, HostError, WorkspaceError
from geusemaker.models.inspection import InstanceState, ServiceState, StoppedService
from geusemaker.models.record import OperationRecord
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.program.compose import probes
from geusemaker.services import lost
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.inspect.domains import asked_of
from geusemaker.services.inspect.records import read_records
from geusemaker.services.judgement import Trouble

_JOURNAL_TAIL: Final = 200
"""Entries of the journal's copy that are looked through."""


@dataclass(frozen=True)
class Seen:
    """What the instance answered: what runs, what is mounted, and what the file system holds of the agent's."""

    asked: bool = False
    services: dict[str, ServiceState] = field(default_factory=dict)
    mounted: str = ""
    volume: str = ""
    lease: Lease = field(default_factory=Lease)
    lease_damaged: str = ""
    sentinel: Sentinel | None = None
    sentinel_known: bool = False
    data_trouble: str = ""
    stopped: dict[str, StoppedService] = field(default_factory=dict)
    interruption: SpotNotice | None = None
    boot: str = ""
    domains: dict[str, DomainLook] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """Operation id → what the agent does for it now."""
    backups: Backups | None = None
    records: dict[str, OperationRecord] = field(default_factory=dict)
    lost: lost.Lost | None = None
    """The operation that made what runs, where the history does not know it."""
    reboot: list[str] | None = None
    """Why the instance is to boot anew; None: not told."""
    trouble: Trouble | None = None


def ask_instance(
    collaborators: Collaborators,
    state: DeploymentState,
    target: Target,
    instance: InstanceState | None,
    problems: list[str],
    known: Set[str] | None,
) -> Seen:
    """Look at the instance; at its copy of the journal for rollbacks that are not ``known``, or (None) anyhow."""
    config = _expected(state)
    if instance is None or not instance.may_answer or config is None:
        return Seen()
    rollbacks = {version.provenance.operation_id for version in state.versions if version.provenance.kind == "rollback"}
    records: dict[str, OperationRecord] = {}
    try:
        secrets = collaborators.engine.load_secrets()
        with collaborators.open_host(instance.address, target, secrets) as host:
            health = host.health(probes(config), domains=asked_of(target.site))
            found_lost = lost.read_lost(collaborators, host, state, health.lease)
            if known is None or rollbacks - known:
                try:
                    records = read_records(host.journal(tail=_JOURNAL_TAIL).entries)
                except HostError as error:
                    problems.append(error.message)  # how the deployment is was told all the same
    except GeusemakerError as error:
        problems.append(error.message)
        return Seen(trouble=_trouble(error))
    services = {
        name: ServiceState(
            image=service.image,
            healthy=bool(service.healthy),
            state=service.state,
            detail=service.detail,
            address=service.address,
            pid=service.pid,
            started_at=service.started_at or "",
            age_seconds=service.age_seconds,
            restarts=service.restarts,
        )
        for name, service in health.services.items()
    }
    mount, volume = health.mount, health.data_volume
    return Seen(
        asked=True,
        services=services,
        mounted=(mount.file_system_id or "") if mount.mounted else "",
        volume=volume.id if volume is not None and volume.mounted else "",
        reboot=health.reboot,
        lease=health.lease or Lease(),
        lease_damaged=health.lease_damaged or "",
        sentinel=health.sentinel,
        sentinel_known=health.sentinel_known,
        data_trouble=(health.data_problem or "") if mount.mounted else "",
        stopped={
            name: StoppedService(by=note.by, since=note.since, reason=note.reason)
            for name, note in health.stopped.items()
        },
        interruption=health.interruption,
        boot=health.boot,
        domains=health.domains or {},
        backups=health.backups,
        steps={each.operation: each.verb for each in health.operations_running},
        records=records,
        lost=found_lost,
    )


def _expected(state: DeploymentState) -> StackConfig | None:
    if state.active is not None:
        return state.active.config
    return state.versions[-1].config if state.versions and not state.destroyed else None


def _trouble(error: GeusemakerError) -> Trouble:
    code = error.code if isinstance(error, HostError) else "secrets" if isinstance(error, WorkspaceError) else "engine"
    return Trouble(code, error.message, error.next_step)
