"""InspectService: reads everything that is known about a deployment, and says what state it is in."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from geusemaker.agent.protocol.stored import Lease, Sentinel
from geusemaker.catalog import SERVICES
from geusemaker.engine.versions import rollback_records
from geusemaker.errors import GeusemakerError, HostError, RefusedError, WorkspaceError
from geusemaker.models.record import OperationRecord
from geusemaker.models.result import (
    DataVolumeState,
    DeploymentInfo,
    FileSystemState,
    Inspection,
    InstanceState,
    Interruption,
    RestoreRecord,
    ServiceState,
    StoppedService,
)
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.program.compose import probes
from geusemaker.services import lost
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account
from geusemaker.services.judgement import Facts, Trouble, judge
from geusemaker.services.lease import damage_notice as damaged_lease
from geusemaker.services.states import damage_notice, get_state, is_left_behind, is_running, load_state, not_found

JOURNAL_TAIL = 200
"""Entries of the journal's copy that are looked through."""


@dataclass(frozen=True)
class _Seen:
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
    records: dict[str, OperationRecord] = field(default_factory=dict)
    lost: lost.Lost | None = None
    """The operation that made what runs, where the history does not know it."""
    trouble: Trouble | None = None


def read_records(entries: Iterable[Any]) -> dict[str, OperationRecord]:
    """Operation id → record, of those entries that are records this geusemaker can read."""
    records = {}
    for entry in entries:
        try:
            record = OperationRecord.model_validate(entry)
        except ValidationError:
            continue  # another geusemaker's, or cut short
        records[record.operation_id] = record
    return records


def restore_records(records: Iterable[OperationRecord]) -> list[RestoreRecord]:
    """The restores among them, oldest first."""
    return sorted(
        (
            RestoreRecord(
                operation_id=record.operation_id,
                timestamp=record.started_at,
                actor=record.actor,
                version=record.number,
                checkpoint=record.restored,
                taken=str((record.checkpoint or {}).get("checkpoint") or ""),
                changes=record.changes,
                success=record.success,
                duration_seconds=record.duration_seconds,
                reason=record.reason,
                error_message=record.error_message,
            )
            for record in records
            if record.kind == "restore"
        ),
        key=lambda record: record.timestamp,
    )


