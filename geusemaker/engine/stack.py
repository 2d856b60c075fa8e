"""One deployment's Pulumi stack, driven through the Automation API."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import yaml
from pulumi.automation import LocalWorkspace, Stack, UpdateSummary
from pulumi.automation.errors import CommandError
from pulumi.automation.events import EngineEvent
from pydantic import ValidationError

from geusemaker.engine import adoption, locks, secret_store
from geusemaker.engine.backend_files import BackendFiles, deployments
from geusemaker.engine.command import DeadlineExceededError, EngineCommand
from geusemaker.engine.events import ApplyWatcher, read_operation
from geusemaker.engine.kept import kept_resources
from geusemaker.engine.processes import end_plugins, engines_of, runs_program
from geusemaker.engine.settings import PROJECT, RehearsalSettings, WorkspaceSettings
from geusemaker.engine.updates import read_updates
from geusemaker.engine.waiting import Waiting
from geusemaker.errors import BackendDamagedError, DeploymentBusyError, EngineError, WorkspaceError
from geusemaker.host.redaction import redaction
from geusemaker.models import resource_types
from geusemaker.models.history import (
    HISTORY_PAGE,
    TAG_CHARACTERS,
    ApplyOutcome,
    HistoryEntry,
    Intent,
    LockOwner,
    StackTags,
    Verdicts,
    utc_now,
)
from geusemaker.models.ownership import STACK_TAG, Sought
from geusemaker.models.plan import Event, ResourceOperation
from geusemaker.models.result import EngineInfo
from geusemaker.models.stack import Secrets, StackConfig, Target
from geusemaker.models.version import Provenance

_DEPLOYMENT_KEY: Final = f"{PROJECT}:deployment"
_VERSION_KEY: Final = f"{PROJECT}:version"
_TARGET_KEY: Final = f"{PROJECT}:target"
SECRETS_KEY: Final = f"{PROJECT}:secrets"
"""The key of a stack's config file under which its secrets are, encrypted."""
_ROTATION_KEY: Final = f"{PROJECT}:rotation"
"""The operation that made the secrets, where that was no first deploy. Not a secret: it tells old ones from new."""
_INTENT_TAG: Final = f"{PROJECT}:operation"
_MARKS_TAG: Final = f"{PROJECT}:marks"
_VERDICTS_TAG: Final = f"{PROJECT}:verdicts"
_NOTE_TAG: Final = f"{PROJECT}:note-"
_CANDIDATE_SECONDS: Final = 24 * 3600.0
"""No plan waits longer than this for its yes."""

_BAD_PASSPHRASE = re.compile(
    r"incorrect passphrase|message authentication failed|passphrase must be set", re.IGNORECASE
)

_DAMAGED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"reading history file (?P<file>\S+): (?P<reason>.+)",
        r"(?P<reason>corrupt store: .*)",
        r"failed to load checkpoint: (?P<reason>.*(?:JSON|invalid character|EOF|unmarshal|unsupported).*)",
        r"(?P<reason>place \d+: .*(?:JSON|invalid character|EOF).*)",
        r"(?P<reason>snapshot integrity failure.*)",
        r"(?P<reason>failed to unmarshal stack tags.*)",
        # Of a lock, and of whatever else the backend keeps as JSON.
        r"error: (?:could not create stack: )?(?P<reason>(?:unexpected end of JSON input|invalid character .*))$",
    )
)
"""How the engine says that a file of the backend is there and cannot be read."""

_KILLED = re.compile(r"^\s*code: -(?P<signal>\d+)$", re.MULTILINE)
"""In the Automation API's text of a command that failed: a signal ended the engine."""

# Where the engine was killed its run fails, and says so; the Automation API's warning says it again, on stderr.
warnings.filterwarnings("ignore", message="Error in event stream")

OnEvent = Callable[[Event], None]


class _Stack(Stack):
    """A stack that is known to exist, without the CLI runs that Automation's own class adds to every operation."""

    def __init__(self, name: str, workspace: LocalWorkspace) -> None:
        self.name = name
        self.workspace = workspace

    def outputs(self) -> dict[str, Any]:
        return {}  # a failed update can drop outputs, so nothing here relies on them

    def info(self, show_secrets: bool = False) -> UpdateSummary | None:
        return UpdateSummary(
            kind="update", start_time=utc_now(), message="", environment={}, config={}, result="succeeded"
        )


