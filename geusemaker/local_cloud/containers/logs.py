"""``docker logs``."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from geusemaker.local_cloud.containers.api import Client, DockerError
from geusemaker.local_cloud.containers.options import UsageError, parse

_FLAGS: Final = {
    "--tail": "tail=",
    "-n": "tail=",
    "--since": "since=",
    "--timestamps": "timestamps",
    "-t": "timestamps",
    "--follow": "follow",
    "-f": "follow",
}
_POLL_SECONDS: Final = 0.3
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def main(root: Path, argv: list[str]) -> int:
    """Show what a container wrote and, following, what it writes until it stops."""
    options, arguments = parse(argv, _FLAGS, "docker logs")
    if len(arguments) != 1:
        raise UsageError("\"docker logs\" requires exactly 1 argument.\nSee 'docker logs --help'.")
    wanted = options.get("tail", "all")
    tail = int(wanted) if wanted.isdigit() else None
    since = _moment(options["since"]) if "since" in options else ""
    client, timestamps = Client(root), bool(options.get("timestamps"))
    life = client.call("container_inspect", name=arguments[0])["State"]["StartedAt"]
    entries = client.call("container_logs", name=arguments[0])
    later = [entry for entry in entries if entry["time"] >= since]
    _write(later if tail is None else later[len(later) - min(tail, len(later)) :], timestamps)
    while options.get("follow"):
        state = client.call("container_inspect", name=arguments[0])["State"]
        shown, entries = len(entries), client.call("container_logs", name=arguments[0])
        _write(entries[shown:], timestamps)
        if not state["Running"] or state["StartedAt"] != life:
            break  # as Docker: with the container, also where it is started again
        time.sleep(_POLL_SECONDS)
    return 0


def _write(entries: list[dict[str, str]], timestamps: bool) -> None:
    for entry in entries:
        stream = sys.stderr if entry["stream"] == "stderr" else sys.stdout
        stream.write(f"{entry['time']} {entry['log']}" if timestamps else entry["log"])
        stream.flush()


def _moment(text: str) -> str:
    """What ``--since`` names: how long ago (a duration of Go's), or a time (RFC 3339, or seconds since 1970)."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    try:
        if parts and "".join(map("".join, parts)) == text:
            found = datetime.now(UTC) - timedelta(seconds=sum(float(count) * _UNITS[unit] for count, unit in parts))
        elif re.fullmatch(r"\d+(\.\d+)?", text):
            found = datetime.fromtimestamp(float(text), UTC)
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        what = f'failed to parse value as time or duration: "{text}"'
        raise DockerError(f'invalid value for "since": {what}', 400) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
