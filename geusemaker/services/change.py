"""One change of a deployment, whatever its verb: validate, plan, show, apply, verify, record — and go back if it fails.

``deploy``, ``update``, ``rollback`` and ``recover`` differ in how they choose the config; from there on they are this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from pydantic import SecretStr

from geusemaker.checks.preflight import (
    CheckContext,
    ask_ami,
    ask_registries,
    bytes_to_pull,
    check_ami,
    check_data,
    check_drift,
    check_images,
    check_there,
    failures,
    run_cloud_checks,
    run_host_checks,
)
from geusemaker.engine.versions import judge
from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    DeploymentBusyError,
    EngineError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.host.redaction import redaction
from geusemaker.models import resource_types
from geusemaker.models.base import Model
from geusemaker.models.history import ApplyOutcome, HistoryEntry, Intent, utc_now
from geusemaker.models.ownership import new_stack_id
from geusemaker.models.plan import CheckResult, ConfigChange, Event, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import InstanceState, NewerData, OperationResult
from geusemaker.models.stack import Secrets, ServiceName, StackConfig, Target, root_volume_gib
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import OperationKind, Provenance, RollbackRecord, Trigger, Version
from geusemaker.program.compose import probes, render, secret_environment
from geusemaker.services import (
    adopt,
    bookkeeping,
    collation,
    crossing,
    evidence,
    facts,
    lease,
    lost,
    manifest,
    mending,
    notices,
    progress,
    verdicts,
)
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.collaborators import Collaborators, Confirm, Engine, Host
from geusemaker.services.compatibility import compatibility_checks
from geusemaker.services.differences import config_changes, migrated_services, movements, same_system, secret_changes
from geusemaker.services.guard import (
    DATA_TYPES,
    SINGLE,
    engine_refusals,
    makes_an_instance,
    refusals,
    replaces_instance,
    same_plan,
)
from geusemaker.services.identity import require_account
from geusemaker.services.judgement import fails_by_itself
from geusemaker.services.migrations import must_go_on
from geusemaker.services.outcomes import trigger_of, waited_for
from geusemaker.services.rollback.target import advice, default_target
from geusemaker.services.settling import not_healthy, not_healthy_after_all, other_lives, settle_change
from geusemaker.services.states import load_state, read_journal
from geusemaker.services.verdicts import condemns

_MEND: Final = "Mend what failed and run the command again."
_SILENT: Final = ("unreachable", "timeout")
"""The host's error codes that say that nobody answers, rather than what is wrong."""
_HOST_SECONDS: Final = 60.0
_HOLD_SECONDS: Final = 600.0
_PREFETCH_SECONDS: Final = 3600.0
_CHECKPOINT_SECONDS: Final = 3600.0
_BOOT_SECONDS: Final = 180.0
_BOOT_POLL_SECONDS: Final = 1.0
_LAST_LOOKS: Final = 5


class Change(Model):
    """What is to be made real, and why."""

    kind: OperationKind
    config: StackConfig
    target: Target
    source_version: int | None = None
    trigger: Trigger = "manual"
    checks: tuple[CheckResult, ...] = ()
    """What was found out while the config was made."""
    returns: bool = False
    """Go back by itself, to where a rollback would go, if this change fails."""
    new_secrets: Secrets | None = None
    """Those made for a first deploy; they are the deployment's when the plan is accepted, and else nobody's."""
    n8n_key: SecretStr | None = None
    """n8n's encryption key, given for data that is taken up and does not have it."""
    new_n8n_key: bool = False
    """Whether a new one will do where nobody has it; n8n's credentials will be unreadable."""
    root_volume_gib: int | None = None
    """The size that the instance's own disk is to grow to; None: it stays as AWS has it."""
    data_volume_gib: int | None = None
    """The size that the data volume is to grow to; None: it stays as AWS has it, whatever was asked for before."""
    began_with: frozenset[str] | None = None
    """A return: the migrations of n8n's database when the change began that failed, under the n8n that comes back."""
    found_failing: int | None = None
    """The version whose services run and fail, and for which this goes to another one; on record once that works."""
    put_back: Provenance | None = None
    """A version that ran and that the history has lost: it is put back under its own number and operation."""
    above: int = 0
    """The highest number that is known to have been given to a version that the history has lost."""
    repair: bool = False
    """Settle what a killed or failed engine left behind before planning."""
    repairs: tuple[str, ...] = ()
    """What is not as it should be, as ``status`` sees it."""
    restarts: tuple[ServiceName, ...] = ()
    """Services that run and do not answer: they are started once more."""

    @property
    def grows(self) -> bool:
        """Whether a disk is to grow."""
        return self.data_volume_gib is not None or self.root_volume_gib is not None