class StackEngine:
    """The Pulumi stack of one deployment: its history, tags, config file, previews and updates.

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

    # --- what the stack is ---------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the backend has this stack.

        Raises:
            BackendDamagedError: it has the stack's history and not its state.
        """
        try:
            found = self.deployment in list_stacks(self._settings, self._command)
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
            entry if isinstance(entry, HistoryEntry) else _history_entry(entry)
            for entry in read_updates(read_page, limit)
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
            intent=values.get(_INTENT_TAG),
            marks=values.get(_MARKS_TAG),
            verdicts=values.get(_VERDICTS_TAG),
            notes={
                int(key.removeprefix(_NOTE_TAG)): value
                for key, value in values.items()
                if key.startswith(_NOTE_TAG) and key.removeprefix(_NOTE_TAG).isdigit()
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
        self._run("stack", "tag", "set", _INTENT_TAG, intent.to_tag(), "--stack", self.deployment)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Writers of this workspace's tags one after the other; tags are written whole."""
        with (self._settings.state / f"tags-{self.deployment}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def set_marks(self, bad: Iterable[int], pinned: Iterable[int]) -> None:
        """Write which versions are marked bad and which are pinned: all of them, whatever was there before."""
        marks = json.dumps({"bad": sorted(bad), "pinned": sorted(pinned)}, separators=(",", ":"))
        self._run("stack", "tag", "set", _MARKS_TAG, marks, "--stack", self.deployment)

    def set_verdicts(self, verdicts: Verdicts) -> None:
        """Write what became of versions when they were tried: all of it, whatever was there before."""
        self._run("stack", "tag", "set", _VERDICTS_TAG, verdicts.to_tag(), "--stack", self.deployment)

    def set_note(self, number: int, text: str) -> None:
        """Keep why a version was marked or pinned, cut to what a tag holds; an empty text removes it."""
        tag = f"{_NOTE_TAG}{number}"
        if text:
            # Nothing that begins with a hyphen: it would be taken for an option.
            self._run("stack", "tag", "set", "--stack", self.deployment, "--", tag, text[:TAG_CHARACTERS])
        else:
            self._run("stack", "tag", "rm", tag, "--stack", self.deployment)

    # --- config --------------------------------------------------------------------------------------------------

    def write_candidate(
        self, config: StackConfig, provenance: Provenance, target: Target, new_secrets: Secrets | None = None
    ) -> Path:
        """Write the config file of a change that may or may not be applied; secrets are copied, still encrypted.

        ``new_secrets`` are a first deploy's: they are in the candidate alone, so a declined one leaves none behind.

        Raises:
            WorkspaceError: the stack's secrets are not to be had.
        """
        begun = new_secrets is None or self._settings.stack_file(self.deployment).exists()
        if new_secrets is None:
            self.require_current()
        document = self._stack_document() if begun else {"config": {}}
        kept = document["config"].get(SECRETS_KEY)
        if (kept is None) == (new_secrets is None):
            # There are none, or there are some that new ones would take the place of.
            raise self._secrets_missing()
        rotation = document["config"].get(_ROTATION_KEY)
        document["config"] = {
            **({} if kept is None else {SECRETS_KEY: kept}),
            **({} if rotation is None else {_ROTATION_KEY: rotation}),
            "aws:region": target.region,
            # The second wall: geusemaker asks whose the credentials are before the provider does.
            **({"aws:allowedAccountIds": [target.account_id]} if target.account_id else {}),
            _DEPLOYMENT_KEY: json.dumps(config.to_json(), sort_keys=True),
            _TARGET_KEY: json.dumps(target.model_dump(mode="json"), sort_keys=True),
            _VERSION_KEY: provenance.model_dump_json(),
        }
        folder = self._settings.state / "candidates"
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(f"Pulumi.{self.deployment}.*.yaml"):
            if left.stat().st_mtime < time.time() - _CANDIDATE_SECONDS:
                left.unlink(missing_ok=True)  # of an operation that was killed
        path = folder / f"Pulumi.{self.deployment}.{provenance.operation_id}.yaml"
        _write_private(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10**6))
        if new_secrets is not None:
            self._encrypt_into(path, new_secrets)
            self.secrets = new_secrets
        return path

    def _encrypt_into(self, file: Path, secrets: Secrets) -> None:
        """Put secrets into a config file. The value goes through stdin; the engine leaves the file's mode as it is."""
        self._command.run(
            ["config", "set", "--secret", SECRETS_KEY, "--config-file", str(file), "--stack", self.deployment],
            str(self._settings.home),
            self._environment,
            stdin=secrets.model_dump_json(),
        )
        file.chmod(0o600)

    def rotate_secrets(self, secrets: Secrets, rotation: str) -> None:
        """Let other secrets hold: in the config file, and in the history, from which every machine takes them.

        The history's newest entry decides. A machine whose config file is of another rotation takes that one, so one
        that was killed in between leaves the old secrets.

        Args:
            secrets: the new ones.
            rotation: the operation that made them.

        Raises:
            EngineError, WorkspaceError, DeploymentBusyError: it failed; the config file is as it was.
        """
        self.require_current()
        file = self._settings.stack_file(self.deployment)
        before, old, old_rotation = file.read_text(encoding="utf-8"), self.load_secrets(), self._rotation
        document = self._stack_document()
        config = {key: value for key, value in document["config"].items() if key != SECRETS_KEY}
        document["config"] = {**config, _ROTATION_KEY: rotation}
        with tempfile.TemporaryDirectory(dir=self._settings.state) as folder:
            new = Path(folder) / file.name
            _write_private(new, yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10**6))
            try:
                self._encrypt_into(new, secrets)
            except CommandError as error:
                raise self._translate(error, "The config file could not be made.", []) from error
            new.replace(file)
        self.secrets, self._rotation = secrets, rotation
        try:
            self.record_config()
            self.history(1)
            if self._rotation != rotation:
                raise EngineError(
                    "The newest entry of the history is another machine's, whose clock is ahead of this one's."
                )
        except BaseException:
            _write_private(file, before)
            self.secrets, self._rotation = old, old_rotation
            raise

    def accept_candidate(self, candidate: Path) -> None:
        """Make the candidate the stack's config file."""
        candidate.replace(self._settings.stack_file(self.deployment))

    def accepted(self) -> tuple[StackConfig, Target] | None:
        """What was last to be applied, as the stack's config file on this machine tells it; None where it does not.

        Of a first deploy that was killed nothing else does.

        Raises:
            WorkspaceError: the file says so in a way that this geusemaker cannot read.
        """
        target = read_target(self._settings.stack_file(self.deployment))
        stored = self._stack_document()["config"].get(_DEPLOYMENT_KEY) if target is not None else None
        if target is None or stored is None:
            return None
        try:
            return StackConfig.model_validate_json(stored), target
        except ValidationError:
            return None  # of another schema: whoever deploys says what is wanted

    def has_secrets(self) -> bool:
        """Whether the stack's config file on this machine holds secrets, or may: one that is damaged might."""
        file = self._settings.stack_file(self.deployment)
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except (yaml.YAMLError, UnicodeDecodeError):
            return True
        if not isinstance(document, dict):
            return document is not None
        return SECRETS_KEY in (document.get("config") or {})

    def load_secrets(self) -> Secrets:
        """The deployment's secrets, decrypted.

        Raises:
            WorkspaceError: they are missing, or the passphrase is wrong.
        """
        if self.secrets is None:
            if self._is_of_another_rotation(self._stack_document()):
                self._replace_outdated()
            try:
                text = self._run("config", "get", SECRETS_KEY, "--stack", self.deployment)
            except EngineError as error:
                raise self._secrets_missing() from error
            except WorkspaceError as error:
                if self._settings.pending_passphrase.exists():
                    raise self._secrets_missing() from error
                raise
            try:
                self.secrets = Secrets.model_validate_json(text)
            except ValidationError as error:
                raise self._secrets_missing() from error
        return self.secrets

    def _secrets_missing(self) -> WorkspaceError:
        if self._settings.pending_passphrase.exists():
            return WorkspaceError(
                f"The secrets of {self.deployment} cannot be read: a change of the passphrase was killed half-way.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker secrets rotate-passphrase {self.deployment}` again: it goes on from there.",
            )
        return WorkspaceError(
            f"The secrets of {self.deployment} cannot be read from this machine.",
            state="Nothing was changed.",
            next_step=f"Check the passphrase, and that {self._settings.stack_file(self.deployment)} is the stack's own "
            f"config file (`geusemaker doctor {self.deployment} --repair` restores a damaged one from the backend).",
        )

    def replace_secrets(self, secrets: Secrets) -> None:
        """Write other secrets into the stack's config file; while the engine runs, too, which has read it by then.

        Raises:
            EngineError, WorkspaceError, DeploymentBusyError: it failed.
        """
        file = self._settings.stack_file(self.deployment)
        try:
            self._command.run(
                ["config", "set", "--secret", SECRETS_KEY, "--config-file", str(file), "--stack", self.deployment],
                str(self._settings.home),
                self._environment,
                stdin=secrets.model_dump_json(),
            )
        except CommandError as error:
            raise self._translate(error, "The config file could not be written.", []) from error
        file.chmod(0o600)
        self.secrets = secrets

    def restore_config(self) -> None:
        """Bring the config file, which is not there, back from the backend.

        Raises:
            WorkspaceError: no update in the backend has the secrets.
        """
        self._restore_stack_file(self._settings.stack_file(self.deployment))

    def _stack_document(self) -> dict[str, Any]:
        file = self._settings.stack_file(self.deployment)
        if not file.exists():
            self._restore_stack_file(file)
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            document = None  # their text would show a piece of it
        if not isinstance(document, dict) or not isinstance(document.get("config") or {}, dict):
            raise WorkspaceError(
                f"{file}, the stack's config file, is empty or damaged.",
                state="Nothing was changed.",
                next_step=f"Move it away (`mv {shlex.quote(str(file))} {shlex.quote(f'{file}.damaged')}`) and run the "
                "command again: the backend has a copy.",
            )
        document["config"] = document.get("config") or {}
        return document

    def _restore_stack_file(self, file: Path) -> None:
        """Bring the config file back from the last update, as on a machine that has only the backend.

        A refresh goes to a temporary file first: one without secrets would poison every later update. Where what the
        last update had cannot be opened, because the key was changed since, the secrets are taken out of the state.

        Raises:
            WorkspaceError: neither can be opened with what is set here.
        """
        with tempfile.TemporaryDirectory(dir=self._settings.state) as folder:
            restored = Path(folder) / file.name
            self._run("config", "refresh", "--force", "--config-file", str(restored), "--stack", self.deployment)
            document = yaml.safe_load(restored.read_text(encoding="utf-8")) if restored.exists() else None
            if not isinstance(document, dict):
                raise self._secrets_missing()
            if not self._opens(restored):
                self._put_secrets_of_state(restored, document)
            shutil.move(restored, file)

    def _opens(self, file: Path) -> bool:
        """Whether a config file holds the secrets, and what is set here decrypts them."""
        try:
            self._run("config", "get", SECRETS_KEY, "--config-file", str(file), "--stack", self.deployment)
        except (EngineError, WorkspaceError):
            return False
        return True

    def _put_secrets_of_state(self, file: Path, document: dict[str, Any]) -> None:
        try:
            state = json.loads(self._run("stack", "export", "--show-secrets", "--stack", self.deployment))
        except (EngineError, WorkspaceError) as error:
            raise WorkspaceError(
                f"The passphrase that is set here opens neither the newest config nor the state of {self.deployment}.",
                state="Nothing was changed.",
                next_step="It may have been changed on another machine: set PULUMI_CONFIG_PASSPHRASE or "
                "PULUMI_CONFIG_PASSPHRASE_FILE to the one that holds now.",
            ) from error
        secrets = secret_store.secrets_in(state)
        if secrets is None or secret_store.rotation_in(state) != document["config"].get(_ROTATION_KEY, ""):
            raise self._secrets_missing()
        document["config"] = {key: value for key, value in document["config"].items() if key != SECRETS_KEY}
        if "encryptedkey" not in document:
            document["encryptionsalt"] = secret_store.state_key(state)
        _write_private(file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10**6))
        try:
            self._encrypt_into(file, secrets)
        except CommandError as error:
            raise self._translate(error, "The config file could not be made.", []) from error

    def require_current(self) -> None:
        """Have the config file of the key that the state is encrypted with, before anything is run with it.

        The key may have been changed on another machine. A run with the old one would write secrets into the shared
        history that nobody can decrypt any more.

        Raises:
            WorkspaceError: what is set here does not open the secrets as they are now.
        """
        document = self._stack_document()
        if SECRETS_KEY not in document["config"]:
            raise self._secrets_missing()
        if self._is_of_another_rotation(document) or not (
            self._is_current or not secret_store.is_outdated(document, self._export())
        ):
            self._replace_outdated()
        self._is_current = True

    def _is_of_another_rotation(self, document: dict[str, Any]) -> bool:
        """Whether a config file has other secrets than those that hold, as far as the history was read."""
        return self._rotation is not None and document["config"].get(_ROTATION_KEY, "") != self._rotation

    def _replace_outdated(self) -> None:
        """Take the config file from the backend in the place of the one here."""
        file = self._settings.stack_file(self.deployment)
        outdated = self._settings.state / f"{file.name}.outdated"
        file.replace(outdated)
        try:
            self._restore_stack_file(file)
        except BaseException:
            outdated.replace(file)
            raise
        self.secrets = None

    def change_key(self, provider: str, passphrase: str) -> None:
        """Encrypt config and state anew. The passphrase goes through stdin; config and state are as before if it fails.

        Args:
            provider: ``passphrase``, or the URL of a key as Pulumi writes it (``awskms://…``).
            passphrase: the new one; empty for a key.

        Raises:
            EngineError, WorkspaceError, DeploymentBusyError: it failed.
        """
        file = self._settings.stack_file(self.deployment)
        before = file.read_text(encoding="utf-8")
        try:
            self._command.run(
                ["stack", "change-secrets-provider", provider, "--stack", self.deployment],
                str(self._settings.home),
                self._environment,
                stdin=f"{passphrase}\n",
            )
        except BaseException as error:
            if secret_store.is_outdated(yaml.safe_load(file.read_text(encoding="utf-8")) or {}, self._export()):
                _write_private(file, before)  # the config's key was changed, the state's not yet
            if isinstance(error, CommandError):
                raise self._translate(error, "Changing the key failed.", []) from error
            raise
        file.chmod(0o600)

    def record_config(self) -> None:
        """Let the history have the config file as it is now, by a refresh of nothing but the stack itself.

        Fresh machines restore their config file from the newest entry. One of a refresh makes no version.

        Raises:
            EngineError, DeploymentBusyError: it failed.
        """
        root = f"urn:pulumi:{self.deployment}::{PROJECT}::pulumi:pulumi:Stack::{PROJECT}-{self.deployment}"
        try:
            self._stack().refresh(target=[root], color="never", show_secrets=False)
        except CommandError as error:
            raise self._translate(error, "Writing the config into the history failed.", []) from error

    def any_other(self) -> bool:
        """Whether the backend has any other deployment."""
        return bool(stack_times(self._settings, self._command).keys() - {self.deployment})

    def opens(self) -> bool:
        """Whether what is set here decrypts the deployment's secrets."""
        try:
            self.secrets = None
            self.load_secrets()
        except (EngineError, WorkspaceError):
            return False
        return True

    def with_passphrase(self, passphrase: str) -> StackEngine:
        """The same stack, opened with another passphrase than the one that is set here."""
        settings = replace(
            self._settings,
            target_environment={**self._settings.target_environment, "PULUMI_CONFIG_PASSPHRASE": passphrase},
        )
        info = EngineInfo(path=self._command.command, version=str(self._command.version), source="environment")
        return StackEngine(settings, info, self.deployment)

    # --- runs of the program -------------------------------------------------------------------------------------

    def preview(self, candidate: Path, on_secrets: Callable[[], None] | None = None) -> list[ResourceOperation]:
        """What an update with this config would do, one entry a resource, in the engine's order.

        Args:
            candidate: the config file.
            on_secrets: called when ``load_secrets`` costs nothing any more, from another thread, while the preview goes
                on.

        Raises:
            EngineError: the preview failed; ``diagnostics`` say why, ``operations`` what was planned.
        """
        operations: list[ResourceOperation] = []
        watcher = ApplyWatcher(lambda event: None)

        def on_event(event: EngineEvent) -> None:
            watcher.watch(event)
            if event.resource_pre_event is not None:
                operations.append(read_operation(event.resource_pre_event.metadata))

        try:
            self._stack(on_secrets=on_secrets).preview(
                on_event=on_event, color="never", config_file=str(candidate), suppress_progress=True
            )
        except CommandError as error:
            translated = self._translate(error, "The preview failed.", watcher.diagnostics)
            if isinstance(translated, EngineError):
                translated.operations = tuple(operations)
            raise translated from error
        if not watcher.heard_all:
            raise EngineError(
                "The preview's steps could not be read to the last one, so nobody knows what it would do."
            )
        return [operation for operation in operations if not operation.type.startswith("pulumi:")]

    def up(
        self,
        candidate: Path,
        message: str,
        on_event: OnEvent,
        deadline_seconds: float,
        on_stop: Callable[[], None] | None = None,
        before_instance: Callable[[], None] | None = None,
        only: list[str] | None = None,
        after_mount: Callable[[Secrets], Secrets] | None = None,
    ) -> ApplyOutcome:
        """Apply a config. A failed update is an outcome, not an exception.

        Args:
            candidate: the config file; it becomes the stack's own.
            message: what Pulumi's history shows.
            on_event: called with each step, from another thread.
            deadline_seconds: after that long the run is stopped.
            on_stop: called when the run is being stopped, to end what runs on the instance.
            before_instance: done before the engine touches the instance, from another thread; if it raises, the update
                fails there.
            only: URNs of the resources to update; None means all.
            after_mount: is given the secrets when the data is mounted, from another thread, before any service starts;
                what it returns is what they start with. If it raises, the update fails there.

        Raises:
            DeploymentBusyError: another run of the engine holds the stack; nothing was changed.
            KeyboardInterrupt: Ctrl-C; the engine was stopped in order first.
        """
        try:
            self.accept_candidate(candidate)
        except OSError as error:
            raise EngineError(
                f"The config file of {self.deployment} cannot be written: {error.strerror} ({error.filename})."
            ) from error
        started = time.monotonic()
        watcher = ApplyWatcher(on_event)
        self._command.began = False
        self._command.deadline = started + deadline_seconds
        self._command.on_stop = on_stop
        timed_out = False
        failure = ""
        try:
            self._stack(before_instance, after_mount=after_mount).up(
                on_event=watcher.watch,
                message=message,
                target=only,
                color="never",
                suppress_progress=True,
                suppress_outputs=True,
                show_secrets=False,
            )
        except DeadlineExceededError:
            timed_out = True
        except CommandError as error:
            translated = self._translate(error, "The update failed.", watcher.diagnostics)
            if isinstance(translated, DeploymentBusyError):
                raise translated from error
            failure = translated.message
        except OSError as error:
            failure = self._lacking(error)
        finally:
            self._command.deadline = None
            self._command.on_stop = None
        return self._redacted(
            watcher.outcome(
                succeeded=not failure and not timed_out,
                timed_out=timed_out,
                failure=failure,
                duration_seconds=time.monotonic() - started,
            )
        )

    def destroy(
        self, on_event: OnEvent, before: Callable[[], None] | None = None, deadline_seconds: float = 900.0
    ) -> ApplyOutcome:
        """Delete everything that is not protected; history, secrets and data stay.

        ``before`` is done first, from another thread, when the engine holds the stack; if it raises, nothing goes.
        After ``deadline_seconds`` the run is stopped; what it waits for is told before.

        Raises:
            DeploymentBusyError: another run of the engine holds the stack; nothing was done.
        """
        self.require_current()
        self.load_secrets()
        started = time.monotonic()
        watcher = ApplyWatcher(on_event)
        self._command.began = False
        self._command.deadline = started + deadline_seconds
        waiting = Waiting(on_event)
        failure = ""
        timed_out = False

        def watch(event: EngineEvent) -> None:
            watcher.watch(event)
            waiting.watch(event)

        try:
            # A program that declares nothing: what it does is done under the engine's lock, and then all is deleted.
            with waiting.telling():
                self._stack().destroy(
                    on_event=watch,
                    color="never",
                    suppress_progress=True,
                    exclude_protected=True,
                    show_secrets=False,
                    run_program=before is not None,
                    program=before,
                )
        except DeadlineExceededError:
            timed_out = True
            failure = (
                f"after {deadline_seconds / 60:.0f} minutes it was still {', '.join(waiting.under_way) or 'at work'}"
            )
        except CommandError as error:
            translated = self._translate(error, "Destroying failed.", watcher.diagnostics)
            if isinstance(translated, DeploymentBusyError):
                raise translated from error
            failure = translated.message
        except OSError as error:
            failure = self._lacking(error)
        finally:
            self._command.deadline = None
        return self._redacted(
            watcher.outcome(
                succeeded=not failure, timed_out=timed_out, failure=failure, duration_seconds=time.monotonic() - started
            )
        )

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

    # --- repair --------------------------------------------------------------------------------------------------

    def lock_owner(self) -> LockOwner | None:
        """Who holds Pulumi's lock on the stack; None when nobody does. Of several, the one that may not be removed.

        A folder is looked at. Of other stores the engine is asked, by an attempt to make the stack once more: it takes
        the lock first, and refuses then, because the stack is there. Pulumi Cloud tells that an update runs, not whose.

        Raises:
            BackendDamagedError: a lock cannot be read.
            EngineError: the backend cannot be asked.
        """
        backend = self._settings.backend_folder
        if backend is not None:
            return locks.foremost(locks.read_folder(backend, self.deployment, self._runs_engine))
        if not self._settings.uses_passphrase:
            stack = list_stacks(self._settings, self._command).get(self.deployment, {})
            return locks.unnamed(self._lives_here()) if stack.get("updateInProgress") else None
        try:
            self._run("stack", "init", "--no-select", "--stack", self.deployment)
        except DeploymentBusyError as error:
            owner: LockOwner | None = error.lock
            return owner
        except EngineError as error:
            if "already exists" in str(error):
                return None
            raise
        self._run("stack", "rm", "--yes", "--stack", self.deployment)  # it was not there, and is not now
        return None

    def _runs_engine(self, pid: int) -> bool:
        return runs_program(pid, "pulumi", Path(self._command.command).name)

    def _lives_here(self) -> bool:
        return bool(engines_of(self.deployment, "pulumi", Path(self._command.command).name))

    def remove_lock(self, owner: LockOwner) -> None:
        """Delete Pulumi's locks. Only for owners that are proven dead: the engine does not look."""
        if owner.host == this_host() and owner.pid:
            end_plugins(owner.pid)
        self._run("cancel", "--yes", "--stack", self.deployment)

    def stored_target(self) -> Target | None:
        """Where the deployment is, as the config file on this machine says: a killed first deploy left no history.

        Raises:
            WorkspaceError: it says so in a way that this geusemaker cannot read.
        """
        return read_target(self._settings.stack_file(self.deployment))

    def stack_id(self) -> str:
        """The id that what is in the state, or was about to be made, carries; empty where there is none."""
        deployment = self._export().get("deployment") or {}
        pending = [operation["resource"] for operation in deployment.get("pending_operations") or []]
        for resource in [*(deployment.get("resources") or []), *pending]:
            tags = (resource.get("inputs") or {}).get("tags")
            if isinstance(tags, dict) and tags.get(STACK_TAG):
                return str(tags[STACK_TAG])
        return ""

    def pending_creates(self) -> dict[str, Sought]:
        """What a killed engine was about to create, by URN."""
        operations = (self._export().get("deployment") or {}).get("pending_operations") or []
        return {
            operation["resource"]["urn"]: Sought.of_pending(operation["resource"], self.deployment)
            for operation in operations
            if operation["type"] == "creating"
        }

    def missing_data(self, *, has_volume: bool) -> dict[str, str]:
        """What holds the data and is not in the state, for example after a `pulumi state delete`: URN → type.

        ``has_volume``: whether the deployment has a data volume beside its file system.
        """
        known = {resource["type"] for resource in self.resources().values()}
        prefix = f"urn:pulumi:{self.deployment}::{PROJECT}"
        wanted = [*adoption.DATA_TYPES, *([resource_types.DATA_VOLUME] if has_volume else [])]
        return {f"{prefix}::{type}::data": type for type in wanted if type not in known}

    def clear_pending(self, adopt: dict[str, str], candidate: Path | None = None) -> None:
        """Settle what a killed engine left half-done: read every resource again.

        Args:
            adopt: URN → id of resources that turned out to exist, pending creations or missing from the state; other
                pending creations are dropped.
            candidate: the config file of a first deploy, which becomes the stack's own where that has no secrets yet.

        Raises:
            DeploymentBusyError: another run of the engine holds the stack; ``lock`` says whose.
            EngineError: the refresh failed.
        """
        if candidate is not None and not self.has_secrets():
            _write_private(self._settings.stack_file(self.deployment), candidate.read_text(encoding="utf-8"))
        self.require_current()
        self.load_secrets()  # a run that cannot decrypt them fails, and stands in the history that all restore from
        if adopt:
            # `refresh --import-pending-creates` would be the engine's own way: it was seen to drop them (3.259).
            state = self._export()
            adoption.adopt(state["deployment"], adopt, self._aws_provider() if candidate is not None else None)
            self._import(state)
        watcher = ApplyWatcher(lambda event: None)
        try:
            self._stack().refresh(on_event=watcher.watch, color="never", clear_pending_creates=True, show_secrets=False)
        except CommandError as error:
            raise self._translate(error, "Reading the resources again failed.", watcher.diagnostics) from error
        if adopt:
            state = self._export()
            if adoption.keep_generated(state["deployment"], adopt):
                self._import(state)

    def _aws_provider(self) -> dict[str, str]:
        """What the engine's own AWS provider is made of, as the config file and the SDK tell it."""
        config = self._stack_document()["config"]
        allowed = config.get("aws:allowedAccountIds")
        return {
            "region": str(config.get("aws:region", "")),
            "version": metadata.version("pulumi_aws"),
            **({"allowedAccountIds": json.dumps(allowed)} if allowed else {}),
        }

    @contextmanager
    def rehearse(self, adopt: dict[str, str], candidate: Path | None = None) -> Iterator[StackEngine]:
        """This stack as ``clear_pending(adopt, candidate)`` would leave it, for a preview: in a backend for that alone.

        Nothing is written where the stack is: neither its state, nor its history, nor its config file.

        Raises:
            EngineError, WorkspaceError: as ``clear_pending``.
        """
        with tempfile.TemporaryDirectory(dir=self._settings.state, prefix="rehearsal-") as folder:
            settings = RehearsalSettings(Path(folder), self._settings.target_environment, self._settings)
            settings.make()
            twin = StackEngine(settings, self._command.info, self.deployment)
            twin.create()
            # The copy of the config file comes after that: making a stack may write a salt of its own.
            own = settings.stack_file(self.deployment)
            if candidate is not None and not self.has_secrets():
                _write_private(own, candidate.read_text(encoding="utf-8"))
            else:
                _write_private(own, yaml.safe_dump(self._stack_document(), width=10**6))
            twin._import(self._export())
            twin.clear_pending(adopt, candidate)
            yield twin

    def _export(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._run("stack", "export", "--stack", self.deployment))
        return state

    def import_state(self, state: dict[str, Any]) -> None:
        """Put a state, as ``stack export`` prints one, in the place of the stack's.

        Raises:
            DeploymentBusyError: a run of the engine holds the stack.
            EngineError, WorkspaceError: the engine does not accept it.
        """
        self._import(state, "Bringing the state back failed.")

    def _import(self, state: dict[str, Any], what: str = "Adopting what there is failed.") -> None:
        try:
            self._command.run(
                ["stack", "import", "--stack", self.deployment],
                str(self._settings.home),
                self._environment,
                stdin=json.dumps(state),
            )
        except CommandError as error:
            raise self._translate(error, what, []) from error

    # --- plumbing ------------------------------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        return self._settings.environment()

    def _stack(
        self,
        before_instance: Callable[[], None] | None = None,
        on_secrets: Callable[[], None] | None = None,
        after_mount: Callable[[Secrets], Secrets] | None = None,
    ) -> _Stack:
        """The stack, for a run of the engine. Its config file comes first.

        Without one the engine would make another, with a new salt and no secrets, and put that into the history, from
        which every machine restores its own.

        Raises:
            WorkspaceError: the stack's secrets are not to be had.
        """
        if self.secrets is None and SECRETS_KEY not in self._stack_document()["config"]:
            raise self._secrets_missing()

        def program() -> None:
            # Imported when the program runs: pulumi_aws alone takes a second.
            from geusemaker.program.stack import define_stack

            define_stack(keep_secrets, before_instance, after_mount)

        def keep_secrets(secrets: Secrets) -> None:
            self.secrets = secrets
            if on_secrets is not None:
                on_secrets()

        return _Stack(self.deployment, workspace(self._settings, self._command, program))

    def _run(self, *args: str) -> str:
        return run_cli(self._settings, self._command, *args)

    def _translate(
        self, error: CommandError, what: str, diagnostics: list[str]
    ) -> EngineError | DeploymentBusyError | WorkspaceError:
        hide = redaction(self.secrets)
        translated = translate(error, what, self.deployment, tuple(diagnostics))
        translated.message = hide(translated.message)
        if isinstance(translated, EngineError):
            translated.diagnostics = tuple(hide(translated.diagnostics))
        return translated

    def _lacking(self, error: OSError) -> str:
        """Why a run of the engine came to nothing on a machine that is full, say.

        Raises:
            EngineError: it did not even begin.
        """
        text = f"The engine lacks what it needs on this machine: {error.strerror} ({error.filename})."
        if not self._command.began:
            raise EngineError(text) from error
        return text

    def _redacted(self, outcome: ApplyOutcome) -> ApplyOutcome:
        """What a run came to is shown, recorded and kept as evidence."""
        return ApplyOutcome.model_validate(redaction(self.secrets)(outcome.model_dump()))


