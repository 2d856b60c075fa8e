"""Checkpoints: vN/OPERATION, copies of the data that version N left, and checkpoint.json, which tells what they are.

Backups are those of kind ``backup``: no change took them, and none takes them away.

A folder without a leading dot is whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.clock import now
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import digest_of, read_json, read_leniently, write_atomic
from geusemaker.agent.store.sentinel import Sentinel

CHECKPOINT_FILE: Final = "checkpoint.json"
BACKUP: Final = "backup"
RESTORE: Final = "restore"
"""Kinds of a checkpoint."""
N8N_LIST: Final = "n8n-files.json"
"""In a checkpoint: path below n8n's folder → [bytes, SHA-256]; the files themselves are in ``n8n-files``.

The sum is empty for those that there was no time to read: of what is linked, the size tells whether it is whole.
"""


class Checkpoints(Sentinel):
    """The checkpoints there are."""

    def list_checkpoints(self) -> list[Json]:
        """What each checkpoint's own file tells of it, oldest first."""
        # One that does not tell what it is cannot be restored, and stands in nobody's way.
        found = [read_leniently(path / CHECKPOINT_FILE) for path in self.checkpoints.glob("v*/[!.]*")]
        return sorted((about for about in found if about.get("taken_at")), key=lambda about: str(about["taken_at"]))

    def open_checkpoint(self, name: str, services: Sequence[str]) -> Json:
        """A checkpoint whose copies of these services are all there and whole; reads all of them.

        Raises:
            AgentError: no_checkpoint, checkpoint_damaged
        """
        import hashlib

        about = read_json(self.checkpoints / name / CHECKPOINT_FILE)
        if about is None:
            raise AgentError("no_checkpoint", f"There is no checkpoint {name}.")
        held = [one for one in about["holds"] if one["service"] in services]
        if missing := sorted(set(services) - {one["service"] for one in held}):
            raise AgentError("no_checkpoint", f"Checkpoint {name} has nothing of {' and '.join(missing)}.")
        for one in held:
            try:
                with (self.checkpoints / name / one["file"]).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                digest = ""
            if digest != one["sha256"]:
                raise AgentError("checkpoint_damaged", f"{one['file']} of checkpoint {name} is not what was written.")
        files = about.get("n8n_files") if "postgresql" in services else None
        if files is not None:
            self._require_n8n_files(name, files["sha256"])
        return {**about, "holds": held, "n8n_files": files}

    def _require_n8n_files(self, name: str, digest: str) -> None:
        folder = self.checkpoints / name
        with contextlib.suppress(FileNotFoundError):
            if digest_of(folder / N8N_LIST) == digest:
                listed = json.loads((folder / N8N_LIST).read_text())

                def is_whole(path: str) -> bool:
                    size, digest = listed[path]
                    file = folder / "n8n-files" / path
                    return bool(digest_of(file) == digest if digest else file.stat().st_size == size)

                wrong = next((path for path in listed if not is_whole(path)), "")
                if not wrong:
                    return
                raise AgentError("checkpoint_damaged", f"n8n's file {wrong} of checkpoint {name} was changed since.")
        raise AgentError("checkpoint_damaged", f"Not all of n8n's files of checkpoint {name} are there.")

    def verify_checkpoint(self, name: str, services: Sequence[str]) -> Json:
        """Read all of a checkpoint once more, and note in its own file that it was found whole.

        Raises:
            AgentError: no_checkpoint, checkpoint_damaged
        """
        self.open_checkpoint(name, services)
        file = self.checkpoints / name / CHECKPOINT_FILE
        about = {**(read_json(file) or {}), "verified_at": now()}
        write_atomic(file, json.dumps(about), 0o600)
        return about

    def clear_unfinished(self) -> None:
        """Remove what operations left that were killed; for one beside which no other can be at work."""
        import shutil

        for left_over in self.checkpoints.glob("v*/.*"):
            shutil.rmtree(left_over)

    def collect_checkpoints(self, kept: Iterable[int]) -> list[str]:
        """Remove those of versions that are not kept, and all but a version's newest; never the newest of all.

        Backups count for nothing here, and stay: they were asked for, and have a retention of their own.
        Those taken before a restore stay as long as their version does: each may be the only copy of what the restore
        replaced. Those from before the data was adopted are of another stack's versions, and stay.
        """
        import shutil  # as in agent_version: not for verbs that do not need it

        since = float(((self.sentinel() or {}).get("adopted") or {}).get("since") or 0)
        found = sorted(
            (
                path
                for path in self.checkpoints.glob("v*/[!.]*")
                if path.stat().st_mtime >= since and _kind(path) != BACKUP
            ),
            key=lambda path: (path.stat().st_mtime_ns, path.name),
        )
        newest = {path.parent.name: path for path in found if _kind(path) != RESTORE}
        versions = {f"v{number}" for number in kept}
        gone = [
            path
            for path in found[:-1]
            if path.parent.name not in versions or not (_kind(path) == RESTORE or path == newest[path.parent.name])
        ]
        for path in gone:
            shutil.rmtree(path)
        self.clear_unfinished()
        for folder in self.checkpoints.glob("v*"):
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        return [str(path.relative_to(self.checkpoints)) for path in gone]


def _kind(checkpoint: Path) -> str:
    # One that cannot be read may be from before a restore, and then it is kept.
    return str((read_leniently(checkpoint / CHECKPOINT_FILE) or {"kind": RESTORE}).get("kind"))
