"""The instance's power: waiting until it is on or off, starting what was left stopped, a reboot that is allowed."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import ChangeFailedError, GeusemakerError, HostError, InterruptedOperationError
from geusemaker.models.inspection import InstanceState
from geusemaker.models.stack import Target
from geusemaker.services import progress
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Collaborators, Host

_BOOT_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 1.0
_REBOOT_SECONDS: Final = 600.0
"""EC2 cuts off what does not shut down in a few minutes; then comes the boot."""


def find_settled(collaborators: Collaborators, connection: Connection, target: Target) -> InstanceState | None:
    """The instance, once it has stopped or started if it is about to: a killed operation may have told it to."""
    cloud = collaborators.cloud(target.region)
    instance = cloud.find_instance(collaborators.deployment)
    if instance is None or instance.state not in ("stopping", "pending"):
        return instance
    with progress.phase(collaborators.on_event, "wait", f"{instance.id} is {instance.state}"):
        cloud.wait_until_settled(instance)
        settled = cloud.find_instance(collaborators.deployment)
        await_boot(collaborators, connection.renew(target, settled))
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
            await_boot(work.collaborators, _renew(work, instance))


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
            await_boot(work.collaborators, host)
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


def boot_anew(work: Work) -> None:
    """Reboot an instance that answers: services are stopped in order first, and `apply` starts them afterwards.

    Raises:
        ChangeFailedError: it could not be told to, or does not come back.
        InterruptedOperationError: Ctrl-C.
    """
    host, instance, name = work.connection.host, work.found.instance, work.asked.name
    if not work.plan.reboots or host is None or instance is None:
        return
    cloud = work.collaborators.cloud(work.change.target.region)
    try:
        with work.phase("hold", "stopping services before the instance reboots"):
            before = host.health({}).boot
            host.hold(work.operation.id, work.collaborators.on_event)
        with work.phase("reboot", f"rebooting {instance.id}"):
            cloud.reboot_instance(instance.id)
            _await_other_boot(work, instance, before)
    except KeyboardInterrupt as error:
        work.operation.settle(work.after_failure(), "failed")
        raise InterruptedOperationError(
            f"Interrupted while {instance.id} was rebooted.",
            state=f"The data is untouched; no service of {name} may run.",
            next_step=f"Run `geusemaker recover {name}` to have them started.",
        ) from error
    except GeusemakerError as error:
        work.operation.settle(work.after_failure(), "failed")
        raise ChangeFailedError(
            f"{instance.id} was to be rebooted, and that failed: {error.message}",
            restored=False,
            state=f"The data is untouched; no service of {name} may run.",
            next_step=f"Run `geusemaker recover {name}`; where the instance does not answer, with --reboot.",
        ) from error


def renew_docker(work: Work) -> None:
    """Renew Docker on an instance that answers: services are stopped in order first, `apply` starts them afterwards.

    Raises:
        ChangeFailedError: it could not be renewed.
        InterruptedOperationError: Ctrl-C.
    """
    host, name = work.connection.host, work.asked.name
    if not work.plan.renewals or host is None:
        return
    try:
        with work.phase("hold", "stopping services before Docker is renewed"):
            host.hold(work.operation.id, work.collaborators.on_event)
        with work.phase("renew", "; ".join(work.plan.renewals)):
            host.renew(work.operation.id, work.collaborators.on_event)
    except (GeusemakerError, KeyboardInterrupt) as error:
        work.operation.settle(work.after_failure(), "failed")
        state = f"The data is untouched; no service of {name} may run."
        again = f"Run `geusemaker recover {name}` to have them started."
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedOperationError(
                "Interrupted while Docker was renewed.", state=state, next_step=again
            ) from error
        raise ChangeFailedError(
            f"Docker was to be renewed, and that failed: {error.message}", restored=False, state=state, next_step=again
        ) from error


def _await_other_boot(work: Work, instance: InstanceState, before: str) -> None:
    """Wait until the instance has booted anew and has the file system mounted. For a while the old boot still answers.

    Raises:
        HostError: it does not come back.
    """
    clock = work.collaborators.clock
    deadline = clock.monotonic() + _REBOOT_SECONDS
    while True:
        try:
            host = _renew(work, instance)
            health = host.health({}) if host is not None else None
            if health is not None and health.boot != before and health.mount.mounted:
                return
        except HostError as error:
            if error.code not in ("unreachable", "timeout", "agent_died"):
                raise
        if clock.monotonic() >= deadline:
            raise HostError(f"{instance.id} did not come back within {_REBOOT_SECONDS:.0f} s.", code="unreachable")
        clock.sleep(_POLL_SECONDS)


def _renew(work: Work, instance: InstanceState) -> Host | None:
    return work.connection.renew(work.change.target, instance.model_copy(update={"state": "running"}))


def await_boot(collaborators: Collaborators, host: Host | None) -> None:
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
