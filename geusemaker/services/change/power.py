"""The instance's power: waiting until it is on or off, starting what was left stopped, a reboot that is allowed."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import ChangeFailedError, GeusemakerError, HostError, InterruptedOperationError
from geusemaker.models.result import InstanceState
from geusemaker.models.stack import Target
from geusemaker.services import progress
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Collaborators, Host

_BOOT_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 1.0


def find_settled(collaborators: Collaborators, connection: Connection, target: Target) -> InstanceState | None:
    """The instance, once it has stopped or started if it is about to: a killed operation may have told it to."""
    cloud = collaborators.cloud(target.region)
    instance = cloud.find_instance(collaborators.deployment)
    if instance is None or instance.state not in ("stopping", "pending"):
        return instance
    with progress.phase(collaborators.on_event, "wait", f"{instance.id} is {instance.state}"):
        cloud.wait_until_settled(instance)
        settled = cloud.find_instance(collaborators.deployment)
        _await_boot(collaborators, connection.renew(target, settled))
    return settled


def power_on(work: Work) -> None:
    """Have the instance up, so that its agent can be told.

    Raises:
        ChangeFailedError: it was stopped to be started again, and does not come back.
    """
    instance = work.found.instance
    if instance is not None and work.found.answers.reboot:
        work.operation.announce()
        _reboot(work, instance)
    elif instance is not None and instance.state == "stopped" and not work.plan.stops_instance:
        # A killed operation left it stopped, and to the engine that is no difference.
        work.operation.announce()
        with work.phase("start", f"starting {instance.id}, which was left stopped"):
            work.collaborators.cloud(work.change.target.region).start_instance(instance.id)
            _await_boot(work.collaborators, _renew(work, instance))


def _reboot(work: Work, instance: InstanceState) -> None:
    """Stop and start an instance that answers no more.

    Raises:
        ChangeFailedError: it does not come back.
    """
    name = work.asked.name
    cloud = work.collaborators.cloud(work.change.target.region)
    try:
        with work.phase("reboot", f"stopping and starting {instance.id}"):
            cloud.stop_instance(instance.id)
            cloud.start_instance(instance.id)
            host = _renew(work, instance)
            _await_boot(work.collaborators, host)
            if host is not None:
                host.health({})
    except KeyboardInterrupt as error:
        raise InterruptedOperationError(
            f"Interrupted while {instance.id} was stopped and started.",
            state=f"It may be stopped; the data is untouched, and no service of {name} may run.",
            next_step=f"Run `geusemaker recover {name}` to have it started.",
        ) from error
    except GeusemakerError as error:
        raise ChangeFailedError(
            f"{instance.id} was stopped to be started again, and does not come back: {error.message}",
            restored=False,
            state=f"The data is untouched; no service of {name} runs.",
            next_step=f"Mend the cause and run `geusemaker recover {name} --reboot` again.",
        ) from error


def _renew(work: Work, instance: InstanceState) -> Host | None:
    return work.connection.renew(work.change.target, instance.model_copy(update={"state": "running"}))


def _await_boot(collaborators: Collaborators, host: Host | None) -> None:
    """Give an instance that was just started time to answer and to mount the file system; what is wrong then shows.

    To AWS it runs some time before that.
    """
    clock = collaborators.clock
    deadline = clock.monotonic() + _BOOT_SECONDS
    while host is not None and clock.monotonic() < deadline:
        try:
            health = host.health({})
            if health.mount.mounted or health.never_set_up:
                return
        except HostError as error:
            if error.code != "unreachable":
                return
        clock.sleep(_POLL_SECONDS)
