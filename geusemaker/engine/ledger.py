"""What the backend remembers of a stack: that it is there, its history, and the tags beside it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pulumi.automation.errors import CommandError

from geusemaker.engine import cli
from geusemaker.engine.backend_files import BackendFiles
from geusemaker.engine.cli import run_cli, stack_times, translate
from geusemaker.engine.command import EngineCommand
from geusemaker.engine.kept import kept_resources
from geusemaker.engine.keys import INTENT_TAG, LABEL_TAG, MARKS_TAG, NOTE_TAG, STOPPED_TAG, VERDICTS_TAG, read_entry
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.updates import read_updates
from geusemaker.errors import BackendDamagedError, DeploymentBusyError, EngineError, WorkspaceError
from geusemaker.host.redaction import redaction
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.history import (
    HISTORY_PAGE,
    TAG_CHARACTERS,
    HistoryEntry,
    Intent,
    StackTags,
    StoppedInstance,
    Verdicts,
)
from geusemaker.models.stack import Secrets


class Ledger:
    """A stack's history, tags and resources.

    Args:
        settings: the workspace.
        engine: the Pulumi CLI to run.
        deployment: the deployment's name, which is the stack's name.
    """

    def __init__(self, settings: WorkspaceSettings, engine: EngineInfo, deployment: str) -> None:
        self._settings = settings
        self._command = EngineCommand(engine)
        self.deployment = deployment
        self._is_current = False
        self._rotation: str | None = None
        """Which secrets hold, as the newest entry of the history says; None: it was not read, or says nothing."""
        self.secrets: Secrets | None = None
        """Read by the program's last run: the engine hands them to it decrypted, which saves a CLI run."""

    def exists(self) -> bool:
        """Whether the backend has this stack.

        Raises:
            BackendDamagedError: it has the stack's history and not its state.
        """
        try:
            found = self.deployment in cli.list_stacks(self._settings, self._command)
        except BackendDamagedError:  # all states are read for the list, and it may be another's that cannot be
            return self._answers()
        folder = self._settings.backend_folder
        if not found and folder is not None and (files := BackendFiles(folder, self.deployment)).has_history:
            raise BackendDamagedError(
                f"The state of {self.deployment} is missing in the Pulumi backend, and its history is there.",
                file=str(files.state_file),
                reason="it is missing",
                state="Nothing was changed.",
                next_step=f"`geusemaker doctor {self.deployment} --repair` brings the newest good copy back.",
            )
        return found

    def _answers(self) -> bool:
        """Whether the backend knows the stack, without its state being read."""
        try:
            self._run("stack", "tag", "ls", "--json", "--stack", self.deployment)
        except EngineError as error:
            if "no stack named" in str(error):
                return False
            raise
        return True

    def any_stack(self) -> bool:
        """Whether the backend has any deployment."""
        return bool(stack_times(self._settings, self._command))

    def create(self) -> None:
        """Make the stack, empty."""
        self._run("stack", "init", "--no-select", "--stack", self.deployment)

    def remove(self) -> None:
        """Remove the stack with its history and its config file. It must have no resources."""
        self._run("stack", "rm", "--yes", "--stack", self.deployment)
        self._settings.stack_file(self.deployment).unlink(missing_ok=True)

    def history(self, limit: int | None = HISTORY_PAGE) -> list[HistoryEntry]:
        """The stack's updates, newest first; all of them when ``limit`` is None. Secrets stay encrypted.

        One that cannot be read is there as an entry of kind ``damaged``.

        Raises:
            EngineError: the backend cannot be read.
        """

        def read_page(size: int, page: int) -> list[dict[str, Any]]:
            paging = ["--page-size", str(size), *(["--page", str(page)] if size else [])]
            output = self._run("stack", "history", "--output", "json", *paging, "--stack", self.deployment)
            entries: list[dict[str, Any]] = json.loads(output or "[]")
            return entries

        entries = [
            entry if isinstance(entry, HistoryEntry) else read_entry(entry) for entry in read_updates(read_page, limit)
        ]
        self._rotation = next((entry.rotation for entry in entries if entry.says_target), None)
        return entries

    def tags(self) -> StackTags:
        """The mutable facts about the deployment and its versions.

        Raises:
            BackendDamagedError: they are there and cannot be read. Taken for none, bad versions would be good again.
        """
        values = json.loads(self._run("stack", "tag", "ls", "--json", "--stack", self.deployment))
        if values is None and self._settings.uses_passphrase:
            # To the engine a stack without tags has `{}`, and a file of tags that it cannot read is `null`.
            raise self._tags_damaged()
        values = values or {}
        return StackTags.read(
            intent=values.get(INTENT_TAG),
            marks=values.get(MARKS_TAG),
            verdicts=values.get(VERDICTS_TAG),
            notes={
                int(key.removeprefix(NOTE_TAG)): value
                for key, value in values.items()
                if key.startswith(NOTE_TAG) and key.removeprefix(NOTE_TAG).isdigit()
            },
            stopped=values.get(STOPPED_TAG),
            labels={
                key.removeprefix(LABEL_TAG): value for key, value in sorted(values.items()) if key.startswith(LABEL_TAG)
            },
        )

    def _tags_damaged(self) -> BackendDamagedError:
        folder, name = self._settings.backend_folder, self.deployment
        files = BackendFiles(folder, name).damage() if folder is not None else []
        found = next((damaged for damaged in files if damaged.kind == "tags"), None)
        file, reason = (str(found.path), found.reason) if found is not None else (f"{name}.pulumi-tags", "not told")
        return BackendDamagedError(
            f"What was noted of {name}, which versions are bad and whether an operation is under way, cannot be read: "
            f"{file} in the Pulumi backend is damaged ({reason}).",
            file=file,
            reason=reason,
            state="Nothing was changed.",
            next_step=f"`geusemaker doctor {name} --repair` sets it aside, if no backup of it can be had."
            if found is not None
            else "Bring it back from a backup of the backend, or remove it; what it held is lost then.",
        )

    def set_intent(self, intent: Intent) -> None:
        """Record what is about to be done or, with an outcome, that it is done."""
        self._run("stack", "tag", "set", INTENT_TAG, intent.to_tag(), "--stack", self.deployment)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Writers of this workspace's tags one after the other; tags are written whole."""
        with (self._settings.state / f"tags-{self.deployment}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def set_marks(self, bad: Iterable[int], pinned: Iterable[int]) -> None:
        """Write which versions are marked bad and which are pinned: all of them, whatever was there before."""
        marks = json.dumps({"bad": sorted(bad), "pinned": sorted(pinned)}, separators=(",", ":"))
        self._run("stack", "tag", "set", MARKS_TAG, marks, "--stack", self.deployment)

    def set_verdicts(self, verdicts: Verdicts) -> None:
        """Write what became of versions when they were tried: all of it, whatever was there before."""
        self._run("stack", "tag", "set", VERDICTS_TAG, verdicts.to_tag(), "--stack", self.deployment)

    def set_note(self, number: int, text: str) -> None:
        """Keep why a version was marked or pinned, cut to what a tag holds; an empty text removes it."""
        tag = f"{NOTE_TAG}{number}"
        if text:
            # Nothing that begins with a hyphen: it would be taken for an option.
            self._run("stack", "tag", "set", "--stack", self.deployment, "--", tag, text[:TAG_CHARACTERS])
        else:
            self._run("stack", "tag", "rm", tag, "--stack", self.deployment)

    def set_stopped(self, note: StoppedInstance | None) -> None:
        """Keep that an instance was stopped on purpose, or forget it."""
        if note is None:
            self._run("stack", "tag", "rm", STOPPED_TAG, "--stack", self.deployment)
        else:
            self._run("stack", "tag", "set", STOPPED_TAG, note.to_tag(), "--stack", self.deployment)

    def set_labels(self, changes: Mapping[str, str]) -> None:
        """Write these labels of the deployment, one after the other; one with an empty value is removed."""
        for key, value in changes.items():
            if value:
                self._run("stack", "tag", "set", "--stack", self.deployment, "--", f"{LABEL_TAG}{key}", value)
            else:
                self._run("stack", "tag", "rm", f"{LABEL_TAG}{key}", "--stack", self.deployment)

    def any_other(self) -> bool:
        """Whether the backend has any other deployment."""
        return bool(stack_times(self._settings, self._command).keys() - {self.deployment})

    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources in the stack's state: URN → {type, id, protect, kept}; no secret is decrypted.

        ``kept`` is what a destroy of all that is not protected leaves.
        """
        resources = (self._export().get("deployment") or {}).get("resources") or []
        kept = kept_resources(resources)
        return {
            resource["urn"]: {
                "type": resource["type"],
                "id": resource.get("id", ""),
                "protect": resource.get("protect", False),
                "kept": resource["urn"] in kept,
            }
            for resource in resources
            if resource.get("custom") and not resource["type"].startswith("pulumi:")
        }

    # --- plumbing ------------------------------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        return self._settings.environment()

    def _export(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._run("stack", "export", "--stack", self.deployment))
        return state

    def _run(self, *args: str) -> str:
        return run_cli(self._settings, self._command, *args)

    def _translate(
        self, error: CommandError, what: str, diagnostics: list[str]
    ) -> EngineError | DeploymentBusyError | WorkspaceError:
        hide = redaction(self.secrets)
        translated = translate(error, what, self.deployment, tuple(diagnostics))
        told = {"diagnostics": tuple(hide(translated.diagnostics))} if isinstance(translated, EngineError) else {}
        return translated.but(message=hide(translated.message), **told)
