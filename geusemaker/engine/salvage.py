"""The way back from damaged files of a deployment: what is damaged, what brings it back, and doing that.

The engine's own state is truth, so a copy goes in by the engine's own `stack import`; what has no copy is moved out of
the engine's sight and kept. Nothing is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from geusemaker.engine.backend_files import BackendFiles, DamagedFile, read_state
from geusemaker.engine.keys import SECRETS_KEY
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import GeusemakerError, WorkspaceError
from geusemaker.models.doctor import RepairStep

_ACTIONS: Final = {
    "history": "the entry is lost; the file is set aside, and the rest of the history is read again at once",
    "tags": "marks, notes, labels and the operation under way are lost; the file is set aside",
    "store": "it is written anew; the damaged one is set aside",
    "lock": "whose lock it is cannot be told; it is set aside, so say yes only if no operation runs anywhere",
    "config": "it is restored from the newest update in the backend; the damaged one is set aside",
}


class Salvage:
    """Looks for damaged files of one deployment and mends what can be mended.

    Args:
        settings: the workspace.
        engine: the deployment's stack.
    """

    def __init__(self, settings: WorkspaceSettings, engine: StackEngine) -> None:
        self._settings = settings
        self._engine = engine
        folder = settings.backend_folder
        self._files = BackendFiles(folder, engine.deployment) if folder is not None else None

    def steps(self) -> tuple[RepairStep, ...]:
        """What is damaged, and what would be done about each, in the order in which it would be done."""
        damaged = self._files.damage() if self._files is not None else []
        order = ("store", "lock", "tags", "history", "state")
        found = [self._step(file) for kind in order for file in damaged if file.kind == kind]
        file = self._settings.stack_file(self._engine.deployment)
        made = self._files.has_history if self._files is not None else True
        if made and (reason := config_problem(file)):
            step = RepairStep(kind="config", file=str(file), reason=reason, action=_ACTIONS["config"])
            found.append(step)
        return tuple(found)

    def mend(self, steps: Sequence[RepairStep]) -> list[str]:
        """Carry the steps out; returns where damaged files are kept.

        Raises:
            WorkspaceError: one cannot be carried out; those before it are done.
        """
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        kept = []
        for step in steps:
            try:
                if place := self._mend(step, stamp):
                    kept.append(str(place))
            except OSError as error:
                raise WorkspaceError(
                    f"{step.file} cannot be mended: {error.strerror or error}.",
                    state="What was mended before it stays mended; nothing was thrown away.",
                    next_step=f"Mend the cause and run `geusemaker doctor {self._engine.deployment} --repair` again.",
                ) from error
        return kept

    def _step(self, file: DamagedFile) -> RepairStep:
        if file.kind != "state":
            return RepairStep(kind=file.kind, file=str(file.path), reason=file.reason, action=_ACTIONS[file.kind])
        assert self._files is not None
        copies = self._files.copies()
        if not copies:
            action = "there is no copy that can be read: bring the file back from a backup of the backend"
            return RepairStep(kind="state", file=str(file.path), reason=file.reason, action=action, possible=False)
        newest = copies[0]
        return RepairStep(
            kind="state",
            file=str(file.path),
            reason=file.reason,
            action=f"the newest good copy, of {newest.written.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC with "
            f"{newest.resources} resources, goes in: {newest.path}; the damaged one is set aside",
        )

    def _mend(self, step: RepairStep, stamp: str) -> Path | None:
        if step.kind == "config":
            file = Path(step.file)
            kept = self._settings.state / "damaged" / stamp / file.name
            if file.exists():
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.replace(kept)
            self._engine.restore_config()
            return kept
        assert self._files is not None
        file = Path(step.file)
        kept_file = self._files.set_aside(file, stamp) if file.exists() else None
        if step.kind == "store":
            self._files.mend_store()
        elif step.kind == "state":
            self._bring_back(kept_file)
        return kept_file

    def _bring_back(self, damaged: Path | None) -> None:
        """Import the newest copy that the engine accepts; where it accepts none, all is as it was."""
        assert self._files is not None
        place = self._files.state_file
        copies = self._files.copies()
        self._files.make_place()
        problem: GeusemakerError | None = None
        for copy in copies:
            try:
                self._engine.import_state(self._read(copy.path))
                return
            except GeusemakerError as error:
                problem = problem or error
        place.unlink(missing_ok=True)
        if damaged is not None:
            place.write_bytes(damaged.read_bytes())
        raise WorkspaceError(
            f"No copy of the state of {self._engine.deployment} could be brought back: {problem}",
            state="The damaged file is where it was.",
            next_step="Bring the file back from a backup of the backend.",
        )

    @staticmethod
    def _read(file: Path) -> dict[str, Any]:
        try:
            return read_state(file)
        except ValueError as error:
            raise WorkspaceError(f"{file} cannot be read any more ({error}).") from error


def config_problem(file: Path) -> str:
    """Why a stack's config file is unusable; empty where it is not, or where there is none: that is restored."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or "it cannot be read"
    except (UnicodeDecodeError, yaml.YAMLError):
        return "it is not YAML"  # their text would show a piece of it
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        return "it holds no config"
    return "" if SECRETS_KEY in document["config"] else "the deployment's secrets are not in it"
