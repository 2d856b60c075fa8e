"""The folder itself, its files and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from geusemaker.agent.errors import AgentError

LOCK_PATIENCE: Final = 10.0  # seconds for the file system's lock, which nobody keeps for long


class Folder:
    """The agent's own folder on the file system."""

    def __init__(self, efs: Path) -> None:
        self.efs = efs
        self.folder = efs / ".geusemaker"
        self.sentinel_file = self.folder / "sentinel.json"
        self.lease_file = self.folder / "lease.json"
        self.journal_file = self.folder / "journal.jsonl"
        self.served_file = self.folder / "served.json"
        self.stopped_file = self.folder / "stopped.json"
        self.interruption_file = self.folder / "interruption.json"
        self.password_file = self.folder / "password.json"
        self.key_file = self.folder / "n8n_key.json"
        self.return_file = self.folder / "data_return.json"
        self.rehearsals_file = self.folder / "rehearsals.json"
        self.backup_plan_file = self.folder / "backup_plan.json"
        self.backup_file = self.folder / "backup.json"
        self.checkpoints = self.folder / "checkpoints"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        # flock is atomic between the clients of an NFSv4 server, and the server drops a dead client's lock.
        with (self.folder / "lease.lock").open("a") as file:
            deadline = time.monotonic() + LOCK_PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise AgentError("lease_held", "Another process keeps the lease file locked.") from None
                    time.sleep(0.02)
            yield
