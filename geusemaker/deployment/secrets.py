"""What opens a deployment, changed: its passphrase, its key, its database's password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import SecretStr

from geusemaker.deployment.confirm import Confirm, yes
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult, RotationResult, SecretRotationResult
from geusemaker.models.secrets import SecretList
from geusemaker.models.version import RotationKind
from geusemaker.questions import Questions
from geusemaker.wiring import OnEvent, ignore


class Secrets(Questions):
    """The verbs that look at secrets, and those that change them."""

    def secrets(self) -> SecretList:
        """Which secrets there are, which variables of the active version have them, and since when; no value.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            WorkspaceError: they cannot be read here.
        """
        from geusemaker.services.own_secrets import OwnSecretsService

        return OwnSecretsService(self._wiring.existing(ignore)).list()

    def secret(self, name: str) -> SecretStr:
        """The value of one secret.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such secret.
            WorkspaceError: they cannot be read here.
        """
        from geusemaker.services.own_secrets import OwnSecretsService

        return OwnSecretsService(self._wiring.existing(ignore)).value(name)

    def set_secret(
        self,
        name: str,
        value: SecretStr,
        options: ChangeOptions | None = None,
        confirm: Confirm = yes,
        on_event: OnEvent = ignore,
    ) -> OperationResult:
        """Set the value of a secret of yours, a new one or one there is.

        Where variables of the active version have it, it is an update with that value, and a version is made. Else it
        is kept for those that will (``secret_environment``), no version is made, and ``confirm`` is not asked.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: the value cannot be kept, or it is a generated secret.
            RefusedError: it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
        """
        from geusemaker.services.set_secret import SetSecretService

        asked = options or ChangeOptions()

        def set_it() -> OperationResult:
            return SetSecretService(self._wiring.changing(on_event, asked.dry_run)).set(name, value, asked, confirm)

        return self._in_turn(set_it, on_event)

    def delete_secret(
        self,
        name: str,
        options: ChangeOptions | None = None,
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = ignore,
    ) -> OperationResult:
        """Delete a secret of yours that no version which is kept has. No version changes, and nothing restarts.

        Args:
            name: it.
            options: the reason, and whether it is a dry run.
            confirm: is told what goes, and says whether to go on.
            on_event: is told what happens.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such secret, or it is a generated one.
            RefusedError: a version that is kept has it, or it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
        """
        from geusemaker.services.set_secret import SetSecretService

        asked = options or ChangeOptions()

        def delete_it() -> OperationResult:
            return SetSecretService(self._wiring.changing(on_event, asked.dry_run)).delete(name, asked, confirm)

        return self._in_turn(delete_it, on_event)

    def import_n8n_key(
        self, key: SecretStr, confirm: Callable[[str], bool] = lambda text: True, on_event: OnEvent = ignore
    ) -> SecretRotationResult:
        """Take over the encryption key of an n8n that there was before, while this one holds no credentials yet.

        n8n gets it in the secrets, in its environment and in its own file, and is started again. One that was killed,
        or failed, is finished by the same again. No version changes.

        Args:
            key: it.
            confirm: is told what is to be done, and says whether to go on.
            on_event: is told what happens.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: that cannot be a key.
            RefusedError: n8n holds credentials already, or it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        from geusemaker.services.rotate_secret import RotateSecretService

        def take_over() -> SecretRotationResult:
            return RotateSecretService(self._wiring.changing(on_event)).run("import-n8n-key", confirm, key)

        return self._in_turn(take_over, on_event)

    def rotate_passphrase(
        self,
        passphrase: str | None = None,
        provider: str = "passphrase",
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = ignore,
    ) -> RotationResult:
        """Encrypt the deployment's secrets with another passphrase, or with a cloud's key; no version changes.

        Args:
            passphrase: the new one; None: one is generated, for the workspace's own file.
            provider: ``passphrase``, or the URL of a key as Pulumi writes it (``awskms://…``).
            confirm: is told what is to be done, and says whether to go on.
            on_event: is told what happens.

        Raises:
            InvalidInputError: the new passphrase cannot be used.
            RefusedError: another operation is unfinished, or the old passphrase opens other deployments, too.
            DeploymentBusyError: another operation holds the deployment.
            WorkspaceError: it could not be done.
        """
        from geusemaker.services.passphrase import PassphraseService

        service = PassphraseService(self.name, self._settings)
        new = service.choose(passphrase, provider)
        return self._in_turn(lambda: service.rotate(self._wiring.changing(on_event), provider, new, confirm), on_event)

    def rotate_secret(
        self,
        secret: Literal["ssh", "database"],
        confirm: Callable[[str], bool] = lambda text: True,
        on_event: OnEvent = ignore,
    ) -> SecretRotationResult:
        """Change the key to log in with, or the database's password, on the instance and in the secrets.

        One that was killed, or failed, is finished by the same again. No version changes.

        Args:
            secret: which.
            confirm: is told what is to be done, and says whether to go on.
            on_event: is told what happens.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        from geusemaker.services.rotate_secret import RotateSecretService

        kind: RotationKind = "rotate-ssh" if secret == "ssh" else "rotate-database"
        return self._in_turn(lambda: RotateSecretService(self._wiring.changing(on_event)).run(kind, confirm), on_event)
