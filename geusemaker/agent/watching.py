"""Between operations: systemd's timer that has the instance look at itself, and where it tells what it sees.

Addresses are secrets. They lie on the instance's own disk, where root alone reads them, as the services' env files do.
"""

from __future__ import annotations

import json
from typing import Any, Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, write_atomic
from geusemaker.agent.packages import install_packages
from geusemaker.agent.timers import Timer, end_timer, put_timer

EVERY_SECONDS: Final = 300
_WATCH: Final = Timer("watch", "one look at the deployment", "watch_failed", EVERY_SECONDS, EVERY_SECONDS)
TIMER: Final = _WATCH.timer
SERVICE: Final = _WATCH.service
_FILE: Final = "watch.json"
_STATE: Final = "watch-state.json"
_CHATS: Final = ("hooks.slack.com", "discord.com", "discordapp.com", ".webhook.office.com", ".logic.azure.com")
"""Hosts whose webhooks want a document of their own; ``.name`` stands for all below it."""


def watched(agent: Agent) -> Json:
    """What was set: ``addresses``, and ``domains`` as ``health`` takes them; empty where nobody is to be told."""
    return read_leniently(agent.home / _FILE)


def read_state(agent: Agent) -> Json:
    """What was seen, and told, at the last look. One that cannot be read is none: it is told once more."""
    return read_leniently(agent.home / _STATE)


def write_state(agent: Agent, state: Json) -> None:
    """Keep what was seen, and told, for the next look."""
    write_atomic(agent.home / _STATE, json.dumps(state), 0o600)


def set_watch(agent: Agent, wanted: Any) -> bool:
    """Have the instance look at itself from now on, or, where nothing is wanted, no more.

    What fails is noted: whoever is to be told of a change must not keep it from being made.

    Returns:
        Whether it looks from now on.
    """
    try:
        if wanted is None:
            _end(agent)
            return False
        _begin(agent, Document(wanted if isinstance(wanted, dict) else {}))
        return True
    except (AgentError, OSError) as error:
        what = error.message if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"
        agent.reporter.note(f"Whether the instance looks at itself between operations could not be set: {what}")
        return False


def needs_apprise(address: str) -> bool:
    """Whether an address is one that only Apprise can tell."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = f".{parts.hostname or ''}"
    except ValueError:
        return True
    return parts.scheme not in ("http", "https") or any(host.endswith(f".{chat.lstrip('.')}") for chat in _CHATS)


def _begin(agent: Agent, wanted: Document) -> None:
    addresses = wanted.items("addresses")
    if not addresses or not all(isinstance(address, str) and address for address in addresses):
        raise AgentError("bad_input", "'addresses' has to be a list of texts.")
    agent.reporter.hide(addresses)
    values = {"addresses": addresses, "domains": wanted.values.get("domains")}
    if watched(agent) != values:
        write_atomic(agent.home / _FILE, json.dumps(values), 0o600)
    put_timer(agent, _WATCH)
    if any(map(needs_apprise, addresses)):
        _bring_apprise(agent)


def _end(agent: Agent) -> None:
    """Nothing is done where nothing was set."""
    end_timer(agent, _WATCH)
    for name in (_FILE, _STATE):
        (agent.home / name).unlink(missing_ok=True)


def _bring_apprise(agent: Agent) -> None:
    """Install Debian's package where its program is not there. What webhooks are told does not hang on it."""
    from shutil import which

    if which("apprise", path=agent.environment.get("PATH")) is None:
        try:
            install_packages(agent, ["apprise"])
        except AgentError as error:
            agent.reporter.note(f"Addresses other than plain webhooks are not told by the instance: {error.message}")