def workspace(
    settings: WorkspaceSettings, command: EngineCommand, program: Callable[[], None] | None = None
) -> LocalWorkspace:
    """The Automation API's workspace on ours."""
    return LocalWorkspace(
        work_dir=str(settings.home), program=program, env_vars=settings.environment(), pulumi_command=command
    )


def run_cli(settings: WorkspaceSettings, command: EngineCommand, *args: str) -> str:
    """Run one CLI command in the workspace and return what it printed.

    Raises:
        EngineError: it failed.
    """
    deployment = args[args.index("--stack") + 1] if "--stack" in args else ""
    try:
        return command.run(list(args), str(settings.home), settings.environment()).stdout
    except CommandError as error:
        raise translate(error, f"`pulumi {' '.join(args[:2])}` failed.", deployment, ()) from error


def list_stacks(settings: WorkspaceSettings, command: EngineCommand) -> dict[str, dict[str, Any]]:
    """The workspace's stacks: name → what Pulumi says of it (lastUpdate, resourceCount)."""
    stacks = json.loads(run_cli(settings, command, "stack", "ls", "--json", "--project", PROJECT))
    return {stack["name"].rsplit("/", 1)[-1]: stack for stack in stacks}


def stack_times(settings: WorkspaceSettings, command: EngineCommand) -> dict[str, str | None]:
    """The workspace's stacks: name → when it was updated last, as Pulumi says it.

    The engine reads every state for its list: where one cannot be read, a folder backend still tells the names.

    Raises:
        EngineError, WorkspaceError: the backend cannot be read.
    """
    folder = settings.backend_folder
    known: dict[str, str | None] = dict.fromkeys(deployments(folder)) if folder is not None else {}
    try:
        listed = list_stacks(settings, command)
    except BackendDamagedError:
        if folder is None:
            raise
        return known
    return known | {name: stack.get("lastUpdate") for name, stack in listed.items()}


