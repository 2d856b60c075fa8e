"""The journal: one JSON line per operation, in the workspace. It holds detail and decides nothing."""

from __future__ import annotations

import json
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
        self.undelivered_file = folder / "undelivered" / f"{deployment}.json"
        """Where it is noted what could not be told to hooks or addresses last."""
        self.damage = ""
        """What the last ``read`` had to leave out, as a sentence; empty when it was nothing."""

    def append(self, record: OperationRecord) -> None:
        """Add a record; it is on disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        cut_short = self._ends_in_a_line()
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # A line that a crash cut short must not swallow this one.
            file.write(("\n" if cut_short else "") + record.model_dump_json(exclude={"config", "provenance"}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[OperationRecord]:
        """The latest record of each operation, oldest operation first.

        What cannot be read is left out, and ``damage`` says so.
        """
        self.damage = ""
        try:
            lines = self._file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            self.damage = f"The journal {self._file} cannot be read ({error.strerror}); it is left out."
            return []
        records, left_out = dict[str, OperationRecord](), 0
        for line in lines:
            try:
                record = OperationRecord.model_validate_json(line)
                records[record.operation_id] = record
            except ValidationError:
                left_out += 1  # cut short by a crash, damaged, or another geusemaker's
        if left_out:
            count = "1 line" if left_out == 1 else f"{left_out} lines"
            self.damage = f"{count} of the journal {self._file} cannot be read and left out; all else is there."
        return list(records.values())

    @property
    def undelivered(self) -> str:
        """What could not be told to hooks or addresses last, as a sentence; empty when nothing."""
        try:
            noted = json.loads(self.undelivered_file.read_text(encoding="utf-8"))
            return f"Not told of {noted['event']} at {noted['at'][:16]} UTC: {'; '.join(noted['failures'])}."
        except (OSError, ValueError, KeyError, TypeError):  # none, or it is just being written
            return ""

    def _ends_in_a_line(self) -> bool:
        with self._file.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def last_lines(self, operation_id: str, most: int) -> dict[str, list[str]]:
        """Service → the last lines of its log that a failed operation left as evidence here; secrets are taken out."""
        found = {}
        for file in sorted((self._evidence / operation_id).glob("*.log")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            found[file.stem] = lines[-most:]
        return found

    def evidence_folder(self, operation_id: str) -> Path:
        """The folder for what a failed operation leaves behind; made on demand, readable by its owner only."""
        folder = self._evidence / operation_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
