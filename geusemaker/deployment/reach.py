"""The deployment, reached: a command on its instance or in a container. None of these verbs changes or waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.errors import HostError, InvalidInputError
from geusemaker.models.plan import Event
from geusemaker.models.reach import CommandResult
from geusemaker.questions import Questions
from geusemaker.services.reach.ports import ports_of, to_open
from geusemaker.wiring import OnEvent, ignore, steadily

if TYPE_CHECKING:
    from geusemaker.host.session import Command
    from geusemaker.host.tunnel import Tunnel
    from geusemaker.services.reach.service import Way


class Reach(Questions):
    """The verbs that reach instance and services, whatever else goes on."""

    def ssh(self, command: str = "", input: str = "", attach: bool = False) -> CommandResult:
        """Run a command on the instance, as its login; the instance must show the host key that is known of it.

        Args:
            command: a line for the login's shell; empty: that shell itself.
            input: what the command reads.
            attach: join it to this process's own stdin, stdout and stderr instead (a terminal where both ends are one).

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            HostError: the instance cannot be reached, or the connection was lost; the command may go on there.
        """
        from geusemaker.host.session import Command

        return self._run(self._way(), Command(command), input, attach)

    def exec(self, service: str, command: Sequence[str], input: str = "", attach: bool = False) -> CommandResult:
        """Run a program in a service's container, as ``docker exec`` does, whose exit codes 126 and 127 are kept.

        Args:
            service: which; its container must run.
            command: the program and its arguments; no shell reads them.
            input, attach: as of ``ssh``.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: it has no such service, or there is no command.
            HostError: the instance cannot be reached, or the service has no container that runs.
        """
        from geusemaker.host.session import Command

        if isinstance(command, str) or not command:
            raise InvalidInputError("The command is a list of words: the program, then its arguments.", state="")
        way = self._way()
        words = Command(service=way.service(service), words=tuple(command), become=way.target.become)
        return self._run(way, words, input, attach)

    def tunnel(self, *services: str, port: int | None = None, on_event: OnEvent = ignore) -> Tunnel:
        """Local ports that lead to services, which listen on the instance's loopback only.

            with deployment.tunnel("n8n") as addresses:
                urllib.request.urlopen(addresses["n8n"] + "/healthz")

        Args:
            services: which; none: all that have a port.
            port: the local port, for one service. None: the service's own, or another one where that is taken.
            on_event: is told when the connection is lost, when it is there again, and when a service does not answer.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: it has no such service, or ``port`` is given for several.
            HostError: the instance cannot be reached (here, and at the beginning of the ``with``).
            EnvironmentProblemError: at the beginning of the ``with``: ``port`` is taken.
        """
        if port is not None and len(services) != 1:
            raise InvalidInputError(
                "A local port is for one service.", next_step="Name the service, or leave it out.", state=""
            )
        way = self._way(on_event)
        known = list(ports_of(way.config))
        names = [way.service(name) for name in dict.fromkeys(services)] or known
        if missing := [name for name in names if name not in known]:
            raise InvalidInputError(f"{', '.join(missing)} of {self.name} has no port.")
        return self._tunnel(way, names, port, on_event)

    def open(self, service: str | None = None, port: int | None = None, on_event: OnEvent = ignore) -> Tunnel:
        """As ``tunnel``, to the one service that a browser is to be pointed at.

        Args:
            service: which; None: n8n, or where there is none the first that speaks HTTP.
            port, on_event: as of ``tunnel``, whose errors it raises.

        Raises:
            InvalidInputError: it has no such service, or it does not speak HTTP.
        """
        way = self._way(on_event)
        service = way.service(service) if service is not None else to_open(way.config, self.name)
        found = ports_of(way.config).get(service)
        if found is None or not found.http:
            raise InvalidInputError(
                f"{service} does not speak HTTP, so no browser can open it.",
                next_step=f"`geusemaker tunnel {self.name} {service}` leads to it.",
            )
        return self._tunnel(way, [service], port, on_event)

    def _tunnel(self, way: Way, names: Sequence[str], port: int | None, on_event: OnEvent) -> Tunnel:
        from geusemaker.host.tunnel import Forward, Tunnel

        def tell(text: str, *, bad: bool) -> None:
            steadily(on_event)(Event(kind="warning" if bad else "note", message=text))

        ports = ports_of(way.config)
        forwards = [Forward(name, ports[name].number, ports[name].http, port) for name in names]
        return Tunnel(way.login, forwards, lambda: self._way().login, tell)

    def _way(self, on_event: OnEvent = ignore) -> Way:
        from geusemaker.services.reach.service import ReachService

        return ReachService(self._wiring.existing(on_event)).find()

    def _run(self, way: Way, command: Command, input: str, attach: bool) -> CommandResult:
        from geusemaker.host import session

        try:
            if attach:
                return CommandResult(exit_code=session.attach(way.login, command))
            finished = session.run(way.login, command, input.encode())
        except HostError as error:
            raise way.told(error) from error
        out, err = (text.decode(errors="replace") for text in (finished.out, finished.err))
        return CommandResult(exit_code=finished.code, stdout=out, stderr=err)
