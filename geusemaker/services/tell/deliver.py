"""The process that delivers what is told: runs hooks, and sends to addresses, each within its time.

An address is a webhook (``https://…`` gets the document as JSON) or one that Apprise knows (``ntfy://…``, ``mailto://…``,
the webhooks of Slack, Discord and Teams as they are copied from there): https://appriseit.com/services/
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from geusemaker.agent.webhooks import ADDRESS_SECONDS, named, post

COMMAND_SECONDS: Final = 60


def main() -> None:
    """Read the order from standard input, and carry it out."""
    order = json.load(sys.stdin)
    failures = deliver(order["document"], order["commands"], order["addresses"])
    note_failures(Path(order["undelivered"]), order["document"], failures)


def deliver(document: dict[str, Any], commands: Sequence[Sequence[str]], addresses: Sequence[str]) -> list[str]:
    """Tell everybody; what did not work, one sentence each, which names no more of an address than its host."""
    failures = []
    for command in commands:
        if problem := _run(command, document):
            failures.append(f"{command[-1]}: {problem}")
    for address in addresses:
        if problem := _send(address, document):
            failures.append(f"{named(address)}: {problem}")
    return failures


def note_failures(file: Path, document: dict[str, Any], failures: Sequence[str]) -> None:
    """Note what was not delivered, for the next who looks; after a delivery there is nothing to note."""
    if not failures:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    told = {"at": datetime.now(UTC).isoformat(), "event": document["event"], "failures": list(failures)}
    file.write_text(json.dumps(told), encoding="utf-8")


def _run(command: Sequence[str], document: dict[str, Any]) -> str:
    try:
        done = subprocess.run(
            command,
            input=json.dumps(document),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {COMMAND_SECONDS} s and was ended"
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else f"ended with {done.returncode}{f' ({said[-1][:200]})' if said else ''}"


def _send(address: str, document: dict[str, Any]) -> str:
    """Send the document; why that failed, or empty."""
    service = _apprise_service(address)
    if service is not None:
        service.socket_connect_timeout = service.socket_read_timeout = ADDRESS_SECONDS
        kinds = {"failed": "failure", "interrupted": "warning", "rolled-back": "warning"}
        title = f"geusemaker: {document['event']}"
        sent = service.notify(body=document["text"], title=title, notify_type=kinds.get(document["event"], "info"))
        return "" if sent else "did not take it"
    if urlsplit(address).scheme not in ("http", "https"):
        return "is no address that can be told; most need Apprise, which geusemaker[notify] brings"
    return post(address, document)


def _apprise_service(address: str) -> Any:
    """What sends to an address that Apprise knows; None where it does not, or is not installed."""
    try:
        import apprise
    except ImportError:
        return None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    return apprise.Apprise.instantiate(address, suppress_exceptions=True)


if __name__ == "__main__":
    main()
