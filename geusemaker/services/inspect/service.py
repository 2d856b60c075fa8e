"""InspectService: reads everything that is known about a deployment, and says what state it is in."""

from __future__ import annotations

from collections.abc import Mapping

from geusemaker.agent.protocol.stored import Lease
from geusemaker.engine.standing import rollback_records
from geusemaker.errors import GeusemakerError, RefusedError
from geusemaker.models.history import BESIDE
from geusemaker.models.inspection import (
    DataVolumeState,
    DeploymentInfo,
    FileSystemState,
    Inspection,
    InstanceState,
    Interruption,
)
from geusemaker.models.record import OperationRecord
from geusemaker.models.secrets import USABLE
from geusemaker.models.stack import describe
from geusemaker.models.state import DeploymentState
from geusemaker.services import costs, lost
from geusemaker.services.backup.state import backup_note, backup_state
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.domains import domain_notes, domain_states
from geusemaker.services.inspect.patching import patching, reboot_note
from geusemaker.services.inspect.records import restore_records, unused_numbers, with_downtime
from geusemaker.services.inspect.seen import Seen, ask_instance
from geusemaker.services.interruption import how_it_ended, what_was_noticed
from geusemaker.services.judgement import Facts, Trouble, judge
from geusemaker.services.lease import damage_notice as damaged_lease
from geusemaker.services.rest.at_rest import at_rest
from geusemaker.services.rollback.target import default_target
from geusemaker.services.site import dns_records
from geusemaker.services.states import (
    damage_notice,
    get_state,
    is_left_behind,
    is_running,
    killed_beside,
    load_state,
    not_found,
    with_article,
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
        gone: InstanceState | None = None
        file_system: FileSystemState | None = None
        volume: DataVolumeState | None = None
        seen = Seen()
        image_date = ""
        records = {record.operation_id: record for record in self._with.journal.read()}
        if state.target is not None:
            try:
                require_account(self._with, state.target)
                cloud = self._with.cloud(state.target.region)
                instance = cloud.find_instance(state.name)
                gone = cloud.find_gone_instance(state.name) if instance is None else None
                file_system = cloud.find_file_system(state.name, state.target.stack_id)
                image_date = cloud.image_date(instance.image_id) if instance is not None else ""
                if state.target.has_data_volume:
                    volume = cloud.find_data_volume(state.name, state.target.stack_id)
            except RefusedError as error:
                problems.append(error.message)
                trouble = Trouble("account", error.message, error.next_step)
            except GeusemakerError as error:
                problems.append(error.message)
                trouble = Trouble("aws", error.message, error.next_step)
            seen = ask_instance(
                self._with, state, state.target, instance, problems, known=None if whole_journal else set(records)
            )
            if file_system is not None:
                file_system = file_system.model_copy(update={"mounted": seen.mounted == file_system.id})
            if volume is not None:
                volume = volume.model_copy(update={"mounted": seen.volume == volume.id})
        interruption = self._interruption(state, seen)
        records = {**seen.records, **records}
        rest = at_rest(state, instance)
        active = state.active
        ended = None
        if trouble is None:
            ended = how_it_ended(active.config if active is not None else None, instance, gone)
            ended = ended or what_was_noticed(seen.interruption, seen.boot, instance, self._with.clock.now())
        judgement = judge(
            Facts(
                state=state,
                interruption=interruption,
                left_behind=self._left_behind(state, seen.lease) if interruption is None else "",
                instance=instance,
                ended=ended,
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
                rest=rest,
                stays=self._what_stays(state, instance) if rest is not None and interruption is None else "",
                settle_seconds=state.target.settle_seconds if state.target is not None else 0.0,
            )
        )
        back = default_target(state)
        backups = backup_state(seen.backups, self._with.clock.now()) if seen.backups is not None else None
        site = state.target.site if state.target is not None else None
        return Inspection(
            deployment=state.name,
            target=state.target.kind if state.target else "unknown",
            region=state.target.region if state.target else "",
            labels=state.labels,
            active_version=state.active_number,
            status=judgement.status,
            summary=judgement.summary,
            versions=with_downtime(state.versions, records),
            unreadable=list(state.unreadable_versions),
            default_target=back.number if back is not None else None,
            unused_numbers=unused_numbers(state),
            rollbacks=rollback_records(
                state.versions, {key: record.rollback for key, record in records.items() if record.rollback}
            ),
            restores=restore_records(records.values()),
            services=seen.services,
            instance=instance,
            efs=file_system,
            data_volume=volume,
            patching=patching(instance, image_date, seen.reboot, self._with.clock.now()),
            domains=domain_states(site, seen.domains),
            backups=backups,
            stopped=seen.stopped,
            ended=ended,
            repairs=list(judgement.repairs),
            restarts=list(judgement.restarts),
            failing=list(judgement.failing),
            interruption=interruption,
            problems=problems,
            notes=[
                note
                for note in (
                    damage_notice(state),
                    self._with.journal.damage,
                    self._with.journal.undelivered,
                    _ended_with_a_problem(state, records),
                    backup_note(state.name, backups),
                    reboot_note(state.name, seen.reboot),
                    f"{ended.why}; `geusemaker recover {state.name}` puts it on record."
                    if ended is not None and ended.cause == "returned"
                    else "",
                    *domain_notes(state, seen.domains, seen.services, instance, self._with.clock.now()),
                )
                if note
            ],
        )

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
            seen = ask_instance(self._with, state, state.target, instance, [], known=frozenset()).services
            for service in active.config.services:
                where = seen[service].address if service in seen else ""
                port = describe(active.config, service).port
                services[service] = where or (f"127.0.0.1:{port}" if port else "")
        return DeploymentInfo(
            deployment=name,
            target=state.target.kind,
            region=state.target.region,
            address=instance.address if instance else None,
            ssh_command=f"geusemaker ssh {name}" if instance else None,
            services=services,
            domains={name: state.target.site.url(name) for name in state.target.site.domains}
            if state.target.site is not None
            else {},
            dns=dns_records(state.target, instance.address) if instance is not None else [],
            credentials={secret: f"geusemaker secrets show {name} {secret}" for secret in USABLE},
            workspace=workspace,
            backend=backend,
        )

    def _what_stays(self, state: DeploymentState, instance: InstanceState | None) -> str:
        """What is paid while the instance is off."""
        target, active = state.target, state.active
        if target is None or active is None or instance is None:
            return ""
        priced = costs.ask(self._with, target, [instance.type])
        return costs.what_stays(costs.of_rest(priced, target, active.config, instance, runs=False))

    def _left_behind(self, state: DeploymentState, lease: Lease) -> str:
        """What an operation still holds that was killed before it changed anything, or after all was done."""
        intent = state.intent
        if state.unsettled:
            return ""
        if intent is not None and not intent.outcome and intent.kind in BESIDE:
            clears = f"{killed_beside(intent)} `geusemaker recover {state.name}` clears what it left."
            return "" if is_running(self._with, intent) else clears
        if intent is not None and not intent.outcome:
            return (
                f"The {intent.kind} to v{intent.number} by {intent.actor} was killed when its work was done already; "
                f"`geusemaker recover {state.name}` clears what it left."
            )
        if lease.state == "held" and lease.gives_way:
            alone = " Its process is gone, so nobody looks any more." if is_left_behind(self._with, lease) else ""
            return (
                f"{with_article(str(lease.kind)).capitalize()} of {lease.actor} looks on (a bake).{alone} `geusemaker "
                f"recover {state.name}` ends that and keeps the version, `geusemaker rollback {state.name}` goes back."
            )
        if is_left_behind(self._with, lease):
            return (
                f"A killed {lease.kind} of {lease.actor} still holds the lease; `geusemaker recover "
                f"{state.name}` gives it back."
            )
        return ""

    def _interruption(self, state: DeploymentState, seen: Seen) -> Interruption | None:
        intent = state.intent
        if intent is None or (intent.outcome and not intent.unsettled):
            return None
        running = is_running(self._with, intent) and intent.kind not in BESIDE
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
            step=seen.steps.get(intent.operation_id, "") if running else "",
        )


def _ended_with_a_problem(state: DeploymentState, records: Mapping[str, OperationRecord]) -> str:
    """What was found when the active version was made, which how it is now need not show: data that went missing."""
    active = state.active
    record = records.get(active.provenance.operation_id) if active is not None else None
    if active is None or record is None or record.success or not record.error_message:
        return ""
    return f"When v{active.number} was made, something was found that a person is to look at: {record.error_message}"
