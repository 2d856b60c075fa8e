"""The passphrase of a workspace: which one is the new one, and whose file it goes to."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from geusemaker.engine.files import replace_passphrase
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.result import RotationResult
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.rotate import RotateService


@dataclass(frozen=True)
class NewPassphrase:
    """A passphrase that is to hold; empty where a cloud's key is."""

    text: str
    is_own: bool
    """Whether it is for the workspace's own file."""


class PassphraseService:
    """Rotates the passphrase, or goes over to a cloud's key, and lets the workspace have what holds."""

    def __init__(self, name: str, settings: WorkspaceSettings) -> None:
        self._name = name
        self._settings = settings

    def choose(self, passphrase: str | None, provider: str) -> NewPassphrase:
        """The new passphrase: the one that is given, or one that is made for the workspace's own file.

        Raises:
            RefusedError: there is none to rotate.
            InvalidInputError: it cannot be used, or has to be given.
        """
        if not self._settings.uses_passphrase:
            raise RefusedError(
                "Pulumi Cloud has keys of its own for this backend, so there is no passphrase to rotate.",
                state="Nothing was changed.",
            )
        if provider != "passphrase":
            return NewPassphrase("", is_own=False)
        own = not self._settings.is_given_passphrase
        if passphrase is None and not own:
            raise InvalidInputError(
                "The passphrase comes from Pulumi's variables, so the new one has to be given.",
                next_step=f"`geusemaker secrets rotate-passphrase {self._name} --passphrase-file FILE`",
            )
        new = passphrase if passphrase is not None else secrets.token_urlsafe(32)
        if new != new.strip() or not new or "\n" in new:
            raise InvalidInputError("A passphrase is one line that is not empty, without blanks around it.")
        return NewPassphrase(new, own)

    def rotate(
        self, collaborators: Collaborators, provider: str, new: NewPassphrase, confirm: Callable[[str], bool]
    ) -> RotationResult:
        """Rotate; one that was killed is finished first.

        Raises:
            RefusedError: another operation is unfinished, or the old passphrase opens other deployments, too.
            DeploymentBusyError: another operation holds the deployment.
            WorkspaceError: it could not be done.
        """
        engine, file, pending = collaborators.engine, self._settings.passphrase_file, self._settings.pending_passphrase
        if pending.exists():
            self._finish(collaborators)
        if new.is_own and engine.any_other():
            raise RefusedError(
                f"{file} opens other deployments, too, and would not any more.",
                state="Nothing was changed.",
                next_step="Put a new passphrase into a file of its own and run "
                f"`PULUMI_CONFIG_PASSPHRASE_FILE={shlex.quote(str(file))} "
                f"geusemaker secrets rotate-passphrase {self._name} "
                f"--passphrase-file FILE`; from then on set PULUMI_CONFIG_PASSPHRASE_FILE to FILE for {self._name}.",
            )

        def begin() -> None:
            if new.is_own:
                replace_passphrase(pending, new.text)  # on disk before anything is encrypted with it

        def keep() -> None:
            if new.is_own:
                pending.replace(file)

        try:
            result = RotateService(collaborators).passphrase(provider, new.text, confirm, begin, keep)
        except Exception:
            if engine.opens():
                pending.unlink(missing_ok=True)  # the old one still holds
            raise
        return result.model_copy(update={"passphrase_file": str(file) if new.is_own else ""})

    def _finish(self, collaborators: Collaborators) -> None:
        """Put the passphrase in place that a rotation had begun to use when it was killed; else drop it."""
        engine, pending = collaborators.engine, self._settings.pending_passphrase
        if engine.opens():
            pending.unlink()
        elif engine.with_passphrase(pending.read_text(encoding="utf-8").strip()).opens():
            pending.replace(self._settings.passphrase_file)
            message = "The change of the passphrase that was killed is done now."
            collaborators.on_event(Event(kind="note", message=message))
