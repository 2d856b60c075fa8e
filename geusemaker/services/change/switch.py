"""Takes Session Manager as the way to an instance that SSH leads to, before SSH's own is closed."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import HostError
from geusemaker.host import session
from geusemaker.host.bundle import session_agent
from geusemaker.host.commands import session_agent_command
from geusemaker.host.connection import Login
from geusemaker.models.inspection import InstanceState
from geusemaker.models.partition import dns_suffix, partition_of
from geusemaker.models.stack import Target
from geusemaker.services.change.work import Work

_CONNECT_SECONDS: Final = 180.0
"""An agent that was just installed is connected to AWS in some seconds."""
_POLL_SECONDS: Final = 2.0


def switch(work: Work) -> None:
    """Install AWS's agent and log in through it, where the change takes that way; the rule for SSH goes with `apply`.

    An instance that is made anew brings the agent along, and the other way round nothing has to be done: SSH's rule is
    there before the commands connect by it, and the agent stays.

    Raises:
        HostError: it is not possible, and nothing was changed but that the agent may be there.
    """
    before, target, instance = work.asked.state.target, work.change.target, work.found.instance
    if before is None or before.through_aws or not target.through_aws or instance is None:
        return
    if work.connection.host is None:
        raise HostError(
            f"{instance.id} does not answer, and AWS's agent is installed on it over SSH.",
            code="unreachable",
            next_step=f"Get it to run first: `geusemaker recover {work.asked.name}`.",
        )
    instance = instance.model_copy(update={"state": "running"})  # it may have been started since it was looked at
    with work.phase("connect", "installing AWS's Session Manager agent, and logging in through it"):
        _install(work, before, instance)
        work.connection.take("ssm")
        _log_in(work, target, instance)


def _install(work: Work, before: Target, instance: InstanceState) -> None:
    login = Login.of(instance.address, before, work.collaborators.engine.load_secrets())
    suffix = dns_suffix(partition_of(before.region, before.partition))
    command = session.Command(session_agent_command(before.become, before.region, suffix))
    done = session.run(login, command, session_agent().encode())
    if done.code:
        said = done.err.decode(errors="replace").strip() or f"exit status {done.code}"
        raise HostError(f"AWS's Session Manager agent could not be installed: {said[-500:]}", code="install_failed")


def _log_in(work: Work, target: Target, instance: InstanceState) -> None:
    clock = work.collaborators.clock
    deadline = clock.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            host = work.connection.open(target, instance)
            assert host is not None
            host.lease()
        except HostError as error:
            if error.code != "unreachable" or clock.monotonic() >= deadline:
                raise
            clock.sleep(_POLL_SECONDS)
        else:
            work.connection.host = host
            return
