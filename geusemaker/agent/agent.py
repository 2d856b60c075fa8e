"""The instance as the verbs see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from geusemaker.agent.docker import Docker
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.mounts import Mounts
from geusemaker.agent.operations import Operations
from geusemaker.agent.output import Reporter
from geusemaker.agent.store import Store

T = TypeVar("T")


class Agent(Operations, Mounts, Docker):
    """The instance as the verbs see it: paths, commands, containers, the file system."""

    def __init__(self, root: Path, reporter: Reporter, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(root, reporter, environment)
        self.store = Store(self.efs)


def hold_lease(agent: Agent, operation: str, *, held: bool = True) -> Json:
    """The lease, which must be this operation's; what still runs of others is ended."""
    found = agent.on_efs(lambda: agent.store.require(operation, held=held))
    agent.end_stragglers(operation)
    return found


def or_problem(look: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return look(), None
    except AgentError as error:
        return None, error.message
