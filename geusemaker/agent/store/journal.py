"""The journal holds detail for people and decides nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Iterable

from geusemaker.agent.document import Json
from geusemaker.agent.store.folder import Folder


class Journal(Folder):
    """One line an entry, only ever added to."""

    def append_journal(self, entry: Json) -> None:
        with self._locked(), self.journal_file.open("ab+") as file:
            os.fchmod(file.fileno(), 0o600)
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that a power loss cut short must not swallow this one
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def journal(self, tail: int) -> list[Json]:
        lines = deque(self._journal_lines(), maxlen=tail)
        # What the data was is long, and only asked for by operation.
        return [{key: value for key, value in entry.items() if key != "manifest_after"} for entry in _entries(lines)]

    def journal_of(self, operations: Iterable[str]) -> list[Json]:
        """The entries of these operations, whole."""
        wanted = set(operations)
        names = [name.encode() for name in wanted]
        return [
            entry
            for entry in _entries(line for line in self._journal_lines() if any(name in line for name in names))
            if entry.get("operation_id") in wanted
        ]

    def _journal_lines(self) -> list[bytes]:
        """Bytes: one that is no text spoils its own line, and no other."""
        try:
            return self.journal_file.read_bytes().splitlines()
        except FileNotFoundError:
            return []


def _entries(lines: Iterable[bytes]) -> list[Json]:
    """The entries that can be read: the journal is detail, and a line that was cut short stops nobody."""
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
