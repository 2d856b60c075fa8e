"""What the agent can be told to do: for each verb a function of its name, which takes the agent and the document.

A verb's module is loaded when the verb is asked for: a look at the lease need not wait for what a restore takes. For
the same reason the agent's values are named tuples and no dataclasses, which load ``inspect``, and what only some work
needs (``hashlib``, ``http.client`` …) is imported there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from geusemaker.agent.agent import Agent
    from geusemaker.agent.document import Document, Json


VERBS: Final[dict[str, str]] = {
    "mount": "mount",
    "begin": "lease",
    "end": "lease",
    "cancel": "lease",
    "lease": "lease",
    "adoption": "adoption",
    "prefetch": "prefetch",
    "checkpoint": "checkpoint",
    "checkpoints": "checkpoint",
    "backup": "backup",
    "schedule": "backup",
    "restore": "restore",
    "load": "load",
    "rehearse": "rehearse",
    "hold": "hold",
    "stop": "hold",
    "start": "hold",
    "restart": "hold",
    "newer": "renew",
    "renew": "renew",
    "authorize": "secrets",
    "password": "secrets",
    "key": "secrets",
    "apply": "apply",
    "gate": "gate",
    "measure": "measure",
    "health": "health",
    "manifest": "manifest",
    "logs": "logs",
    "evidence": "evidence",
    "gc": "gc",
    "journal": "journal",
    "watch": "watch",
    "notify": "watch",
    "notice": "notice",
}
"""Verb → the module here that has it; after how long it is given up, ``deadlines`` tells."""


def run_verb(verb: str, agent: Agent, document: Document) -> Json:
    """What the verb answers.

    Raises:
        AgentError: what it could not do
    """
    module = import_module(f"{__name__}.{VERBS[verb]}")
    answer: Json = getattr(module, verb)(agent, document)
    return answer
