"""A deployment, as the command line and a pipeline use it: every verb, wired to the real engine, AWS and instance."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from geusemaker.cloud.aws import AwsCloud
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import (
    ConfirmationNeededError,
    DeclinedError,
    InvalidInputError,
    RefusedError,
    WorkspaceError,
)
from geusemaker.models.checkpoint import RestorePlan
from geusemaker.models.plan import CheckResult, Event, Plan, RestPlan
from geusemaker.models.request import (
    ChangeOptions,
    DeployRequest,
    RestoreRequest,
    RestRequest,
    RollbackRequest,
    UpdateRequest,
)
from geusemaker.models.result import (
    CheckpointList,
    DeploymentInfo,
    Inspection,
    MarkResult,
    OperationResult,
    RepairReport,
    RepairStep,
    RestoreResult,
    RollbackResult,
    RotationResult,
    SecretRotationResult,
)
from geusemaker.models.stack import Target
from geusemaker.models.version import RotationKind
from geusemaker.targets import local_cloud, open_target, wanted_runtime
from geusemaker.wiring import OnEvent, Wiring

if TYPE_CHECKING:
    from geusemaker.models.state import DeploymentState
    from geusemaker.services.collaborators import Cloud, Engine

Confirm = Callable[[Plan], bool]
ConfirmRestore = Callable[[RestorePlan], bool]
ConfirmRest = Callable[[RestPlan], bool]
ConfirmRepair = Callable[[tuple[RepairStep, ...]], bool]


def yes(plan: Plan | RestorePlan | RestPlan | tuple[RepairStep, ...]) -> bool:
    """Confirm any plan: what a pipeline that has decided already passes."""
    return True


def _ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


class Deployment:
    """One deployment. Every verb blocks until it is done; progress goes to ``on_event``.

    ``confirm`` is handed the plan and says whether to go on. Without ``confirm`` a change is made without asking.
    An ``on_event`` that raises stops nothing: it is told as a RuntimeWarning.
    Verbs return what a change came to, failures included, and raise geusemaker.errors.GeusemakerError where
    nothing was changed.
    """

    def __init__(self, name: str, settings: WorkspaceSettings) -> None:
        self.name = name
        self._settings = settings
        self._wiring = Wiring(name, settings)

    # --- changes -------------------------------------------------------------------------------------------------

    def deploy(self, request: DeployRequest, confirm: Confirm = yes, on_event: OnEvent = _ignore) -> OperationResult:
        """Bring the deployment into being, or again after a destroy.

        Raises:
            InvalidInputError: a value cannot be used.
            RefusedError: validation failed, or it is deployed already.
        """
        from geusemaker.services.deploy.service import DeployService

        default = None if self._settings.may_have_deployments else "local"
        if (self._wiring.known_kind() or request.target or default) == "local":
            local_cloud()  # one that is not installed is told before an engine is built and a workspace made
        self._settings.prepare()
        engine = self._wiring.engine(on_event, self._settings, installs=not request.dry_run)
        if not self._settings.has_passphrase and self._settings.uses_passphrase:
            self._wiring.create_passphrase(engine)
        kind = self._wiring.known_kind() or (self._wiring.kind(engine) if engine.exists() else None)
        if kind is not None and request.target not in (None, kind):
            raise InvalidInputError(
                f"{self.name} is on {kind}; its target is chosen at the first deploy and stays.",
                state="Nothing was changed.",
                next_step="Leave --target out, or deploy under another name.",
            )
        kind = kind or request.target or "local"
        if request.local_runtime is not None and kind != "local":
            raise InvalidInputError(
                "--local-runtime is for the local cloud only.",
                state="Nothing was changed.",
                next_step="Leave it out, or deploy with --target local.",
            )
        runtime = wanted_runtime(request.local_runtime) if kind == "local" else None
        return DeployService(self._wiring.collaborators(kind, on_event, runtime)).deploy(request, confirm)

    def update(self, request: UpdateRequest, confirm: Confirm = yes, on_event: OnEvent = _ignore) -> OperationResult:
        """Change the deployment; a failed change goes back to the last healthy version by itself.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value cannot be used.
            RefusedError: validation or the plan guard said no.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.update.service import UpdateService

        return UpdateService(self._wiring.changing(on_event, request.dry_run)).update(request, confirm)

    def rollback(
        self, request: RollbackRequest | None = None, confirm: Confirm = yes, on_event: OnEvent = _ignore
    ) -> RollbackResult:
        """Bring an earlier version back.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: the version cannot be gone to, or validation or the plan guard said no.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.rollback.service import RollbackService

        request = request or RollbackRequest()
        return RollbackService(self._wiring.changing(on_event, request.dry_run)).rollback(request, confirm)

    def recover(
        self,
        confirm: Confirm = yes,
        on_event: OnEvent = _ignore,
        owner_is_gone: bool = False,
        reboot: bool = False,
        dry_run: bool = False,
    ) -> OperationResult:
        """Get back to a healthy version after a killed or failed operation; succeeds when nothing is to be done.

        ``owner_is_gone`` says that the killed operation's process, on another machine, is known to be gone; ``reboot``
        lets an instance that runs and does not answer over SSH be stopped and started; ``dry_run`` shows the plan, and
        changes nothing.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeploymentBusyError: the operation's owner is alive.
            ChangeFailedError: the instance was stopped for ``reboot`` and does not come back.
        """
        from geusemaker.services.recover.service import RecoverService

        options = ChangeOptions(owner_is_gone=owner_is_gone, reboot=reboot, dry_run=dry_run)
        return RecoverService(self._wiring.changing(on_event, dry_run)).recover(options, confirm)

    def restore(
        self, request: RestoreRequest | None = None, confirm: ConfirmRestore = yes, on_event: OnEvent = _ignore
    ) -> RestoreResult:
        """Put a checkpoint's data in the place of what is there now. No rollback does that by itself.

        What is there now is copied first, and databases are kept under other names. The version stays what it is.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value cannot be used.
            RefusedError: there is no such checkpoint, or what runs cannot read it.
            DeploymentBusyError: another operation holds the deployment.
            ChangeFailedError: the instance went out of sight in the middle.
        """
        from geusemaker.services.restore.service import RestoreService

        return RestoreService(self._wiring.existing(on_event)).restore(request or RestoreRequest(), confirm)

    def stop(
        self,
        services: Sequence[str] = (),
        reason: str = "",
        confirm: ConfirmRest = yes,
        on_event: OnEvent = _ignore,
    ) -> OperationResult:
        """Stop services on purpose, all of them where none is named: nothing starts them again but ``start``.

        What needs a service stops with it. Who did it, since when and why is noted beside the data; boots, changes and
        ``recover`` respect it.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such service, or it is not enabled.
            RefusedError: nothing of it runs, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment.
        """
        return self._rest(RestRequest(kind="stop", services=tuple(services), reason=reason), confirm, on_event)

    def start(
        self,
        services: Sequence[str] = (),
        reason: str = "",
        confirm: ConfirmRest = yes,
        on_event: OnEvent = _ignore,
    ) -> OperationResult:
        """Start services again, as the active version has them, and wait until they are healthy; raises as ``stop``."""
        return self._rest(RestRequest(kind="start", services=tuple(services), reason=reason), confirm, on_event)

    def _rest(self, request: RestRequest, confirm: ConfirmRest, on_event: OnEvent) -> OperationResult:
        from geusemaker.services.rest.service import RestService

        return RestService(self._wiring.existing(on_event)).run(request, confirm)

    def destroy(
        self,
        delete_data: bool = False,
        confirm: Confirm = yes,
        on_event: OnEvent = _ignore,
        dry_run: bool = False,
        confirm_name: str | None = None,
    ) -> OperationResult:
        """Delete the instance and what belongs to it. Data, history and secrets stay, unless ``delete_data``.

        ``dry_run`` shows the plan, and changes nothing. ``delete_data`` needs ``confirm_name``, the deployment's name:
        there is no way back from it.

        Raises:
            InvalidInputError: ``confirm_name`` is another name.
            ConfirmationNeededError: data is to be deleted, and ``confirm_name`` is missing.
            DeploymentNotFoundError: there is no such deployment.
            ChangeFailedError: something could not be deleted.
        """
        from geusemaker.services.destroy.service import DestroyService

        if confirm_name not in (None, self.name):
            raise InvalidInputError(
                f"The name to confirm is {confirm_name!r}, and the deployment is {self.name!r}.",
                state="Nothing was changed.",
            )
        if delete_data and not dry_run and confirm_name is None:
            raise ConfirmationNeededError(
                "Deleting data needs the deployment's name as confirm_name.",
                state="Nothing was changed.",
                next_step=f'If all data may go: destroy(delete_data=True, confirm_name="{self.name}").',
            )
        service = DestroyService(self._wiring.changing(on_event, dry_run))
        return service.destroy(ChangeOptions(dry_run=dry_run), confirm, delete_data=delete_data)

    def mark(self, version: int, *, bad: bool, reason: str = "") -> MarkResult:
        """Mark a version bad, or good again. A bad one is no target of a rollback unless it is asked for.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(_ignore)).mark(version, bad=bad, reason=reason)

    def pin(self, version: int, reason: str = "") -> MarkResult:
        """Keep a version ready to go back to, with its images and its checkpoint, however old it gets.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(_ignore)).pin(version, pinned=True, reason=reason)

    def unpin(self, version: int) -> MarkResult:
        """Let a version go the way of the others: past the deployment's retention it is archived.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(_ignore)).pin(version, pinned=False)

    def rotate_passphrase(
        self,
        passphrase: str | None = None,
        provider: str = "passphrase",
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = _ignore,
    ) -> RotationResult:
        """Encrypt the deployment's secrets with another passphrase, or with a cloud's key; no version changes.

        Args:
            passphrase: the new one; None: one is generated, for the workspace's own file.
            provider: ``passphrase``, or the URL of a key as Pulumi writes it (``awskms://…``).
            confirm: is told what is to be done, and says whether to go on.
            on_event: is told what happens.

        Raises:
            InvalidInputError: the new passphrase cannot be used.
            RefusedError: another operation is unfinished, or the old passphrase opens other deployments, too.
            DeploymentBusyError: another operation holds the deployment.
            WorkspaceError: it could not be done.
        """
        from geusemaker.engine.settings import replace_passphrase
        from geusemaker.services.rotate import RotateService

        new, own = self._new_passphrase(passphrase, provider)
        collaborators = self._wiring.changing(on_event)
        engine, file, pending = collaborators.engine, self._settings.passphrase_file, self._settings.pending_passphrase
        if pending.exists():
            self._finish_rotation(engine, on_event)
        if own and engine.any_other():
            raise RefusedError(
                f"{file} opens other deployments, too, and would not any more.",
                state="Nothing was changed.",
                next_step="Put a new passphrase into a file of its own and run "
                f"`PULUMI_CONFIG_PASSPHRASE_FILE={file} geusemaker secrets rotate-passphrase {self.name} "
                f"--passphrase-file FILE`; from then on set PULUMI_CONFIG_PASSPHRASE_FILE to FILE for {self.name}.",
            )

        def begin() -> None:
            if own:
                replace_passphrase(pending, new)  # on disk before anything is encrypted with it

        def keep() -> None:
            if own:
                pending.replace(file)

        try:
            result = RotateService(collaborators).passphrase(provider, new, confirm, begin, keep)
        except Exception:
            if engine.opens():
                pending.unlink(missing_ok=True)  # the old one still holds
            raise
        return result.model_copy(update={"passphrase_file": str(file) if own else ""})

    def rotate_secret(
        self,
        secret: Literal["ssh", "database"],
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = _ignore,
    ) -> SecretRotationResult:
        """Change the key to log in with, or the database's password, on the instance and in the secrets.

        One that was killed, or failed, is finished by the same again. No version changes.

        Args:
            secret: which.
            confirm: is told what is to be done, and says whether to go on.
            on_event: is told what happens.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        from geusemaker.services.rotate_secret import RotateSecretService

        kind: RotationKind = "rotate-ssh" if secret == "ssh" else "rotate-database"
        return RotateSecretService(self._wiring.changing(on_event)).run(kind, confirm)

    def _finish_rotation(self, engine: Engine, on_event: OnEvent) -> None:
        """Put the passphrase in place that a rotation had begun to use when it was killed; else drop it."""
        pending = self._settings.pending_passphrase
        if engine.opens():
            pending.unlink()
        elif engine.with_passphrase(pending.read_text(encoding="utf-8").strip()).opens():
            pending.replace(self._settings.passphrase_file)
            on_event(Event(kind="note", message="The change of the passphrase that was killed is done now."))

    def _new_passphrase(self, passphrase: str | None, provider: str) -> tuple[str, bool]:
        """The new passphrase, and whether it is for the workspace's own file."""
        if not self._settings.uses_passphrase:
            raise RefusedError(
                "Pulumi Cloud has keys of its own for this backend, so there is no passphrase to rotate.",
                state="Nothing was changed.",
            )
        if provider != "passphrase":
            return "", False
        own = not self._settings.is_given_passphrase
        if passphrase is None and not own:
            raise InvalidInputError(
                "The passphrase comes from Pulumi's variables, so the new one has to be given.",
                state="Nothing was changed.",
                next_step=f"`geusemaker secrets rotate-passphrase {self.name} --passphrase-file FILE`",
            )
        new = passphrase if passphrase is not None else secrets.token_urlsafe(32)
        if new != new.strip() or not new or "\n" in new:
            raise InvalidInputError(
                "A passphrase is one line that is not empty, without blanks around it.", state="Nothing was changed."
            )
        return new, own

    # --- questions -----------------------------------------------------------------------------------------------

    def inspect(self, show_history: bool = False) -> Inspection:
        """Everything known: versions, rollbacks, restores, and what runs right now.

        ``show_history`` asks the instance too for what other machines did; versions and rollbacks are always there.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        from geusemaker.services.inspect.service import InspectService

        return InspectService(self._wiring.existing(_ignore)).inspect(whole_journal=show_history)

    def status(self) -> Inspection:
        """Health now, and what to do next."""
        return self.inspect()

    def checkpoints(self) -> CheckpointList:
        """The copies of the data that can be restored.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run.
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.restore.service import RestoreService

        return RestoreService(self._wiring.existing(_ignore)).list()

    def logs(self, service: str | None = None, lines: int = 100) -> Iterator[tuple[str, str]]:
        """The last log lines of a service, or of all: pairs of service and line.

        Raises:
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.inspect.service import InspectService

        return iter(InspectService(self._wiring.existing(_ignore)).logs(service, lines))

    def info(self) -> DeploymentInfo:
        """How to reach it: addresses, the ssh command, where credentials are."""
        from geusemaker.services.inspect.service import InspectService

        return InspectService(self._wiring.existing(_ignore)).info(str(self._settings.home), self._settings.backend_url)

    def environment(self) -> dict[str, str]:
        """The variables with which plain ``pulumi`` works on this deployment; no secret among them."""
        if not self._settings.may_have_deployments:
            raise self._wiring.not_found()
        self._settings.prepare()
        engine = self._wiring.engine(_ignore, self._settings)
        if not engine.exists():
            raise self._wiring.not_found()
        runtime = open_target(self._wiring.known_kind() or self._wiring.kind(engine), lambda text: None)
        return self._wiring.with_target(runtime).environment()

    def state(self) -> DeploymentState:
        """The versions and the latest operation, from the backend alone."""
        from geusemaker.services.states import load_state

        return load_state(self._wiring.collaborators(None, _ignore))

    def examine(self) -> list[CheckResult]:
        """Whether the backend holds the deployment whole: its files, state, history, secrets; and the credentials.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        from geusemaker.engine.keys import read_target
        from geusemaker.services.doctor.service import deployment_checks

        engine, salvage = self._wiring.salvage(_ignore)
        steps = salvage.steps()
        if not steps and not engine.exists():
            raise self._wiring.not_found()

        def where() -> Target | None:
            return read_target(self._settings.stack_file(self.name))

        def open_cloud(target: Target) -> Cloud:
            return AwsCloud(target.region, open_target(target.kind, lambda text: None).environment)

        return deployment_checks(self.name, engine, steps, open_cloud, where)

    def damage(self) -> tuple[RepairStep, ...]:
        """Files of the deployment that cannot be used, and what would be done about each; asks no engine."""
        return self._wiring.salvage(_ignore)[1].steps()

    def check_secrets(self) -> None:
        """Raise WorkspaceError where the passphrase does not open the deployment's secrets."""
        self._settings.prepare()
        self._wiring.engine(_ignore, self._settings).load_secrets()

    def repair_backend(self, confirm: ConfirmRepair = yes, on_event: OnEvent = _ignore) -> RepairReport:
        """Bring damaged files of the backend back from their newest good copies; what is damaged is kept.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: a run of the engine holds the deployment.
            WorkspaceError: a file cannot be mended.
        """
        engine, salvage = self._wiring.salvage(on_event)
        steps = salvage.steps()
        if not steps and not engine.exists():
            raise self._wiring.not_found()
        possible = tuple(step for step in steps if step.possible)
        impossible = [f"{step.file} ({step.reason}): {step.action}" for step in steps if not step.possible]
        if impossible:
            raise WorkspaceError(
                f"What is damaged cannot all be mended: {'; '.join(impossible)}.",
                state="Nothing was changed.",
                next_step=f"Then run `geusemaker doctor {self.name}` again.",
            )
        if not possible:
            return RepairReport(deployment=self.name)
        if not confirm(possible):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        kept = salvage.mend(possible)
        return RepairReport(
            deployment=self.name, steps=list(possible), kept=kept, next_step=f"Run `geusemaker recover {self.name}`."
        )


__all__ = ["Confirm", "Deployment", "OnEvent", "yes"]