def translate(
    error: CommandError, what: str, deployment: str, diagnostics: tuple[str, ...]
) -> EngineError | DeploymentBusyError | WorkspaceError:
    """The engine's failure in an operator's words."""
    text = str(error)
    if held := locks.read_refusal(text, lambda pid: runs_program(pid, "pulumi")):
        whose = (
            f"Another run of the engine holds {deployment}: {held.user} on {held.host} (process {held.pid}) since "
            f"{held.since}."
            if held.host
            else f"Another run of the engine holds {deployment}: the backend says that an update is in progress."
        )
        return DeploymentBusyError(
            whose,
            state="Nothing was changed by this one.",
            next_step=f"Wait for it; if that process is dead, run `geusemaker recover {deployment}`.",
            lock=held,
        )
    if _BAD_PASSPHRASE.search(text):
        return WorkspaceError(
            "The passphrase does not open the secrets of this backend.",
            state="Nothing was changed.",
            next_step="Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the one it was made with.",
        )
    if not diagnostics and (damaged := _damage(text, deployment)):
        return damaged
    if (killed := _KILLED.search(text)) and not diagnostics:
        return EngineError(f"{what} The engine was killed (signal {killed['signal']}).")
    lines = diagnostics or tuple(
        line.strip().removeprefix("error: ")
        for line in text.splitlines()
        if line.strip().startswith(("error:", "* ", "stderr: error:"))
    )
    # An SDK that the engine uses may have warned before; without any error, what was said is all there is.
    lines = lines or tuple(line.strip() for line in text.splitlines() if "stderr:" in line)
    detail = lines[0].splitlines()[0].removeprefix("stderr: ").removeprefix("error: ") if lines else ""
    if detail.endswith("errors occurred:"):  # and each on a line of its own
        detail = " ".join([detail, "; ".join(line.removeprefix("* ") for line in lines if line.startswith("* "))])
    return EngineError(f"{what} {detail}".strip(), diagnostics=lines)


