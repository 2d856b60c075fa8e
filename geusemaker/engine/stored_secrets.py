"""Another secret, or another key, for what is in a stack's config file, its state and its history."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Self

import yaml
from pulumi.automation.errors import CommandError

from geusemaker.engine import secret_store
from geusemaker.engine.keys import ROTATION_KEY, SECRETS_KEY, document_text, write_private
from geusemaker.engine.run import Runs
from geusemaker.errors import EngineError, WorkspaceError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.stack import Secrets


class StoredSecrets(Runs):
    """A stack whose secrets, or the key that they are encrypted with, are changed."""

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
        document["config"] = {**config, ROTATION_KEY: rotation}
        with tempfile.TemporaryDirectory(dir=self._settings.state) as folder:
            new = Path(folder) / file.name
            write_private(new, document_text(document))
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
            write_private(file, before)
            self.secrets, self._rotation = old, old_rotation
            raise

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
                stdin=secrets.to_json(),
            )
        except CommandError as error:
            raise self._translate(error, "The config file could not be written.", []) from error
        file.chmod(0o600)
        self.secrets = secrets

    def needs_passphrase(self) -> bool:
        """Whether a passphrase opens the secrets, as the backend's state says it: a cloud's key needs none.

        Raises:
            EngineError: the backend cannot be read.
        """
        return secret_store.needs_passphrase(self._export())

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
                write_private(file, before)  # the config's key was changed, the state's not yet
            if isinstance(error, CommandError):
                raise self._translate(error, "Changing the key failed.", []) from error
            raise
        file.chmod(0o600)

    def opens(self) -> bool:
        """Whether what is set here decrypts the deployment's secrets."""
        try:
            self.secrets = None
            self.load_secrets()
        except (EngineError, WorkspaceError):
            return False
        return True

    def with_passphrase(self, passphrase: str) -> Self:
        """The same stack, opened with another passphrase than the one that is set here."""
        settings = replace(
            self._settings,
            target_environment={**self._settings.target_environment, "PULUMI_CONFIG_PASSPHRASE": passphrase},
        )
        info = EngineInfo(path=self._command.command, version=str(self._command.version), source="environment")
        return type(self)(settings, info, self.deployment)
