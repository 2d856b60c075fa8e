"""The journal: one JSON line per operation, in the workspace. It holds detail and decides nothing."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from geusemaker.models.record import OperationRecord


class FileJournal:
    """A deployment's journal in a folder.

    Args:
        folder: the workspace's state folder.
        deployment: the deployment's name.
    """

    def __init__(self, folder: Path, deployment: str) -> None:
        self._file = folder / "journal" / f"{deployment}.jsonl"
        self._evidence = folder / "evidence" / deployment

    def append(self, record: OperationRecord) -> None:
        """Add a record; it is on disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[OperationRecord]:
        """All records, oldest first. A line cut short by a crash, or of another schema, is left out."""
        if not self._file.exists():
            return []
        records = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                records.append(OperationRecord.model_validate_json(line))
            except ValidationError:
                continue
        return records

    def evidence_folder(self, operation_id: str) -> Path:
        """The folder for what a failed operation leaves behind; made on demand, readable by its owner only."""
        folder = self._evidence / operation_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