class InspectService:
    """Looks; changes nothing."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def inspect(self, whole_journal: bool = False) -> Inspection:
        """Everything: the whole history, and what runs right now.

        ``whole_journal``: ask the instance for its copy of the journal in any case, not only for rollbacks that this
        machine knows no details of.

        What cannot be asked (a dead instance, AWS out of reach) is listed in ``problems``; the rest is there.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        state = get_state(self._with, whole=True)
        problems: list[str] = []
        trouble: Trouble | None = None
        instance: InstanceState | None = None
        file_system: FileSystemState | None = None
        volume: DataVolumeState | None = None
        seen = _Seen()
        records = {record.operation_id: record for record in self._with.journal.read()}
        if state.target is not None:
            try:
                require_account(self._with, state.target)
                cloud = self._with.cloud(state.target.region)
                instance = cloud.find_instance(state.name)
                file_system = cloud.find_file_system(state.name, state.target.stack_id)
                if state.target.has_data_volume:
                    volume = cloud.find_data_volume(state.name, state.target.stack_id)
            except RefusedError as error:
                problems.append(error.message)
                trouble = Trouble("account", error.message, error.next_step)
            except GeusemakerError as error:
                problems.append(error.message)
                trouble = Trouble("aws", error.message, error.next_step)
            seen = self._ask_host(
                state, state.target, instance, problems, known=None if whole_journal else set(records)
            )
            if file_system is not None:
                file_system = file_system.model_copy(update={"mounted": seen.mounted == file_system.id})
            if volume is not None:
                volume = volume.model_copy(update={"mounted": seen.volume == volume.id})
        interruption = self._interruption(state)
        records = {**seen.records, **records}
        judgement = judge(
            Facts(
                state=state,
                interruption=interruption,
                left_behind=self._left_behind(state, seen.lease) if interruption is None else "",
                instance=instance,
                file_system=file_system,
                volume=volume,
                services=seen.services,
                stopped=seen.stopped,
                asked=seen.asked,
                sentinel=seen.sentinel,
                sentinel_known=seen.sentinel_known,
                data_trouble=seen.data_trouble,
                lease_damage=damaged_lease(state.name, seen.lease_damaged) if seen.lease_damaged else "",
                trouble=trouble or seen.trouble,
                lost=lost.notice(state.name, seen.lost) if seen.lost is not None else "",
                settle_seconds=state.target.settle_seconds if state.target is not None else 0.0,
            )
        )
        return Inspection(
            deployment=state.name,
            target=state.target.kind if state.target else "unknown",
            region=state.target.region if state.target else "",
            active_version=state.active_number,
            status=judgement.status,
            summary=judgement.summary,
            versions=list(state.versions),
            unreadable=list(state.unreadable_versions),
            rollbacks=rollback_records(
                state.versions, {key: record.rollback for key, record in records.items() if record.rollback}
            ),
            restores=restore_records(records.values()),
            services=seen.services,
            instance=instance,
            efs=file_system,
            data_volume=volume,
            stopped=seen.stopped,
            repairs=list(judgement.repairs),
            restarts=list(judgement.restarts),
            failing=list(judgement.failing),
            interruption=interruption,
            problems=problems,
            notes=[
                note
                for note in (damage_notice(state), self._with.journal.damage, _ended_with_a_problem(state, records))
                if note
            ],
        )

    def logs(self, service: str | None, lines: int) -> list[tuple[str, str]]:
        """The last lines of one service's log, or of all.

        Raises:
            HostError: the instance cannot be reached.
        """
        target, instance = self._running()
        secrets = self._with.engine.load_secrets()
        with self._with.open_host(instance.address, target, secrets) as host:
            return host.logs(service, lines)

    def info(self, workspace: str, backend: str) -> DeploymentInfo:
        """How to reach the deployment; where credentials are, never what they are."""
        state = load_state(self._with)
        if state.target is None:
            raise not_found(self._with.deployment)
        require_account(self._with, state.target)
        instance = self._with.cloud(state.target.region).find_instance(state.name)
        active = state.active
        name = state.name
        services: dict[str, str] = {}
        if instance is not None and active is not None:
            seen = self._ask_host(state, state.target, instance, [], known=frozenset()).services
            for service in active.config.services:
                where = seen[service].address if service in seen else ""
                services[service] = where or f"127.0.0.1:{SERVICES[service].port}"
        own = [secret for service in SERVICES.values() for secret in service.own_secrets]
        key = "geusemaker:secrets"
        read = f'eval "$(geusemaker env {name})" && pulumi -C {shlex.quote(workspace)} config get {key} --stack {name}'
        return DeploymentInfo(
            deployment=name,
            target=state.target.kind,
            region=state.target.region,
            address=instance.address if instance else None,
            ssh_command=f"ssh -p {state.target.ssh_port} {state.target.ssh_user}@{instance.address}"
            if instance
            else None,
            services=services,
            credentials={", ".join(["ssh key", *own]): read},
            workspace=workspace,
            backend=backend,
        )

    def _running(self) -> tuple[Target, InstanceState]:
        state = load_state(self._with)
        if state.target is None:
            raise not_found(self._with.deployment)
        require_account(self._with, state.target)
        instance = self._with.cloud(state.target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            raise HostError(
                f"The instance of {state.name} does not run ({instance.state if instance else 'there is none'}).",
                code="unreachable",
                next_step=f"`geusemaker status {state.name}` says more.",
            )
        return state.target, instance

    def _ask_host(
        self,
        state: DeploymentState,
        target: Target,
        instance: InstanceState | None,
        problems: list[str],
        known: Set[str] | None,
    ) -> _Seen:
        """Look at the instance; at its copy of the journal for rollbacks that are not ``known``, or (None) anyhow."""
        config = self._expected(state)
        if instance is None or not instance.may_answer or config is None:
            return _Seen()
        rollbacks = {
            version.provenance.operation_id for version in state.versions if version.provenance.kind == "rollback"
        }
        records: dict[str, OperationRecord] = {}
        try:
            secrets = self._with.engine.load_secrets()
            with self._with.open_host(instance.address, target, secrets) as host:
                health = host.health(probes(config))
                found_lost = lost.read_lost(self._with, host, state, health.lease)
                if known is None or rollbacks - known:
                    try:
                        records = read_records(host.journal(tail=JOURNAL_TAIL).entries)
                    except HostError as error:
                        problems.append(error.message)  # how the deployment is was told all the same
        except GeusemakerError as error:
            problems.append(error.message)
            return _Seen(trouble=_trouble(error))
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
        return _Seen(
            asked=True,
            services=services,
            mounted=(mount.file_system_id or "") if mount.mounted else "",
            volume=volume.id if volume is not None and volume.mounted else "",
            lease=health.lease or Lease(),
            lease_damaged=health.lease_damaged or "",
            sentinel=health.sentinel,
            sentinel_known=health.sentinel_known,
            data_trouble=(health.data_problem or "") if mount.mounted else "",
            stopped={
                name: StoppedService(by=note.by, since=note.since, reason=note.reason)
                for name, note in health.stopped.items()
            },
            records=records,
            lost=found_lost,
        )

    @staticmethod
    def _expected(state: DeploymentState) -> StackConfig | None:
        if state.active is not None:
            return state.active.config
        return state.versions[-1].config if state.versions and not state.destroyed else None

    def _left_behind(self, state: DeploymentState, lease: Lease) -> str:
        """What an operation still holds that was killed before it changed anything, or after all was done."""
        intent = state.intent
        if state.unsettled:
            return ""
        if intent is not None and not intent.outcome:
            return (
                f"The {intent.kind} to v{intent.number} by {intent.actor} was killed when its work was done already; "
                f"`geusemaker recover {state.name}` clears what it left."
            )
        if is_left_behind(self._with, lease):
            return (
                f"A killed {lease.kind} of {lease.actor} still holds the lease; `geusemaker recover "
                f"{state.name}` gives it back."
            )
        return ""

    def _interruption(self, state: DeploymentState) -> Interruption | None:
        intent = state.intent
        if intent is None or (intent.outcome and not intent.unsettled):
            return None
        running = is_running(self._with, intent)
        if not running and not state.interrupted:
            return None
        return Interruption(
            operation_id=intent.operation_id,
            kind=intent.kind,
            number=intent.number,
            actor=intent.actor,
            started_at=intent.started_at,
            running=running,
            host=intent.host,
            pid=intent.pid,
        )


def _ended_with_a_problem(state: DeploymentState, records: Mapping[str, OperationRecord]) -> str:
    """What was found when the active version was made, which how it is now need not show: data that went missing."""
    active = state.active
    record = records.get(active.provenance.operation_id) if active is not None else None
    if active is None or record is None or record.success or not record.error_message:
        return ""
    return f"When v{active.number} was made, something was found that a person is to look at: {record.error_message}"


def _trouble(error: GeusemakerError) -> Trouble:
    code = error.code if isinstance(error, HostError) else "secrets" if isinstance(error, WorkspaceError) else "engine"
    return Trouble(code, error.message, error.next_step)
