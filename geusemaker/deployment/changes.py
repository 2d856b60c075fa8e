"""What a deployment runs, changed and taken back: deploy, update, rollback, recover, destroy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Final

from geusemaker.deployment.confirm import Confirm, yes
from geusemaker.errors import ConfirmationNeededError, InvalidInputError
from geusemaker.models.history import utc_now
from geusemaker.models.request import ChangeOptions, DeployRequest, RollbackRequest, UpdateRequest
from geusemaker.models.result import OperationResult, RollbackResult, UnattendedReport
from geusemaker.questions import Questions
from geusemaker.targets import local_cloud, wanted_runtime
from geusemaker.wiring import OnEvent, ignore

LEAST_SECONDS: Final = 10.0


class Changes(Questions):
    """The verbs that change what runs."""

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
                next_step="Leave --target out, or deploy under another name.",
            )
        kind = kind or request.target or "local"
        if request.local_runtime is not None and kind != "local":
            raise InvalidInputError(
                "--local-runtime is for the local cloud only.",
                next_step="Leave it out, or deploy with --target local.",
            )
        runtime = wanted_runtime(request.local_runtime) if kind == "local" else None

        def deploy() -> OperationResult:
            return DeployService(self._wiring.collaborators(kind, on_event, runtime)).deploy(request, confirm)

        return self._in_turn(deploy, on_event)

    def update(
        self,
        request: UpdateRequest,
        confirm: Confirm = yes,
        on_event: OnEvent = ignore,
        verify: Callable[[Mapping[str, str]], object] | None = None,
    ) -> OperationResult:
        """Change the deployment; a failed change goes back to the last healthy version by itself.

        Args:
            request: what is to be otherwise.
            confirm: is shown the plan, and says yes or no.
            on_event: is told what goes on.
            verify: a test of the new version, once it is active: it gets service → its address on this machine (a
                tunnel leads there), and has failed when it raises or returns False; the version then goes back. It is
                called in a thread of its own, again and again for ``request.bake_seconds``, or once where that is 0.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value cannot be used.
            RefusedError: validation or the plan guard said no.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.update.service import UpdateService

        return self._in_turn(
            lambda: UpdateService(self._wiring.changing(on_event, request.dry_run)).update(request, confirm, verify),
            on_event,
        )

    def rollback(
        self, request: RollbackRequest | None = None, confirm: Confirm = yes, on_event: OnEvent = ignore
    ) -> RollbackResult:
        """Bring an earlier version back, or with ``request.services`` those of it alone.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: the version cannot be gone to, or validation or the plan guard said no.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.rollback.service import RollbackService

        asked = request or RollbackRequest()
        return self._in_turn(
            lambda: RollbackService(self._wiring.changing(on_event, asked.dry_run)).rollback(asked, confirm), on_event
        )

    def recover(
        self,
        confirm: Confirm = yes,
        on_event: OnEvent = ignore,
        owner_is_gone: bool = False,
        reboot: bool = False,
        dry_run: bool = False,
        on_demand: bool = False,
        renew_docker: bool = False,
        advisories: bool = True,
    ) -> OperationResult:
        """Get back to a healthy version after a killed or failed operation; succeeds when nothing is to be done.

        ``owner_is_gone`` says that the killed operation's process, on another machine, is known to be gone; ``reboot``
        lets an instance that runs and does not answer over SSH be stopped and started; ``dry_run`` shows the plan, and
        changes nothing; ``on_demand`` brings what ran on a spot instance, which does not run, back on demand;
        ``renew_docker`` renews Docker's packages where there are newer ones, all services stopped; ``advisories`` asks
        which published holes come back.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeploymentBusyError: the operation's owner is alive.
            ChangeFailedError: the instance was stopped for ``reboot`` and does not come back, or Docker not renewed.
        """
        from geusemaker.services.recover.service import RecoverService

        options = ChangeOptions(
            owner_is_gone=owner_is_gone,
            reboot=reboot,
            dry_run=dry_run,
            on_demand=on_demand,
            renew_docker=renew_docker,
            advisories=advisories,
        )
        return self._in_turn(
            lambda: RecoverService(self._wiring.changing(on_event, dry_run)).recover(options, confirm),
            on_event,
            owner_is_gone=owner_is_gone,
        )

    def recover_every(
        self, seconds: float, on_event: OnEvent = ignore, until: threading.Event | None = None
    ) -> UnattendedReport:
        """Look again and again, until ``until`` is set or Ctrl-C, and bring back an instance that was interrupted.

        Nothing else is repaired: no container, no drift, nothing that somebody stopped. After three times in 24 hours,
        which the history counts, it tells so (event ``gave-up``) and looks on without acting. After what came to
        nothing it waits twice as long, an hour at most.

        Raises:
            InvalidInputError: fewer than ten seconds.
            DeploymentNotFoundError: there is no such deployment.
            GeusemakerError: the first look failed.
            InterruptedOperationError: Ctrl-C in the middle of a repair.
        """
        from geusemaker.services.inspect.service import InspectService
        from geusemaker.services.recover.service import RecoverService
        from geusemaker.services.recover.unattended import Unattended

        if seconds < LEAST_SECONDS:
            raise InvalidInputError(
                f"To look every {seconds:g} s is too often: {LEAST_SECONDS:g} s are the least.",
                state="Nothing was done.",
            )
        options = ChangeOptions(unattended=True, reason="unattended")
        process = Unattended(
            self.name,
            look=lambda: InspectService(self._wiring.existing(on_event)).inspect(),
            repair=lambda: RecoverService(self._wiring.existing(on_event)).recover(options, yes),
            give_up=lambda text: self._wiring.existing(on_event).teller.gave_up(text),
            now=utc_now,
            on_event=on_event,
        )
        with contextlib.suppress(KeyboardInterrupt):
            process.run(seconds, (until or threading.Event()).wait)
        return UnattendedReport(deployment=self.name, looks=process.looks, repairs=process.repairs)

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
            )
        if delete_data and not dry_run and confirm_name is None:
            raise ConfirmationNeededError(
                "Deleting data needs the deployment's name as confirm_name.",
                state="Nothing was changed.",
                next_step=f'If all data may go: destroy(delete_data=True, confirm_name="{self.name}").',
            )
        options = ChangeOptions(dry_run=dry_run)

        def destroy() -> OperationResult:
            service = DestroyService(self._wiring.changing(on_event, dry_run))
            return service.destroy(options, confirm, delete_data=delete_data)

        return self._in_turn(destroy, on_event)
