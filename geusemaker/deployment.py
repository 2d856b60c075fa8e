"""A deployment, as the command line and a pipeline use it: every verb, wired to the real engine, AWS and instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from geusemaker.errors import (
    ConfirmationNeededError,
    DeclinedError,
    InvalidInputError,
    WorkspaceError,
)
from geusemaker.models.checkpoint import RestorePlan
from geusemaker.models.plan import Plan, RestPlan
from geusemaker.models.request import (
    ChangeOptions,
    DeployRequest,
    RestoreRequest,
    RestRequest,
    RollbackRequest,
    UpdateRequest,
)
from geusemaker.models.result import (
    MarkResult,
    OperationResult,
    RepairReport,
    RepairStep,
    RestoreResult,
    RollbackResult,
    RotationResult,
    SecretRotationResult,
)
from geusemaker.models.version import RotationKind
from geusemaker.questions import Questions
from geusemaker.targets import local_cloud, wanted_runtime
from geusemaker.wiring import OnEvent, ignore

if TYPE_CHECKING:
    pass

Confirm = Callable[[Plan], bool]
ConfirmRestore = Callable[[RestorePlan], bool]
ConfirmRest = Callable[[RestPlan], bool]
ConfirmRepair = Callable[[tuple[RepairStep, ...]], bool]


def yes(plan: Plan | RestorePlan | RestPlan | tuple[RepairStep, ...]) -> bool:
    """Confirm any plan: what a pipeline that has decided already passes."""
    return True


class Deployment(Questions):
    """One deployment. Every verb blocks until it is done; progress goes to ``on_event``.

    ``confirm`` is handed the plan and says whether to go on. Without ``confirm`` a change is made without asking.
    An ``on_event`` that raises stops nothing: it is told as a RuntimeWarning.
    Verbs return what a change came to, failures included, and raise geusemaker.errors.GeusemakerError where
    nothing was changed.
    """

    def deploy(self, request: DeployRequest, confirm: Confirm = yes, on_event: OnEvent = ignore) -> OperationResult:
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

    def update(self, request: UpdateRequest, confirm: Confirm = yes, on_event: OnEvent = ignore) -> OperationResult:
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
        self, request: RollbackRequest | None = None, confirm: Confirm = yes, on_event: OnEvent = ignore
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
        on_event: OnEvent = ignore,
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
        self, request: RestoreRequest | None = None, confirm: ConfirmRestore = yes, on_event: OnEvent = ignore
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
        on_event: OnEvent = ignore,
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
        on_event: OnEvent = ignore,
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
        on_event: OnEvent = ignore,
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

        return MarkService(self._wiring.existing(ignore)).mark(version, bad=bad, reason=reason)

    def pin(self, version: int, reason: str = "") -> MarkResult:
        """Keep a version ready to go back to, with its images and its checkpoint, however old it gets.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(ignore)).pin(version, pinned=True, reason=reason)

    def unpin(self, version: int) -> MarkResult:
        """Let a version go the way of the others: past the deployment's retention it is archived.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(ignore)).pin(version, pinned=False)

    def rotate_passphrase(
        self,
        passphrase: str | None = None,
        provider: str = "passphrase",
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = ignore,
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
        from geusemaker.services.passphrase import PassphraseService

        service = PassphraseService(self.name, self._settings)
        new = service.choose(passphrase, provider)
        return service.rotate(self._wiring.changing(on_event), provider, new, confirm)

    def rotate_secret(
        self,
        secret: Literal["ssh", "database"],
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = ignore,
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

    def repair_backend(self, confirm: ConfirmRepair = yes, on_event: OnEvent = ignore) -> RepairReport:
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
