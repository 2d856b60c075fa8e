"""Hands what is to be told to a process of its own, which goes on when this one has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geusemaker.models.history import Intent
from geusemaker.models.plan import Event
from geusemaker.models.record import OperationRecord
from geusemaker.models.secrets import Secrets
from geusemaker.services.tell.also import Also
from geusemaker.services.tell.events import EventName, of_intent, of_record


@dataclass
class Teller:
    """Tells a deployment's events to whoever is to know: hooks of this workspace, and the deployment's addresses.

    Commands come from this workspace and the command line alone: whoever may write to the backend must not be able to
    run anything here.
    """

    deployment: str
    hooks: Path
    """The folder with this workspace's hooks: a program each, named after its event."""
    undelivered: Path
    """Where it is noted what could not be delivered last."""
    secrets: Callable[[], Secrets]
    redact: Callable[[Secrets], Callable[[Any], Any]]
    also: Callable[[], Also]
    on_event: Callable[[Event], None]
    _told: set[str] = field(default_factory=set)

    def begins(self, intent: Intent) -> None:
        """An operation begins. The way back that one takes by itself is told when it has ended."""
        if intent.trigger == "manual" or intent.kind == "recover":
            self._tell("before-change", of_intent("before-change", self.deployment, intent))

    def ended(self, record: OperationRecord) -> None:
        """An operation has ended."""
        self._tell(*of_record(record))

    def interrupted(self, intent: Intent) -> None:
        """An operation was found that was killed, or ended by Ctrl-C; it is told of once."""
        if intent.operation_id not in self._told:
            self._told.add(intent.operation_id)
            self._tell("interrupted", of_intent("interrupted", self.deployment, intent))

    def gave_up(self, text: str) -> None:
        """An unattended process repairs no more for now; it says so once itself."""
        self._tell("gave-up", {"event": "gave-up", "text": text, "deployment": self.deployment})

    def _tell(self, event: EventName, document: dict[str, Any]) -> None:
        try:
            hook, also = self.hooks / event, self.also()
            commands: list[Sequence[str]] = [[str(hook)]] if os.access(hook, os.X_OK) and hook.is_file() else []
            commands += [["/bin/sh", "-c", command] for command in also.commands]
            secrets = self.secrets()
            addresses = [*also.addresses, *secrets.addresses]
            if commands or addresses:
                order = {
                    "document": self.redact(secrets)(document),
                    "commands": commands,
                    "addresses": addresses,
                    "undelivered": str(self.undelivered),
                }
                _hand_over(json.dumps(order))
        except Exception as error:  # whatever it is: telling must never stand in the way of what is told of
            what = f"Nobody was told of {event}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self.on_event(Event(kind="warning", message=what))


def _hand_over(order: str) -> None:
    """Start the process that delivers. It gets everything by its input: addresses are secrets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_CONFIG_PASSPHRASE")}
    process = subprocess.Popen(
        [sys.executable, "-m", "geusemaker.services.tell.deliver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is meant for the operation
        text=True,
    )
    assert process.stdin is not None
    with process.stdin as stream:
        stream.write(order)
