"""InspectService: reads everything that is known about a deployment, and says what state it is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from geusemaker.engine.versions import rollback_records
from geusemaker.errors import GeusemakerError, HostError, RefusedError
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
)
from geusemaker.models.stack import SERVICE_PORTS, StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.program.compose import probes
from geusemaker.services import lost
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account
from geusemaker.services.states import (
    USE_THAT_ONE,
    damage_notice,
    get_state,
    is_left_behind,
    is_running,
    load_state,
    not_found,
    unreadable_notice,
)

JOURNAL_TAIL = 200
"""Entries of the journal's copy that are looked through."""


@dataclass(frozen=True)
class _Seen:
    """What the instance answered: what runs, the ids of the mounted file system and data volume, the lease, its copy of
    the journal."""

    services: dict[str, ServiceState] = field(default_factory=dict)
    mounted: str = ""
    volume: str = ""
    lease: dict[str, Any] = field(default_factory=dict)
    records: dict[str, OperationRecord] = field(default_factory=dict)
    lost: lost.Lost | None = None
    """The operation that made what runs, where the history does not know it."""


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
        instance: InstanceState | None = None
        file_system: FileSystemState | None = None
        volume: DataVolumeState | None = None
        data_gone = elsewhere = ""
        seen = _Seen()
        records = {record.operation_id: record for record in self._with.journal.read()}
        if state.target is not None:
            try:
                require_account(self._with, state.target)
                cloud = self._with.cloud(state.target.region)
                instance = cloud.find_instance(state.name)
                file_system = cloud.find_file_system(state.name)
                if state.target.has_data_volume:
                    volume = cloud.find_data_volume(state.name)
            except RefusedError as error:
                problems.append(error.message)
                elsewhere = f"{error.message} {error.next_step}"
            except GeusemakerError as error:
                problems.append(error.message)
            if not problems and file_system is None:
                data_gone = "file system"
            elif not problems and volume is None and state.target.has_data_volume:
                data_gone = "data volume"
            seen = self._ask_host(
                state, state.target, instance, problems, known=None if whole_journal else set(records)
            )
            if file_system is not None:
                file_system = file_system.model_copy(update={"mounted": seen.mounted == file_system.id})
            if volume is not None:
                volume = volume.model_copy(update={"mounted": seen.volume == volume.id})
        interruption = self._interruption(state)
        records = {**seen.records, **records}
        unmounted = [store.id for store in (file_system, volume) if store is not None and not store.mounted]
        status, summary = describe(
            state, instance, seen.services, interruption, bool(problems), data_gone, unmounted, volume
        )
        if elsewhere and not state.destroyed:
            status, summary = "unreachable", f"It could not be judged how {state.name} is: {elsewhere}"
        elif seen.lost is not None and interruption is None:
            status, summary = "drifted", lost.notice(state.name, seen.lost)
        elif interruption is None and (left := self._left_behind(state, seen.lease)):
            summary = f"{summary} {left}"
        return Inspection(
            deployment=state.name,
            target=state.target.kind if state.target else "unknown",
            region=state.target.region if state.target else "",
            active_version=state.active_number,
            status=status,
            summary=summary,
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
            interruption=interruption,
            problems=problems,
            notes=[note for note in (damage_notice(state), self._with.journal.damage) if note],
        )

    def logs(self, service: str | None, lines: int) -> list[tuple[str, str]]:
        """The last lines of one service's log, or of all.

        Raises:
            HostError: the instance cannot be reached.
        """
        found: list[tuple[str, str]] = []

        def on_line(line: dict[str, Any]) -> None:
            if line.get("event") == "log":
                found.append((line["service"], line["line"]))

        target, instance = self._running()
        secrets = self._with.engine.load_secrets()
        with self._with.open_host(instance.address, target, secrets) as host:
            host.run("logs", {"service": service, "lines": lines}, on_line=on_line, timeout=60.0)
        return found

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
                services[service] = where or f"127.0.0.1:{SERVICE_PORTS[service]}"
        key = "geusemaker:secrets"
        read = f'eval "$(geusemaker env {name})" && pulumi config get {key} --stack {name}'
        return DeploymentInfo(
            deployment=name,
            target=state.target.kind,
            region=state.target.region,
            address=instance.address if instance else None,
            ssh_command=f"ssh -p {state.target.ssh_port} {state.target.ssh_user}@{instance.address}"
            if instance
            else None,
            services=services,
            credentials={"ssh key, PostgreSQL password, n8n encryption key, Crawl4AI token": read},
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
                answer = host.run("health", {"services": probes(config)}, timeout=30.0)
                found_lost = lost.read_lost(host, state, answer.get("lease"))
                if known is None or rollbacks - known:
                    entries = host.run("journal", {"append": None, "tail": JOURNAL_TAIL}, timeout=30.0)["entries"]
                    records = read_records(entries)
        except GeusemakerError as error:
            problems.append(error.message)
            return _Seen()
        services = {
            name: ServiceState(
                image=service["image"],
                healthy=bool(service["healthy"]),
                state=service["state"],
                detail=str(service.get("detail") or ""),
                address=str(service.get("address") or ""),
                pid=service.get("pid"),
            )
            for name, service in answer["services"].items()
        }
        mount = answer["mount"]
        mounted = str(mount["file_system_id"] or "") if mount["mounted"] else ""
        volume = answer.get("data_volume") or {}
        on = str(volume["id"]) if volume.get("mounted") else ""
        return _Seen(
            services=services,
            mounted=mounted,
            volume=on,
            lease=answer.get("lease") or {},
            records=records,
            lost=found_lost,
        )

    @staticmethod
    def _expected(state: DeploymentState) -> StackConfig | None:
        if state.active is not None:
            return state.active.config
        return state.versions[-1].config if state.versions and not state.destroyed else None

    def _left_behind(self, state: DeploymentState, lease: dict[str, Any]) -> str:
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
                f"A killed {lease.get('kind')} of {lease.get('actor')} still holds the lease; `geusemaker recover "
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


def describe(
    state: DeploymentState,
    instance: InstanceState | None,
    services: dict[str, ServiceState],
    interruption: Interruption | None,
    problems: bool,
    data_gone: str = "",
    unmounted: Sequence[str] = (),
    volume: DataVolumeState | None = None,
) -> tuple[str, str]:
    """One word and one or two sentences: what state things are in, and what to do next. Pure."""
    name, active = state.name, state.active
    if notice := unreadable_notice(state):
        return "unreadable", f"{notice} {USE_THAT_ONE}"
    if interruption is not None and interruption.kind == "restore":
        return _restore_under_way(name, interruption)
    if interruption is not None and interruption.running:
        return "running", (
            f"The {interruption.kind} to v{interruption.number} by {interruption.actor} is under way: process "
            f"{interruption.pid} on {interruption.host}."
        )
    if interruption is not None:
        last = f"v{active.number} was the last healthy version. " if active else ""
        return "interrupted", (
            f"The {interruption.kind} to v{interruption.number} by {interruption.actor} was killed before it was done. "
            f"{last}Run `geusemaker recover {name}`."
        )
    if state.destroyed:
        return "destroyed", f"Destroyed; its data is kept. `geusemaker deploy {name}` takes it up again."
    if active is None:
        return "failed", f"No version was ever healthy. Run `geusemaker deploy {name}` again."
    if data_gone:
        return "unhealthy", (
            f"v{active.number} is active, but its {data_gone} is gone: none has the tag geusemaker:deployment={name}. "
            "No change is made without it."
        )
    if problems or instance is None or instance.state != "running":
        if instance is not None and instance.state == "running":
            return "unreachable", (
                f"v{active.number} should run, but it cannot be reached. Check that your address may connect; if "
                f"nobody gets in any more, `geusemaker recover {name} --reboot` stops and starts the instance."
            )
        what = f"the instance is {instance.state}" if instance else "there is no instance"
        return "unreachable", f"v{active.number} should run, but {what}. `geusemaker recover {name}` repairs."
    if state.last_failed:
        return "failed", (
            f"The last change failed and was not taken back; v{active.number} was the last healthy version. "
            f"Run `geusemaker rollback {name}` to get it back."
        )
    if unmounted:
        return "unhealthy", (
            f"v{active.number} is active, but {' and '.join(unmounted)} is not mounted on the instance, and no service "
            f"starts without. The instance tries again every 10 s; `geusemaker recover {name}` tells what is wrong."
        )
    if drifted := drift(state, services, instance, volume):
        return (
            "drifted",
            f"v{active.number} is active, but {'; '.join(drifted)}. `geusemaker recover {name}` puts it right.",
        )
    ill = sorted(service for service, found in services.items() if not found.healthy)
    if ill:
        return (
            "unhealthy",
            f"v{active.number} is active, but not healthy: {', '.join(ill)}. See `geusemaker logs {name} {ill[0]}`.",
        )
    return "healthy", f"v{active.number} is active and healthy."


def _restore_under_way(name: str, interruption: Interruption) -> tuple[str, str]:
    if interruption.running:
        return "running", (
            f"A restore by {interruption.actor} is under way: process {interruption.pid} on {interruption.host}."
        )
    return "interrupted", (
        f"The restore by {interruption.actor} was killed before it was done. Each database is the old one or the "
        f"restored one; collections may be either, and n8n may be down. Run `geusemaker restore {name}` again as "
        f"before, or `geusemaker recover {name}` to go on with what is there."
    )


def drift(
    state: DeploymentState,
    services: dict[str, ServiceState],
    instance: InstanceState | None,
    volume: DataVolumeState | None = None,
) -> list[str]:
    """Where what is there is not what the active version and the target say. Pure."""
    active, target = state.active, state.target
    if active is None:
        return []
    found = []
    if volume is not None and target is not None and volume.size_gib != target.data_volume_gib:
        found.append(f"the data volume has {volume.size_gib} GiB, not {target.data_volume_gib}")
    if instance is not None and instance.type != active.config.instance_type:
        found.append(f"the instance is a {instance.type}, not a {active.config.instance_type}")
    return found + [
        f"{name} runs {services[name].image}"
        for name, service in active.config.services.items()
        if name in services
        and services[name].image is not None
        and (services[name].image or "").rpartition("@")[2] != service.image.digest
    ]
