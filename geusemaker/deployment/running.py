"""What a deployment runs, stopped and started, and its data put back: no version changes."""

from __future__ import annotations

from collections.abc import Sequence

from geusemaker.deployment.confirm import ConfirmRest, ConfirmRestore, yes
from geusemaker.models.request import RehearseRequest, RestoreRequest, RestRequest
from geusemaker.models.result import OperationResult, RehearsalResult, RestoreResult
from geusemaker.questions import Questions
from geusemaker.wiring import OnEvent, ignore


class Running(Questions):
    """The verbs that act on the services and the data of the active version."""

    def stop(
        self,
        services: Sequence[str] = (),
        reason: str = "",
        confirm: ConfirmRest = yes,
        on_event: OnEvent = ignore,
        instance: bool = False,
    ) -> OperationResult:
        """Stop services on purpose, all of them where none is named: nothing starts them again but ``start``.

        What needs a service stops with it. Who did it, since when and why is noted beside the data; boots, changes and
        ``recover`` respect it. With ``instance`` the EC2 instance stops as well, and is not paid for until ``start``.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such service, or it is not enabled.
            RefusedError: nothing of it runs, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment.
        """
        request = RestRequest(kind="stop", services=tuple(services), instance=instance, reason=reason)
        return self._rest(request, confirm, on_event)

    def start(
        self,
        services: Sequence[str] = (),
        reason: str = "",
        confirm: ConfirmRest = yes,
        on_event: OnEvent = ignore,
    ) -> OperationResult:
        """Start services again, as the active version has them, and wait until they are healthy; raises as ``stop``.

        An instance that was stopped on purpose starts first.
        """
        return self._rest(RestRequest(kind="start", services=tuple(services), reason=reason), confirm, on_event)

    def _rest(self, request: RestRequest, confirm: ConfirmRest, on_event: OnEvent) -> OperationResult:
        from geusemaker.services.rest.service import RestService

        return self._in_turn(lambda: RestService(self._wiring.existing(on_event)).run(request, confirm), on_event)

    def rehearse(self, request: RehearseRequest, on_event: OnEvent = ignore) -> RehearsalResult:
        """Try other images of n8n and PostgreSQL on a copy of the data, beside what runs, and measure the way back.

        Nothing that runs changes, no version is made, and all of it is removed afterwards. A rollback or ``recover``
        from anywhere ends it at once. The plan of an update to just these images tells what it came to.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a service is not rehearsed, or an image cannot be one.
            RefusedError: nothing runs that could be copied, or it runs these images already.
            DeploymentBusyError: another operation holds the deployment, or took it meanwhile.
            HostError: there is no room for it, or it could not be done.
        """
        from geusemaker.services.rehearse.service import RehearseService

        return self._in_turn(lambda: RehearseService(self._wiring.existing(on_event)).rehearse(request), on_event)

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

        asked = request or RestoreRequest()
        return self._in_turn(lambda: RestoreService(self._wiring.existing(on_event)).restore(asked, confirm), on_event)
