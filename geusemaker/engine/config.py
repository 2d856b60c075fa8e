"""A stack's config file: candidates for it, where it comes from, and that it is the one that holds."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import yaml
from pulumi.automation.errors import CommandError
from pydantic import ValidationError

from geusemaker.engine import provider_settings, secret_store
from geusemaker.engine.keys import (
    DEPLOYMENT_KEY,
    RETRIES_KEY,
    ROTATION_KEY,
    SECRETS_KEY,
    TARGET_KEY,
    VERSION_KEY,
    attempts,
    document_text,
    read_target,
    write_private,
)
from geusemaker.engine.ledger import Ledger
from geusemaker.errors import EngineError, WorkspaceError
from geusemaker.models.stack import Secrets, StackConfig, Target
from geusemaker.models.version import Provenance

_CANDIDATE_SECONDS: Final = 24 * 3600.0
"""No plan waits longer than this for its yes."""


class ConfigFile(Ledger):
    """The file of this machine with a stack's config, and what is written beside it for a plan."""

    def write_candidate(
        self,
        config: StackConfig,
        provenance: Provenance,
        target: Target,
        new_secrets: Secrets | None = None,
        other_secrets: Secrets | None = None,
    ) -> Path:
        """Write the config file of a change that may or may not be applied; secrets are copied, still encrypted.

        Args:
            config: what is to run.
            provenance: the version's.
            target: where.
            new_secrets: a first deploy's: they are in the candidate alone, so a declined one leaves none behind.
            other_secrets: those that hold from this change on, where it changes one of them; as a rotation of this
                operation, so that of two machines' config files the one that the history has holds.

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
        if other_secrets is not None:
            kept = None
        rotation = document["config"].get(ROTATION_KEY) if other_secrets is None else provenance.operation_id
        document["config"] = {
            **({} if kept is None else {SECRETS_KEY: kept}),
            **({} if rotation is None else {ROTATION_KEY: rotation}),
            **provider_settings.for_target(document["config"], self.deployment, target),
            RETRIES_KEY: attempts(document["config"].get(RETRIES_KEY)),
            DEPLOYMENT_KEY: json.dumps(config.to_json(), sort_keys=True),
            TARGET_KEY: json.dumps(target.model_dump(mode="json"), sort_keys=True),
            VERSION_KEY: provenance.model_dump_json(),
        }
        folder = self._settings.state / "candidates"
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(f"Pulumi.{self.deployment}.*.yaml"):
            if left.stat().st_mtime < time.time() - _CANDIDATE_SECONDS:
                left.unlink(missing_ok=True)  # of an operation that was killed
        path = folder / f"Pulumi.{self.deployment}.{provenance.operation_id}.yaml"
        write_private(path, document_text(document))
        if (written := other_secrets or new_secrets) is not None:
            self._encrypt_into(path, written)
            self.secrets = written
        return path

    def accept_candidate(self, candidate: Path) -> None:
        """Make the candidate the stack's config file."""
        file = self._settings.stack_file(self.deployment)
        candidate.replace(file)
        if self._rotation is not None:
            self._rotation = self._stack_document()["config"].get(ROTATION_KEY, "")  # until the history is read again

    def accepted(self) -> tuple[StackConfig, Target] | None:
        """What was last to be applied, as the stack's config file on this machine tells it; None where it does not.

        Of a first deploy that was killed nothing else does.

        Raises:
            WorkspaceError: the file says so in a way that this geusemaker cannot read.
        """
        target = read_target(self._settings.stack_file(self.deployment))
        stored = self._stack_document()["config"].get(DEPLOYMENT_KEY) if target is not None else None
        if target is None or stored is None:
            return None
        try:
            return StackConfig.model_validate_json(stored), target
        except ValidationError:
            return None  # of another schema: whoever deploys says what is wanted

    def stored_target(self) -> Target | None:
        """Where the deployment is, as the config file on this machine says: a killed first deploy left no history.

        Raises:
            WorkspaceError: it says so in a way that this geusemaker cannot read.
        """
        return read_target(self._settings.stack_file(self.deployment))

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
        if secrets is None or secret_store.rotation_in(state) != document["config"].get(ROTATION_KEY, ""):
            raise self._secrets_missing()
        if lost := provider_settings.encrypted(document["config"]):
            raise WorkspaceError(
                f"{' and '.join(lost)} of {self.deployment} cannot be read: the key was changed on another machine.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker update {self.deployment}` with a change on that machine first.",
            )
        document["config"] = {key: value for key, value in document["config"].items() if key != SECRETS_KEY}
        if "encryptedkey" not in document:
            document["encryptionsalt"] = secret_store.state_key(state)
        write_private(file, document_text(document))
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
        return self._rotation is not None and document["config"].get(ROTATION_KEY, "") != self._rotation

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

    def _encrypt_into(self, file: Path, secrets: Secrets) -> None:
        """Put secrets into a config file. The value goes through stdin; the engine leaves the file's mode as it is."""
        self._command.run(
            ["config", "set", "--secret", SECRETS_KEY, "--config-file", str(file), "--stack", self.deployment],
            str(self._settings.home),
            self._environment,
            stdin=secrets.to_json(),
        )
        file.chmod(0o600)