def _damage(text: str, deployment: str) -> BackendDamagedError | None:
    """What the engine said of a file of the backend that it cannot read; None where it said nothing of the kind."""
    lines = [line.strip() for line in text.splitlines()]
    found = next((match for pattern in _DAMAGED for line in lines if (match := pattern.search(line))), None)
    if found is None:
        return None
    parts = found.groupdict()
    file, reason = parts.get("file") or "", str(parts["reason"]).strip()
    return BackendDamagedError(
        f"{f'{file} in' if file else 'A file of'} the Pulumi backend cannot be read ({reason}).",
        file=file,
        reason=reason,
        state="Nothing was changed.",
        next_step=f"`{' '.join(['geusemaker doctor', deployment]).strip()}` tells which file it is, and the command "
        "that brings the newest good copy back.",
    )


def read_target(file: Path) -> Target | None:
    """Where a deployment is, from its stack's config file; None where the file does not say: the history does as well.

    Raises:
        WorkspaceError: it says so in a way that this geusemaker cannot read. Anything taken instead might be
            another world.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        stored = document["config"][_TARGET_KEY]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    try:
        return Target.model_validate_json(stored)
    except ValidationError as error:
        raise unreadable_target(file.name.removeprefix("Pulumi.").removesuffix(".yaml"), str(file)) from error


def unreadable_target(name: str, place: str) -> WorkspaceError:
    """Where a deployment is, is written down in a way that this geusemaker cannot read."""
    return WorkspaceError(
        f"Where {name} is (local cloud or AWS, region, account) cannot be read from {place}.",
        state="Nothing was looked at, and nothing was changed.",
        next_step="It was written by another version of geusemaker, or by hand: use that version, or upgrade this one.",
    )


def this_host() -> str:
    """The name under which an operation's owner is remembered."""
    return socket.gethostname()


def _history_entry(entry: dict[str, Any]) -> HistoryEntry:
    config = {key: value.get("value") for key, value in (entry.get("config") or {}).items()}
    return HistoryEntry.read(
        kind=entry["kind"],
        result=entry["result"],
        started_at=entry["startTime"],
        ended_at=entry.get("endTime"),
        deployment=config.get(_DEPLOYMENT_KEY),
        provenance=config.get(_VERSION_KEY),
        target=config.get(_TARGET_KEY),
        rotation=config.get(_ROTATION_KEY),
    )


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