class ChangeService:
    """Carries one change out. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators, state: DeploymentState, options: ChangeOptions) -> None:
        self._with = collaborators
        self._state = state
        self._options = options
        self._exit = ExitStack()
        self._host: Host | None = None
        self._unhealthy_before: set[str] = set()
        """Services that were not healthy when this was planned."""
        self._active_failed = False
        """Whether services of the active version ended again and again then."""
        self._announced = False
        """Whether the intent was written, or may have been."""
        self._has_lease = False
        """Whether the lease was taken here; else `apply` took it, and the gate gave it back."""
        self._reboot = False
        """Whether the instance runs, does not answer, and may be stopped and started."""
        self._living: dict[str, str] = {}
        """What AWS has under this name of which there must be just one: type → in words."""
        self._observed: dict[str, str] = {}
        """What AWS had of the deployment when this was planned."""
        self._mounted = ""
        """The id of the file system that the instance has mounted."""
        self._missing_images: list[str] | None = None
        """The services whose image is not on the instance; None: not known."""
        self._differs: dict[ServiceName, list[str]] | None = None
        """What of each service is not what lies on the instance; None: not known."""
        self._stopped: dict[str, Any] = {}
        """Services that somebody stopped on purpose."""
        self._checkpoint: dict[str, Any] | None = None
        """What was copied before this changed anything."""
        self._mending: mending.Mending | None = None
        """What a killed or failed engine left; None where that is not to be put right."""
        self._mended = False
        """Whether that was put right, or a part of it."""
        self._adopted_key = False
        """Whether n8n's key was learned from the data while the engine ran."""
        self._not_set_up = False
        """Whether the instance was made, and nothing on it."""
        self._made: Provenance | None = None
        """The provenance of the version that this makes."""
        self._started = 0.0

    def run(self, change: Change, confirm: Confirm) -> OperationResult:
        """Carry the change out.

        Returns:
            What it came to; ``success`` is False when it failed after it began.

        Raises:
            RefusedError: validation or the plan guard said no; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            GeusemakerError: something failed before anything was changed.
        """
        self._started = self._with.clock.monotonic()
        with self._exit:
            return self._run(change, confirm)

    def _run(self, change: Change, confirm: Confirm) -> OperationResult:
        change = change.model_copy(update={"target": require_account(self._with, change.target)})
        if change.repair:
            with self._phase("look", "what the engine left"):
                self._mending = mending.find(
                    self._with,
                    self._state,
                    change.target.region,
                    has_data=self._has_data,
                    owner_is_gone=self._options.owner_is_gone,
                )
            change = change.model_copy(update={"repairs": (*change.repairs, *self._mending.lines)})
        if change.target.adopting:
            change = self._adopting(change)
        if not change.target.stack_id:
            own = self._with.engine.stack_id() or new_stack_id()
            change = change.model_copy(update={"target": change.target.model_copy(update={"stack_id": own})})
        with ThreadPoolExecutor(1) as pool:
            sized = pool.submit(self._sized, change)
            instance = self._find_settled_instance(change.target)
            change = change.model_copy(update={"target": sized.result()})
        provenance = self._made = self._provenance(change, instance)
        candidate = self._with.engine.write_candidate(change.config, provenance, change.target, change.new_secrets)
        self._exit.callback(
            attempt, self._with.on_event, f"{candidate} was left", lambda: candidate.unlink(missing_ok=True)
        )
        if self._mending is not None and change.target.adopting:
            self._mending = replace(self._mending, candidate=candidate)
        plan = self._plan(change, provenance, candidate, instance)
        if self._options.dry_run:
            self._with.on_event(Event(kind="plan", plan=plan))
            return self._result(plan, success=True, dry_run=True)
        if not confirm(plan):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        return self._apply(change, plan, provenance, candidate, instance)

    def _adopting(self, change: Change) -> Change:
        """A first deploy that takes up data: what of it the state lacks comes in, as after a killed engine.

        Once a version is healthy the data is the deployment's, and this is over.
        """
        if self._has_data:
            return change.model_copy(update={"target": change.target.model_copy(update={"adopting": ""})})
        found, types = adopt.find_missing(self._with, change.target)
        base = self._mending or mending.Mending()
        self._mending = replace(base, adopt=base.adopt | found, types=base.types | types)
        own = mending.Mending(found, types).lines + adopt.lines(change.target, change.config)
        return change.model_copy(update={"repairs": (*change.repairs, *own)})

    def _sized(self, change: Change) -> Target:
        """The target with the sizes that the disks have, or are to have: they may have grown, and never shrink."""
        target, size = change.target, change.data_volume_gib
        cloud = self._with.cloud(target.region)
        if target.has_data_volume and size is None:
            found = cloud.find_data_volume(self._state.name, target.stack_id)
            size = found.size_gib if found is not None else None
        has = cloud.find_root_volume_gib(self._state.name) or root_volume_gib(target, change.config)
        sizes = {"root_volume_gib": max(has, change.root_volume_gib or 0)}
        return target.model_copy(update=sizes | ({"data_volume_gib": size} if size is not None else {}))

    def _find_settled_instance(self, target: Target) -> InstanceState | None:
        """The instance, once it has stopped or started if it is about to: a killed operation may have told it to."""
        cloud = self._with.cloud(target.region)
        instance = cloud.find_instance(self._state.name)
        if instance is None or instance.state not in ("stopping", "pending"):
            return instance
        with self._phase("wait", f"{instance.id} is {instance.state}"):
            cloud.wait_until_settled(instance)
            settled = cloud.find_instance(self._state.name)
            self._await_boot(self._open_host(target, settled))
        return settled

    def _await_boot(self, host: Host | None) -> None:
        """Give an instance that was just started time to answer and to mount the file system; what is wrong then shows.

        To AWS it runs some time before that.
        """
        deadline = self._with.clock.monotonic() + _BOOT_SECONDS
        while host is not None and self._with.clock.monotonic() < deadline:
            try:
                health = self._host_run(host, "health", {"services": {}})
                if health["mount"]["mounted"] or _never_set_up(health):
                    return
            except HostError as error:
                if error.code != "unreachable":
                    return
            self._with.clock.sleep(_BOOT_POLL_SECONDS)

    # --- before anything changes ---------------------------------------------------------------------------------

    def _provenance(self, change: Change, instance: InstanceState | None) -> Provenance:
        runs = instance is not None and instance.state == "running"
        others = instance.others if instance is not None else ()
        if change.put_back is not None:
            last = {"previous_operation_id": self._state.last_operation_id, "takes_over": True}
            return change.put_back.model_copy(update={**last, "other_instances": others})
        return Provenance(
            number=max(self._state.next_number, change.above + 1),
            operation_id=self._with.clock.new_operation_id(),
            previous_operation_id=self._state.last_operation_id,
            # Without a running instance no lease can be taken before: `apply` takes it, whoever had it last.
            takes_over=change.repair or not runs,
            other_instances=others,
            kind=change.kind,
            source_version=change.source_version,
            trigger=change.trigger,
            actor=self._with.actor,
            reason=self._options.reason,
            created_at=self._with.clock.now(),
        )

    def _plan(self, change: Change, provenance: Provenance, candidate: Any, instance: InstanceState | None) -> Plan:
        cloud = self._with.cloud(change.target.region)
        context = CheckContext(
            deployment=self._state.name,
            config=change.config,
            target=change.target,
            has_data=self._has_data,
            instance=instance,
            running=self._state.active.config if self._state.active is not None else None,
            proven=change.kind in ("rollback", "recover"),
        )
        # The preview takes longest. AWS and the registries are asked meanwhile, and the instance as soon as the engine
        # has decrypted what it takes to get there.
        with ThreadPoolExecutor(4) as pool:
            observed = pool.submit(cloud.observe, self._state.name)
            living = pool.submit(self._find_living, change)
            published = pool.submit(ask_registries, change.config, self._with.registry)
            cloud_checks = pool.submit(run_cloud_checks, context, cloud)
            ami = pool.submit(ask_ami, change.config, cloud)
            answers: list[Future[list[CheckResult]]] = []
            failed: EngineError | None = None
            operations: Sequence[ResourceOperation] = ()
            try:
                with self._phase("plan"), self._planning_engine() as engine:
                    operations = engine.preview(
                        candidate, lambda: answers.append(pool.submit(self._ask_instance, change, instance))
                    )
            except EngineError as error:
                failed = error
            with self._phase("validate"):
                self._observed = observed.result()
                self._living = living.result()
                checks = [*change.checks, *cloud_checks.result()]
                another = context.running is not None and context.running.ami != change.config.ami
                makes_instance = instance is None or another or makes_an_instance(operations)
                checks.append(check_ami(context, ami.result(), makes_instance=makes_instance))
                if instance is not None and failed is None:
                    checks.append(check_drift(context, instance, operations, grows=change.grows))
                if failed is None:
                    tagged = cloud.find_tagged(self._state.name)
                    addresses = [one.id for one in tagged if one.type == resource_types.ADDRESS]
                    checks += check_there(context, operations, addresses)
                if failed is None and not answers:
                    checks += self._ask_instance(change, instance)
                for answer in answers:
                    checks += answer.result()
                anew = replaces_instance(operations)
                missing = None if anew else self._missing_images
                checks.append(check_images(change.config, published.result(), missing, on_new_instance=anew))
        if failed is not None:
            raise self._preview_refusal(failed, change, checks) from failed
        active = self._state.active
        copied = self._copied(change) if self._host is not None else ()
        plan = Plan(
            deployment=self._state.name,
            kind=change.kind,
            operation_id=provenance.operation_id,
            number=provenance.number,
            active_version=active.number if active else None,
            source_version=change.source_version,
            trigger=change.trigger,
            reason=self._options.reason,
            config=change.config,
            changes=(*self._changes(change), *secret_changes(self._differs)),
            replaced=None if self._differs is None else tuple(self._differs),
            operations=tuple(operations),
            checks=tuple(checks),
            repairs=change.repairs,
            stopped=notices.stays_stopped(self._state.name, change.kind, change.config, self._stopped),
            target_kind=change.target.kind,
            checkpoint_of=self._left.number if copied and self._left is not None else None,
            checkpoint_services=copied,
        )
        plan = plan.model_copy(
            update={
                "downtime": notices.downtime(plan, instance),
                "data_notice": notices.data_notice(plan, self._has_data, change.target.adopting),
            }
        )
        if self._reboot:
            downtime = "All services stop while the instance is stopped and started: a few minutes on AWS."
            plan = plan.model_copy(update={"downtime": downtime})
        if reasons := self._refusals(plan.operations, change):
            raise self._refusal(reasons, plan.operations, change, plan.checks)
        self._refuse_failed(plan.checks)
        return plan

    @contextmanager
    def _planning_engine(self) -> Iterator[Engine]:
        """The engine to plan with: on a copy of the state where that is put right already, so looking writes nothing.

        Raises:
            RefusedError: AWS has nothing left of all that the state knows.
        """
        if self._mending is None:
            yield self._with.engine
            return
        with self._with.engine.rehearse(self._mending.adopt, self._mending.candidate) as rehearsed:
            if mending.all_gone(self._with.engine.resources(), rehearsed.resources()):
                raise RefusedError(
                    f"AWS has nothing of all that {self._state.name} had: this is not the account, region or local "
                    "cloud that it was made in, or all of it was removed at once.",
                    state="Nothing was changed.",
                    next_step="Check the credentials and the region; "
                    f"`geusemaker inspect {self._state.name}` shows what there was.",
                )
            yield rehearsed

    def _refusals(self, operations: Sequence[ResourceOperation], change: Change) -> list[str]:
        return refusals(
            operations,
            has_data=self._has_data,
            allow_replace=self._options.allow_replace,
            file_system=self._file_system(change.target) if self._has_data else change.target.adopting,
            living=self._living,
        )

    def _find_living(self, change: Change) -> dict[str, str]:
        """What AWS has under the deployment's name of which there must be just one: type → in words.

        What is to be taken up is left out; so is data where there is a version, which has its own words.
        """
        region = change.target.region
        # Data that is taken up is in the state when this is planned: making another is refused.
        taken = self._mending is not None and not change.target.adopting
        adoptable = set(self._mending.adopt.values()) if taken and self._mending is not None else set()
        wanted = set(SINGLE) - (set(DATA_TYPES) if self._has_data else set())
        found = self._with.cloud(region).find_tagged(self._state.name)
        living: dict[str, list[str]] = {}
        for one in found:
            if one.type in wanted and one.id not in adoptable:
                living.setdefault(one.type, []).append(f"{one.id} ({one.state})" if one.state else one.id)
        return {kind: " and ".join(sorted(those)) for kind, those in living.items()}

    def _file_system(self, target: Target) -> str:
        """The id of the file system that holds the data: the mounted one, else the one that AWS has for it."""
        if self._mounted:
            return self._mounted
        found = self._with.cloud(target.region).find_file_system(self._state.name, target.stack_id)
        return found.id if found is not None else ""

    def _refusal(
        self,
        reasons: Sequence[str],
        operations: Sequence[ResourceOperation],
        change: Change,
        checks: Sequence[CheckResult],
    ) -> PlanRefusedError:
        name = self._state.name
        failed = failures(checks)
        next_step = _MEND if failed else f"`geusemaker inspect {name}` shows what there is."
        if change.kind != "recover" and any(op.op == "create" and op.type in DATA_TYPES for op in operations):
            next_step = f"`geusemaker recover {name}` takes up again what AWS still has of it."
        seconds = [op for op in operations if op.op == "create" and op.type in self._living]
        if seconds:
            there = ", ".join(dict.fromkeys(self._living[op.type] for op in seconds))
            next_step = (
                f"{there} carries the tag geusemaker:deployment={name} and is not this stack's: another workspace's, "
                "or what a lost one left. Deploy under another name, or remove it by hand if nobody needs it."
            )
        also = f" Validation failed as well: {'; '.join(failed)}." if failed else ""
        return PlanRefusedError(
            f"The plan is refused: {'; '.join(reasons)}.{also}",
            state=self._untouched,
            next_step=next_step,
            checks=tuple(checks),
        )

    def _refuse_failed(self, checks: Sequence[CheckResult]) -> None:
        if failed := failures(checks):
            raise ValidationFailedError(
                f"Validation failed: {'; '.join(failed)}.",
                state=self._untouched,
                next_step=_MEND,
                checks=tuple(checks),
            )

    def _ask_instance(self, change: Change, instance: InstanceState | None) -> list[CheckResult]:
        """What the instance says of itself and of the data; where it cannot be asked, the history tells of the data."""
        host = self._open_host(change.target, instance)
        checks = self._ask_host(host, change) if host is not None else []
        if self._reboot or self._not_set_up:
            host = self._host = None
        return [*checks, *self._check_data(host, change)]

    def _ask_host(self, host: Host, change: Change) -> list[CheckResult]:
        active = self._state.active
        watched = active.config if active is not None else change.config
        try:
            secrets = secret_environment(change.config, self._with.engine.load_secrets())
            document = {
                "services": probes(watched),
                "images": change.config.images,
                "compose": render(change.config, data_volume=change.target.has_data_volume),
                "environment": secrets,
            }
            health = self._host_run(host, "health", document)
        except HostError as error:
            return [self._unanswered(error)]
        if _never_set_up(health):
            # What a lease, a mount or an image needs is not there: the engine's run is what brings it.
            self._not_set_up = True
            return [CheckResult(name="instance", status="warn", detail="it was never set up; that is done first")]
        self._mounted = health["mount"]["file_system_id"] or ""
        self._stopped = health.get("stopped") or {}
        self._missing_images = health.get("missing_images")
        self._differs = health.get("differs")
        if active is not None and not self._state.unsettled:
            self._unhealthy_before = {
                name for name, found in health["services"].items() if not found["healthy"] and name not in self._stopped
            }
            self._active_failed = fails_by_itself(probes(watched), health["services"])
        to_pull = bytes_to_pull(health, change.config, active.config if active else None, self._with.registry)
        checks = run_host_checks(health, change.config, change.target, to_pull)
        if self._has_data:
            checks.insert(1, check_data(health, self._state.name))
        return [*checks, *self._check_history(host, change, health.get("lease"))]

    def _check_history(self, host: Host, change: Change, held: dict[str, Any] | None) -> list[CheckResult]:
        """Whether the file system knows a version that the history does not; a repair is the way out of that."""
        found = None if change.repair else lost.read_lost(self._with, host, self._state, held)
        if found is None:
            return []
        return [CheckResult(name="history", status="fail", detail=lost.notice(self._state.name, found).rstrip("."))]

    def _unanswered(self, error: HostError) -> CheckResult:
        """The instance runs, and its agent does not answer."""
        detail = error.message.rstrip(".")
        if error.code not in _SILENT:
            return CheckResult(name="instance", status="fail", detail=detail)
        if self._options.reboot:
            self._reboot = True
            return CheckResult(name="instance", status="warn", detail=f"{detail}; it is stopped and started first")
        return CheckResult(
            name="instance",
            status="fail",
            detail=f"{detail}. Check that your address may connect; if nobody gets in any more, "
            f"`geusemaker recover {self._state.name} --reboot` stops and starts the instance",
        )

    def _check_data(self, host: Host | None, change: Change) -> list[CheckResult]:
        if not facts.are_needed(self._state, change.config):
            return []
        known = facts.read_facts(host, read_journal(self._with), self._state, change.config)
        return compatibility_checks(
            change.config,
            known,
            allow_downgrade=self._options.allow_data_downgrade,
            lenient=change.trigger != "manual" or change.kind == "recover",
            copied=self._copied(change) if host is not None else (),
        )

    def _copied(self, change: Change) -> tuple[ServiceName, ...]:
        """The services whose data is copied first. A return by itself needs no copy: one was made minutes ago."""
        left = self._left
        if not self._options.checkpoint or change.trigger != "manual" or left is None:
            return ()
        # One that is stopped on purpose has nobody to ask for a copy, and nothing touches its data now.
        migrated = migrated_services(left.config, change.config)
        return tuple(name for name in migrated if name not in self._stopped)

    @property
    def _left(self) -> Version | None:
        """The version whose data is there: the active one, or the one that failed or was interrupted."""
        if self._state.active is not None and self._state.unsettled:
            return self._state.versions[-1]
        return self._state.active

    def _preview_refusal(self, error: EngineError, change: Change, checks: Sequence[CheckResult]) -> GeusemakerError:
        # Of some plans the engine shows nothing but that it refuses to make them.
        if reasons := self._refusals(error.operations, change) or engine_refusals(error.diagnostics):
            return self._refusal(reasons, error.operations, change, checks)
        self._refuse_failed(checks)
        error.state = self._untouched
        return error

    def _changes(self, change: Change) -> tuple[ConfigChange, ...]:
        # After a failed operation the differences that matter are those to what is being left, not to what was asked.
        base = self._state.active or self._state.last_healthy
        if self._state.unsettled and self._state.versions:
            base = self._state.versions[-1]
        changes = config_changes(base.config if base else None, change.config)
        if change.data_volume_gib is not None and self._state.target is not None:
            old, new = str(self._state.target.data_volume_gib), str(change.data_volume_gib)
            changes = (*changes, ConfigChange(path="data_volume_gib", old=old, new=new))
        if change.root_volume_gib is not None and self._state.target is not None and base is not None:
            old, new = str(root_volume_gib(self._state.target, base.config)), str(change.root_volume_gib)
            changes = (*changes, ConfigChange(path="root_volume_gib", old=old, new=new))
        return (*changes, *settle_change(self._state.target, change.target))

    @property
    def _has_data(self) -> bool:
        return self._state.last_healthy is not None

    @property
    def _untouched(self) -> str:
        active = self._state.active
        nothing = (
            "Nothing that runs was changed, only Pulumi's state was mended" if self._mended else "Nothing was changed"
        )
        return f"{nothing}; v{active.number} stays active." if active else f"{nothing}."

    # --- the change itself ---------------------------------------------------------------------------------------

    def _apply(
        self, change: Change, plan: Plan, provenance: Provenance, candidate: Any, instance: InstanceState | None
    ) -> OperationResult:
        operation = plan.operation_id
        host: Host | None = None
        before: dict[str, Any] | None = None
        try:
            host = self._power_on(change, plan, instance)
            if host is not None:
                self._begin(host, plan, provenance, instance)
            with self._phase("check", "planning again, to apply just what was shown"), ThreadPoolExecutor(4) as pool:
                # The engine's run takes longest; what can be asked meanwhile is.
                intent = pool.submit(self._announce, plan)
                updates = pool.submit(self._with.engine.history, 10)
                data = pool.submit(manifest.read, host) if host is not None else None
                observed = pool.submit(self._with.cloud(change.target.region).observe, self._state.name)
                if self._mending is not None:
                    intent.result()
                    self._mend(self._mending)
                operations = self._with.engine.preview(candidate)
                intent.result()
                self._check_unmoved(plan, updates.result(), operations, observed.result())
                before = data.result() if data is not None else None
                if host is not None and not self._mounted and self._has_data:
                    # It is mounted by now, and nobody has looked at it yet.
                    self._refuse_failed(
                        [*plan.checks, check_data(self._host_run(host, "health", {"services": {}}), plan.deployment)]
                    )
            if host is not None:
                with self._phase("prefetch", "pulling images while everything still runs"):
                    self._prefetch(host, plan, change.target)
                self._take_checkpoint(host, plan)
        except (ChangeFailedError, InterruptedOperationError):
            self._settle(host, plan, "failed")
            raise
        except (DeploymentBusyError, PlanRefusedError):
            # Where the lease was refused it is another operation's turn to say what is going on.
            if self._has_lease or self._announced:
                self._abandon(host, plan)
            raise
        except (GeusemakerError, OSError, KeyboardInterrupt) as error:
            self._abandon(host, plan)
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedOperationError("Interrupted.", state=self._untouched) from error
            if isinstance(error, OSError):
                raise GeusemakerError(
                    f"This machine is in the way: {bookkeeping.reason(error)}", state=self._untouched
                ) from error
            if not error.state:
                error.state = self._untouched
            raise
        try:
            if host is not None:
                self._restart_services(host, plan, change.restarts)
        except (ChangeFailedError, InterruptedOperationError):
            self._abandon(host, plan)  # no version was touched: how the services are is looked at again
            raise
        held: list[GeusemakerError] = []
        try:
            with self._phase("apply"):
                outcome = self._with.engine.up(
                    candidate,
                    message=f"{change.kind} v{plan.number}" + (f": {plan.reason}" if plan.reason else ""),
                    on_event=self._with.on_event,
                    deadline_seconds=change.config.rollback.deadline_minutes * 60.0,
                    on_stop=self._cancel_on_instance(change.target, operation),
                    before_instance=self._holding(host, plan, held) if host is not None else None,
                    after_mount=self._asking_data(change, plan, held) if change.target.adopting else None,
                )
                if held:
                    # The engine tells of it as of a program that crashed.
                    told = held[0]
                    text = f"{told.message} {told.state}".strip() if change.target.adopting else str(told)
                    outcome = outcome.model_copy(update={"failure": text, "diagnostics": ()})
                self._raise_phase(outcome)
        except _PhaseFailedError:
            failed = self._afterwards(plan, lambda: self._failed(change, plan, outcome, before))
            said = held[0].next_step if held and failed.exit_code == 4 else ""
            return failed.model_copy(update={"next_step": said or failed.next_step})
        except GeusemakerError as error:
            # What a run of the engine comes to is an outcome: it did not begin.
            self._abandon(host, plan)
            error.state = error.state or self._untouched
            raise
        except KeyboardInterrupt as error:
            self._has_lease = True  # or `apply` has taken it for this operation
            self._settle(self._host_after_failure(plan, change.target), plan, "failed")
            raise InterruptedOperationError(
                f"Interrupted while v{plan.number} of {self._state.name} was being applied.",
                state="What runs on the instance may be neither the old nor the new version.",
                next_step=f"Run `geusemaker recover {self._state.name}` to get back to a healthy version.",
            ) from error
        except Exception as error:
            # It may have come to an end or not, so it is treated as one that failed.
            broken = ApplyOutcome(succeeded=False, failure=bookkeeping.reason(error))
            return self._afterwards(plan, lambda: self._failed(change, plan, broken, before))
        return self._afterwards(plan, lambda: self._verify(change, plan, outcome, before))

    def _afterwards(self, plan: Plan, work: Callable[[], OperationResult]) -> OperationResult:
        """Do what follows the engine's run; an error there does not come out as one that changed nothing.

        Raises:
            InterruptedOperationError: Ctrl-C.
            ChangeFailedError: something that nobody foresaw.
        """
        look = f"`geusemaker status {self._state.name}` tells what runs and what to do."
        state = f"v{plan.number} was applied, and it was not looked at to the end."
        try:
            return work()
        except KeyboardInterrupt as error:
            self._settle(self._host, plan, "failed")
            raise InterruptedOperationError("Interrupted.", state=state, next_step=look) from error
        except (InterruptedOperationError, ChangeFailedError):
            raise
        except Exception as error:
            self._settle(self._host, plan, "failed")
            raise ChangeFailedError(
                f"Something unforeseen went wrong after v{plan.number} was applied: {bookkeeping.reason(error)}",
                restored=False,
                state=state,
                next_step=look,
            ) from error

    def _announce(self, plan: Plan) -> None:
        """Write the intent down, before the first effect."""
        if not self._announced:
            self._announced = True  # from here on it may be there
            self._with.engine.set_intent(self._intent(plan, ""))

    def _power_on(self, change: Change, plan: Plan, instance: InstanceState | None) -> Host | None:
        """The instance's agent, after what it takes to have the instance up."""
        if instance is not None and self._reboot:
            self._announce(plan)
            self._restart(change, instance)
        elif instance is not None and instance.state == "stopped" and not plan.stops_instance:
            # A killed operation left it stopped, and to the engine that is no difference.
            self._announce(plan)
            with self._phase("start", f"starting {instance.id}, which was left stopped"):
                self._with.cloud(change.target.region).start_instance(instance.id)
                self._await_boot(self._open_host(change.target, instance.model_copy(update={"state": "running"})))
        return self._host

    def _holding(self, host: Host, plan: Plan, failed: list[GeusemakerError]) -> Callable[[], None] | None:
        """What stops the services when the engine has come to an instance that it is about to stop, and not before.

        Else they would be down for as long as the engine takes to start, and stay down where it cannot: another run of
        the engine may hold the stack. ``failed`` takes what went wrong.
        """
        if not plan.stops_instance:
            return None

        def hold() -> None:
            try:
                with self._phase("hold", "stopping services before the instance stops"):
                    self._host_run(host, "hold", {"operation": plan.operation_id}, timeout=_HOLD_SECONDS)
            except GeusemakerError as error:
                failed.append(error)
                raise

        return hold

    def _asking_data(self, change: Change, plan: Plan, failed: list[GeusemakerError]) -> Callable[[Secrets], Secrets]:
        """What is asked of data that is taken up when it is mounted, and before anything starts on it.

        Takes the lease, which may still be that of an instance which is gone. ``failed`` takes what went wrong.
        """

        def ask(secrets: Secrets) -> Secrets:
            try:
                with self._phase("adopt", f"asking what {change.target.adopting} holds"):
                    return self._ask_data(change, plan, secrets)
            except GeusemakerError as error:
                failed.append(error)
                raise

        return ask

    def _ask_data(self, change: Change, plan: Plan, secrets: Secrets) -> Secrets:
        region, name = change.target.region, self._state.name
        instance = self._with.cloud(region).find_instance(name)
        host = self._host or self._open_host(change.target, instance)
        if instance is None or host is None:
            raise RefusedError("The instance that was just made cannot be asked.")
        found = self._host_run(host, "adoption", {})
        adopt.require_nobody_serves(self._with, region, found, instance.id)
        given = change.n8n_key.get_secret_value() if change.n8n_key is not None else None
        key = adopt.choose_key(name, found, change.config, given, anew=change.new_n8n_key)
        known = facts.read_facts(host, (), self._state, change.config)
        allowed = self._options.allow_data_downgrade
        checks = compatibility_checks(change.config, known, allow_downgrade=allowed, lenient=False, copied=())
        if wrong := failures(checks):
            raise ValidationFailedError(
                f"The data does not fit: {'; '.join(wrong)}.",
                state="The instance was made, and nothing on the data was changed.",
                next_step=f"Run `geusemaker deploy {name}` again with images that fit (--image SERVICE=REF).",
                checks=tuple(checks),
            )
        if not self._has_lease:
            lease.take(
                self._with,
                host,
                plan.operation_id,
                plan.kind,
                expects=None,
                takeover=None,
                instance_id=instance.id,
                untouched="The instance was made, and nothing on the data was changed.",
                owner_is_gone=True,  # the instance that it worked on is
                number=plan.number,
            )
            self._has_lease = True
        if key is None or key == secrets.n8n_encryption_key:
            return secrets
        adopted = secrets.model_copy(update={"n8n_encryption_key": key})
        self._with.engine.replace_secrets(adopted)
        self._adopted_key = True
        return adopted

    def _keep_adopted_secrets(self) -> None:
        """Let the history have the config as it is: that of the update has the secrets from before they were known."""
        if self._adopted_key:
            bookkeeping.insist(
                self._with.on_event,
                "Other machines do not have n8n's key yet; the next update gives it to them",
                self._with.engine.record_config,
            )

    def _restart(self, change: Change, instance: InstanceState) -> None:
        """Stop and start an instance that answers no more.

        Raises:
            ChangeFailedError: it does not come back.
        """
        cloud = self._with.cloud(change.target.region)
        try:
            with self._phase("reboot", f"stopping and starting {instance.id}"):
                cloud.stop_instance(instance.id)
                cloud.start_instance(instance.id)
                host = self._open_host(change.target, instance.model_copy(update={"state": "running"}))
                self._await_boot(host)
                if host is not None:
                    self._host_run(host, "health", {"services": {}})
        except KeyboardInterrupt as error:
            raise InterruptedOperationError(
                f"Interrupted while {instance.id} was stopped and started.",
                state=f"It may be stopped; the data is untouched, and no service of {self._state.name} may run.",
                next_step=f"Run `geusemaker recover {self._state.name}` to have it started.",
            ) from error
        except GeusemakerError as error:
            raise ChangeFailedError(
                f"{instance.id} was stopped to be started again, and does not come back: {error.message}",
                restored=False,
                state=f"The data is untouched; no service of {self._state.name} runs.",
                next_step=f"Mend the cause and run `geusemaker recover {self._state.name} --reboot` again.",
            ) from error

    def _begin(self, host: Host, plan: Plan, provenance: Provenance, instance: InstanceState | None) -> None:
        lease.take(
            self._with,
            host,
            plan.operation_id,
            plan.kind,
            expects=provenance.previous_operation_id or None,
            # A lease that `apply` took by itself (a first deploy) names no owner that could be looked for.
            takeover=provenance.previous_operation_id if provenance.takes_over else None,
            instance_id=instance.id if instance else "",
            untouched=self._untouched,
            owner_is_gone=self._options.owner_is_gone,
            number=plan.number,
        )
        self._has_lease = True

    def _check_unmoved(
        self,
        plan: Plan,
        history: Sequence[HistoryEntry],
        operations: Sequence[ResourceOperation],
        observed: dict[str, str],
    ) -> None:
        """Whether all is as it was when the plan was shown; if not, the plan as it would be now is told.

        The engine compares the program with its own state, not with AWS: AWS is looked at apart.
        """
        # Updates only: a refresh, as a repair makes one, carries the config that a killed operation left in the file.
        newest = next((entry.provenance for entry in history if entry.kind == "update"), None)
        known = {self._state.last_operation_id, *(version.provenance.operation_id for version in self._state.versions)}
        if newest is not None and newest.operation_id not in known:
            raise lease.changed_meanwhile(self._state.name, self._untouched)
        moved = movements(self._observed, observed)
        if moved or not same_plan(plan.operations, operations):
            checks = (*plan.checks, *(CheckResult(name="moved", status="fail", detail=text) for text in moved))
            now = plan.model_copy(update={"operations": tuple(operations), "checks": checks})
            now = now.model_copy(update={"downtime": notices.downtime(now)})
            self._with.on_event(Event(kind="plan", plan=now))
            raise PlanRefusedError(
                f"The plan is not any more what was shown: {'; '.join(moved) or 'Pulumi would do something else'}.",
                state=self._untouched,
                next_step="Look at the plan as it is now, and run the command again if that is what you want.",
                checks=checks,
            )

    def _prefetch(self, host: Host, plan: Plan, target: Target) -> None:
        document = {
            "operation": plan.operation_id,
            "compose": render(plan.config, data_volume=target.has_data_volume),
        }
        self._host_run(host, "prefetch", document, timeout=_PREFETCH_SECONDS)

    def _take_checkpoint(self, host: Host, plan: Plan) -> None:
        if plan.checkpoint_of is None:
            return
        document = {
            "operation": plan.operation_id,
            "number": plan.checkpoint_of,
            "kind": plan.kind,
            "services": list(plan.checkpoint_services),
        }
        try:
            with self._phase("checkpoint", "copying the data while everything still runs"):
                taken = self._host_run(host, "checkpoint", document, timeout=_CHECKPOINT_SECONDS)
            self._checkpoint = {key: taken[key] for key in ("checkpoint", "holds")}
        except HostError as error:
            if self._state.unsettled:
                # Something is broken already, and this may be the way out of it.
                self._with.on_event(Event(kind="warning", message=f"There is no checkpoint: {error.message}"))
                return
            error.next_step = error.next_step or "Mend the cause, or go on without a copy with --no-checkpoint."
            raise

    def _mend(self, found: mending.Mending) -> None:
        """Put right what the engine left: it was shown, and said yes to."""
        with self._phase("repair"):
            self._mended = bool(found.lines)
            mending.mend(self._with, self._state, found, owner_is_gone=self._options.owner_is_gone)

    def _restart_services(self, host: Host, plan: Plan, services: Sequence[ServiceName]) -> None:
        """Start services once more that run and do not answer: to Compose, there is nothing to do about them.

        Raises:
            ChangeFailedError, InterruptedOperationError: nobody knows which of them run.
        """
        if services and not plan.stops_instance:
            document = {"operation": plan.operation_id, "services": list(services)}
            words = ", ".join(services)
            state, again = "Each of them may run, or not.", f"Run `geusemaker recover {self._state.name}` again."
            try:
                with self._phase("restart", words):
                    self._host_run(host, "restart", document, timeout=_HOLD_SECONDS)
            except KeyboardInterrupt as error:
                raise InterruptedOperationError(
                    f"Interrupted while {words} was started once more.", state=state, next_step=again
                ) from error
            except HostError as error:
                raise ChangeFailedError(
                    f"{words} could not be started once more: {error.message}",
                    restored=False,
                    state=state,
                    next_step=again,
                ) from error

    def _abandon(self, host: Host | None, plan: Plan) -> None:
        """Nothing was changed: give the lease back. The number stays used.

        What an earlier operation left unsettled stays so, and this intent is now the only one that tells.
        """
        left_failed = self._state.last_failed and not self._state.interrupted
        # Where this operation's lease never was, the next one will find the earlier operation's.
        last = plan.operation_id if self._has_lease else self._state.last_operation_id or plan.operation_id
        self._write_intent(plan, "failed" if left_failed else "abandoned", last)
        self._end(host, plan, "abandoned")

    def _settle(self, host: Host | None, plan: Plan, outcome: str) -> None:
        """Say that the operation has ended, and give the lease back. Neither can change what it came to."""
        self._write_intent(plan, outcome)
        self._end(host, plan, outcome)

    def _write_intent(self, plan: Plan, outcome: str, operation_id: str = "") -> None:
        intent = self._intent(plan, outcome).model_copy(update={"operation_id": operation_id or plan.operation_id})
        bookkeeping.insist(
            self._with.on_event,
            f"That this operation has ended was not written down; `geusemaker recover {self._state.name}` does it",
            lambda: self._with.engine.set_intent(intent),
        )

    # --- after it ------------------------------------------------------------------------------------------------

    def _verify(
        self, change: Change, plan: Plan, outcome: ApplyOutcome, before: dict[str, Any] | None
    ) -> OperationResult:
        health = _gate_health(outcome)
        problem, ill = "", dict[str, str]()
        after: dict[str, Any] | None = None
        host: Host | None = None
        crossed: NewerData | None = None
        became = manifest.Comparison()
        try:
            with self._phase("verify"), ThreadPoolExecutor(1) as pool:
                stale = self._host is None or plan.stops_instance
                data = pool.submit(manifest.read, self._host) if self._host is not None and not stale else None
                instance = self._with.cloud(change.target.region).find_instance(self._state.name)
                if instance is None or instance.type != plan.config.instance_type or instance.state != "running":
                    found = f"{instance.type}, {instance.state}" if instance else "missing"
                    problem = f"the instance is not the {plan.config.instance_type} that was asked for ({found})"
                host = self._open_host(change.target, instance) if stale else self._host
                if host is not None:
                    after = data.result() if data is not None else manifest.read(host)
                    became = manifest.compare(before, after)
                    if became.losses:
                        problem = "DATA IS MISSING after the change: " + "; ".join(became.losses)
                    crossed = crossing.look(
                        self._with, host, self._state, self._left, plan.config, change.began_with, after
                    )
                    # Last: what is said next is that all is healthy.
                    ill = self._look_again(host, plan, outcome)
        except GeusemakerError as error:
            # Not as this error: its exit code says that nothing was changed.
            problem = f"it could not be verified ({error.message.rstrip('.')})"
            host = self._host_after_failure(plan, change.target)
        if ill and not problem:
            return self._failed(change, plan, not_healthy_after_all(ill), before, was_healthy=True)
        warnings = manifest.told(became, (self._checkpoint or {}).get("checkpoint", ""))
        database = plan.config.services.get("postgresql")
        warnings += collation.told(after, database.image if database is not None else None)
        self._tell(became.notes, warnings)
        result = self._result(plan, success=not problem, health=health).model_copy(update={"warnings": warnings})
        self._keep_adopted_secrets()
        if problem:
            result = result.model_copy(
                update={
                    "exit_code": 4,
                    "error_message": f"v{plan.number} runs, but {problem}.",
                    "next_step": f"Look at `geusemaker inspect {self._state.name}` before anything else is changed.",
                }
            )
        if change.found_failing is not None and not problem:
            verdicts.note(self._with, failed=change.found_failing)
        stays = crossing.stays_on_newer_data(self._state, plan.config)
        crossing.record(self._with, plan.number, crossed, stays=stays)
        self._finish(host, plan, self._record(change, plan, result, before, after))
        if crossed is None or problem:
            return result
        return crossing.told(result, crossed, accepted=self._options.allow_data_downgrade)

    def _tell(self, notes: Sequence[str], warnings: Sequence[str]) -> None:
        for text in notes:
            self._note(f"{text}.")
        for text in warnings:
            self._with.on_event(Event(kind="warning", message=text))

    def _look_again(self, host: Host, plan: Plan, outcome: ApplyOutcome) -> dict[str, str]:
        """Service → why it is not any more as the gate left it. Who gives no answer in time is asked again."""
        left = (outcome.agent_results.get("gate") or {}).get("services") or {}
        ill: dict[str, str] = {}
        for number in range(_LAST_LOOKS):
            if number:
                self._with.clock.sleep(1.0)
            health = self._host_run(host, "health", {"services": probes(plan.config)})
            found, resting = health["services"], health.get("stopped") or {}
            ill = not_healthy([name for name in plan.config.services if name not in resting], left, found)
            if not ill or other_lives(left, found):
                break
        return ill

    def _failed(
        self,
        change: Change,
        plan: Plan,
        outcome: ApplyOutcome,
        before: dict[str, Any] | None,
        *,
        was_healthy: bool = False,
    ) -> OperationResult:
        """Keep evidence, record, and go back once where that is allowed."""
        reason = notices.failure(outcome, change.config)
        if outcome.timed_out:
            reason += self._waited_for(change, outcome)
        host = self._host_after_failure(plan, change.target)
        secrets = attempt(self._with.on_event, "Secrets cannot be taken out", self._with.engine.load_secrets)
        folder = evidence.collect(
            lambda: self._with.journal.evidence_folder(plan.operation_id),
            outcome,
            host,
            plan,
            self._with.on_event,
            redaction(secrets),
        )
        failing = {name for name, healthy in _gate_health(outcome).items() if not healthy}
        already_failing = bool(failing) and failing <= self._unhealthy_before
        condemned = condemns(outcome)
        if condemned:
            verdicts.note(self._with, failed=plan.number)
        known = self._state
        if already_failing and self._active_failed and known.active is not None:
            verdicts.note(self._with, failed=known.active.number)
            known = _condemned(known, known.active.number)
        after = _after_failure(known, change, plan, condemned=condemned)
        fallback = default_target(after) if change.returns else None
        if fallback is not None and same_system(fallback.config, change.config) and not change.grows:
            fallback = None
        failed = self._result(plan, success=False, health=_gate_health(outcome)).model_copy(
            update={"error_message": reason, "evidence": folder, "exit_code": 4}
        )
        record = self._record(change, plan, failed, before, None)
        if host is not None:
            facts.copy_record(self._with, host, record)
        self._write_intent(plan, "failed")
        name = self._state.name
        if outcome.timed_out and (migrating := self._migrating(host, change.config)):
            self._end(host, plan, "failed")
            return failed.model_copy(
                update={
                    "error_message": f"{reason} {migrating}",
                    "next_step": f"Watch `geusemaker status {name}`; when n8n is ready there, run the same command "
                    "again: it finds the migrations done.",
                }
            )
        if already_failing:
            self._end(host, plan, "failed")
            return failed.model_copy(
                update={
                    "next_step": f"{', '.join(sorted(failing))} was unhealthy before the change already, so it was "
                    f"not taken back. {advice(after)}"
                }
            )
        if fallback is None:
            self._end(host, plan, "failed")
            return failed.model_copy(update={"next_step": notices.no_way_back(change, after, was_healthy=was_healthy)})
        return self._go_back(
            change,
            plan,
            failed,
            fallback,
            after,
            outcome,
            began_with=self._began_with(fallback, before),
        )

    def _migrating(self, host: Host | None, config: StackConfig) -> str:
        """What n8n is at where it must not be stopped now; empty: nothing, or nobody can tell."""
        if host is None or "n8n" not in config.services:
            return ""
        try:
            found = self._host_run(host, "health", {"services": probes(config)})
        except HostError as error:
            message = f"Whether n8n is migrating its database is not known: {error.message}"
            self._with.on_event(Event(kind="warning", message=message))
            return ""
        return must_go_on(config, found["services"])

    def _began_with(self, fallback: Version, before: dict[str, Any] | None) -> frozenset[str] | None:
        """The migrations of n8n's database before this changed anything, if it was the n8n of ``fallback`` that ran."""
        active = self._state.active
        if active is None or self._state.unsettled or active.newer_data_as is not None:
            return None
        ran, returns = active.config.services.get("n8n"), fallback.config.services.get("n8n")
        if ran is None or returns is None or ran.image.by_digest != returns.image.by_digest:
            return None
        return facts.recorded_migrations(before)

    def _go_back(
        self,
        change: Change,
        plan: Plan,
        failed: OperationResult,
        fallback: Version,
        after: DeploymentState,
        outcome: ApplyOutcome,
        began_with: frozenset[str] | None,
    ) -> OperationResult:
        name, trigger = self._state.name, trigger_of(outcome)
        engine_failed = outcome.agent_error is None or outcome.timed_out
        reason = failed.error_message or ""
        self._with.on_event(
            Event(kind="warning", message=f"{reason} Going back to v{fallback.number} by itself ({trigger}).")
        )
        self._exit.pop_all().close()
        self._host = None
        recovery = ChangeService(
            self._with,
            after,
            ChangeOptions(reason=f"{change.kind} v{self._state.next_number} failed: {reason}"[:500]),
        )
        back = Change(
            kind="rollback",
            config=fallback.config,
            target=change.target,
            source_version=fallback.number,
            trigger=trigger,
            repair=engine_failed,
            began_with=began_with,
        )
        try:
            restored = recovery.run(back, confirm=lambda plan: True)
        except (InterruptedOperationError, KeyboardInterrupt) as error:
            self._end(self._host_after_failure(plan, change.target), plan, "failed")
            raise InterruptedOperationError(
                f"Interrupted on the way back to v{fallback.number}.",
                state=f"{reason} What runs on the instance may be either version, or neither.",
                next_step=f"Run `geusemaker recover {name}` to get back to a healthy version.",
            ) from error
        except Exception as error:
            # Whatever it is: the change failed and was not taken back, which is another exit code than its own.
            restored = failed.model_copy(
                update={
                    "error_message": str(error) if isinstance(error, GeusemakerError) else bookkeeping.reason(error)
                }
            )
        if not restored.success and restored.newer_data is None:
            self._end(self._host_after_failure(plan, change.target), plan, "failed")
            return failed.model_copy(
                update={
                    "exit_code": 4,
                    "error_message": f"{reason} Going back to v{fallback.number} failed as well: "
                    f"{restored.error_message}",
                    "next_step": self._advice(),
                }
            )
        back_again = failed.model_copy(
            update={
                "exit_code": 3,
                "version": restored.version,
                "rolled_back_to": fallback.number,
                "health_status": restored.health_status,
                "duration_seconds": self._elapsed,
                "newer_data": restored.newer_data,
                "warnings": restored.warnings,
                "next_step": "Nothing has to be done now. " + notices.mend(name, failed.evidence, outcome),
            }
        )
        if restored.success:
            return back_again
        return back_again.model_copy(
            update={
                "exit_code": 4,
                "error_message": f"{reason} v{fallback.number} is back, but {restored.warnings[-1]}",
                "next_step": restored.next_step,
            }
        )

    def _waited_for(self, change: Change, outcome: ApplyOutcome) -> str:
        cloud = self._with.cloud(change.target.region)
        found = attempt(self._with.on_event, "AWS cannot be asked", lambda: cloud.find_instance(self._state.name))
        return waited_for(outcome, found, change.config.instance_type)

    def _advice(self) -> str:
        """What to type next, by the history as it is now."""
        name = self._state.name
        try:
            return advice(load_state(self._with))
        except GeusemakerError:
            return f"`geusemaker status {name}` says what to do."

    def _record(
        self,
        change: Change,
        plan: Plan,
        result: OperationResult,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> OperationRecord:
        changes = [str(difference) for difference in plan.changes]
        from_version = plan.active_version or 0
        if self._state.unsettled and self._state.versions:
            from_version = self._state.versions[-1].number
        rollback = None
        if change.kind == "rollback":
            rollback = RollbackRecord(
                timestamp=self._with.clock.now(),
                trigger=change.trigger,
                success=result.success,
                error_message=result.error_message,
                previous_state_version=from_version,
                rolled_back_changes=changes,
                version=plan.number,
                source_version=change.source_version,
                operation_id=plan.operation_id,
                actor=self._with.actor,
                reason=plan.reason,
                health_status=result.health_status,
                duration_seconds=result.duration_seconds,
            )
        record = OperationRecord(
            operation_id=plan.operation_id,
            deployment=plan.deployment,
            kind=change.kind,
            number=plan.number,
            from_version=from_version or None,
            source_version=change.source_version,
            trigger=change.trigger,
            actor=self._with.actor,
            reason=plan.reason,
            started_at=self._with.clock.now(),
            duration_seconds=result.duration_seconds,
            success=result.success,
            error_message=result.error_message,
            changes=changes,
            health_status=result.health_status,
            evidence=result.evidence,
            manifest_before=before,
            manifest_after=after,
            checkpoint=self._checkpoint,
            rollback=rollback,
            config=change.config,
            provenance=self._made,
        )
        bookkeeping.record(self._with, record)
        return record

    def _finish(self, host: Host | None, plan: Plan, record: OperationRecord) -> None:
        """Settle the intent, copy the record to EFS, remove images that no kept version needs, give the lease back."""
        outcome = "done" if record.success else "failed"
        with ThreadPoolExecutor(1) as pool:
            intent = pool.submit(self._write_intent, plan, outcome)
            if host is not None:
                facts.copy_record(self._with, host, record)
                if record.success and self._has_lease:
                    self._collect_images(host, plan)
            intent.result()
        self._end(host, plan, outcome)

    def _collect_images(self, host: Host, plan: Plan) -> None:
        versions = [version for version in self._state.versions if version.healthy and not version.archived]
        kept = [plan.config, *(version.config for version in versions)]
        keep = sorted({service.image.by_digest for config in kept for service in config.services.values()})
        numbers = [plan.number, *(version.number for version in versions)]
        # The change itself is done and recorded; old images cost disk space, no more.
        attempt(
            self._with.on_event,
            "Old images were not removed",
            lambda: self._host_run(host, "gc", {"operation": plan.operation_id, "keep": keep, "checkpoints": numbers}),
        )

    def _end(self, host: Host | None, plan: Plan, outcome: str) -> None:
        if host is not None and self._has_lease:
            lease.give_back(self._with, host, plan.operation_id, outcome)

    # --- plumbing ------------------------------------------------------------------------------------------------

    def _open_host(self, target: Target, instance: InstanceState | None) -> Host | None:
        if instance is None or not instance.may_answer:
            return None
        self._host = self._exit.enter_context(
            self._with.open_host(instance.address, target, self._with.engine.load_secrets())
        )
        return self._host

    def _host_after_failure(self, plan: Plan, target: Target) -> Host | None:
        """A connection for evidence; a failure must not hide behind one that cannot be made any more."""
        if plan.stops_instance:
            self._host = None
        try:
            host = self._reconnect(target)
            if host is not None:
                host.run("lease", {}, timeout=_HOST_SECONDS)
        except GeusemakerError as error:
            self._with.on_event(Event(kind="warning", message=f"The instance cannot be asked: {error.message}"))
            return None
        return host

    def _reconnect(self, target: Target) -> Host | None:
        if self._host is not None:
            return self._host
        return self._open_host(target, self._with.cloud(target.region).find_instance(self._state.name))

    def _cancel_on_instance(self, target: Target, operation: str) -> Callable[[], None]:
        def cancel() -> None:
            try:
                host = self._reconnect(target)
                if host is not None:
                    host.run("cancel", {"operation": operation}, timeout=10.0)
            except GeusemakerError as error:
                # The engine is being stopped whatever comes; the next operation's lease kills what is left.
                self._with.on_event(Event(kind="warning", message=f"The remote command was not ended: {error.message}"))

        return cancel

    def _host_run(
        self, host: Host, verb: str, document: dict[str, Any], timeout: float = _HOST_SECONDS
    ) -> dict[str, Any]:
        return host.run(verb, document, on_line=progress.agent_lines(self._with.on_event), timeout=timeout)

    def _intent(self, plan: Plan, outcome: str) -> Intent:
        return self._with.intent(
            plan.operation_id,
            plan.kind,
            plan.number,
            outcome,
            trigger=plan.trigger,
            unsettled=outcome == "abandoned" and self._state.interrupted,
        )

    def _result(
        self, plan: Plan, *, success: bool, health: dict[str, bool] | None = None, dry_run: bool = False
    ) -> OperationResult:
        return OperationResult(
            success=success,
            deployment=plan.deployment,
            kind=plan.kind,
            version=plan.number if success and not dry_run else plan.active_version,
            operation_id=plan.operation_id,
            changes=[str(change) for change in plan.changes],
            health_status=health or {},
            duration_seconds=self._elapsed,
            dry_run=dry_run,
            checks=list(plan.checks),
        )

    @property
    def _elapsed(self) -> float:
        return round(self._with.clock.monotonic() - self._started, 3)

    def _note(self, message: str) -> None:
        self._with.on_event(Event(kind="note", message=message))

    @staticmethod
    def _raise_phase(outcome: ApplyOutcome) -> None:
        if not outcome.succeeded:
            raise _PhaseFailedError

    def _phase(self, name: str, message: str = "") -> AbstractContextManager[None]:
        return progress.phase(self._with.on_event, name, message)


class _PhaseFailedError(Exception):
    """The engine's run failed; its outcome says how."""


def _never_set_up(health: dict[str, Any]) -> bool:
    """Whether the agent says that nothing was ever done on its instance but starting it."""
    return "instance_id" in health and health["instance_id"] is None


def _gate_health(outcome: ApplyOutcome) -> dict[str, bool]:
    gate = outcome.agent_results.get("gate")
    if gate is not None:
        return {name: bool(service["healthy"]) for name, service in gate["services"].items()}
    error = outcome.agent_error or {}
    services = (error.get("detail") or {}).get("services") or {}
    return {name: service.get("state") == "healthy" for name, service in services.items()}


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
