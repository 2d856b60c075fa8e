"""The way to the instance's agent, for as long as a change works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from geusemaker.errors import GeusemakerError
from geusemaker.models import fields
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import Event, Plan
from geusemaker.models.stack import Target
from geusemaker.services.collaborators import Collaborators, Host


class Connection:
    """Holds the agent that is asked and told, and closes at its end what was opened.

    Args:
        collaborators: what it works with.
        known: the target before the change, if there was one: how the instance is reached is as it says, until
            ``take`` says otherwise.
    """

    def __init__(self, collaborators: Collaborators, known: Target | None = None) -> None:
        self._with = collaborators
        self._connect = known.connect if known is not None else None
        self._exit = ExitStack()
        self.host: Host | None = None

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)

    def at_end(self, do: Callable[[], object]) -> None:
        """Have something done when this is closed."""
        self._exit.callback(do)

    def close(self) -> None:
        """Close what is open; it may be opened again."""
        self._exit.pop_all().close()
        self.host = None

    def open(self, target: Target, instance: InstanceState | None) -> Host | None:
        """Another way to the agent; None where there is nobody to answer."""
        if instance is None or not instance.may_answer:
            return None
        way = target if self._connect is None else target.model_copy(update={"connect": self._connect})
        return self._exit.enter_context(self._with.open_host(instance.address, way, self._with.engine.load_secrets()))

    def renew(self, target: Target, instance: InstanceState | None) -> Host | None:
        """As ``open``; from here on that is the agent that is asked."""
        if (host := self.open(target, instance)) is not None:
            self.host = host
        return host

    def take(self, connect: fields.Connect) -> None:
        """From here on connections are made in this way; the one there is stays until it is renewed."""
        self._connect = connect

    def again(self, target: Target) -> Host | None:
        """The agent, also where there was none to ask before."""
        if self.host is not None:
            return self.host
        return self.renew(target, self._with.cloud(target.region).find_instance(self._with.deployment))

    def after_failure(self, plan: Plan, target: Target) -> Host | None:
        """The agent, for evidence; a failure must not hide behind one that cannot be asked any more."""
        if plan.stops_instance or plan.reboots:
            self.host = None
        try:
            host = self.again(target)
            if host is not None:
                host.lease()
        except GeusemakerError as error:
            self._with.on_event(Event(kind="warning", message=f"The instance cannot be asked: {error.message}"))
            return None
        return host

    def canceller(self, target: Target, operation: str) -> Callable[[], None]:
        """What ends an operation's work on the instance."""

        def cancel() -> None:
            try:
                host = self.again(target)
                if host is not None:
                    host.cancel(operation)
            except GeusemakerError as error:
                # The engine is being stopped whatever comes; the next operation's lease kills what is left.
                self._with.on_event(Event(kind="warning", message=f"The remote command was not ended: {error.message}"))

        return cancel
