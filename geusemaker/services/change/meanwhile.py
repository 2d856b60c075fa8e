"""What is done on the instance in the middle of the engine's run, when the engine has come so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from geusemaker.checks import failures
from geusemaker.errors import GeusemakerError, RefusedError, ValidationFailedError
from geusemaker.models.stack import Secrets
from geusemaker.services import adopt, facts
from geusemaker.services.bookkeeping import insist
from geusemaker.services.change.work import Work
from geusemaker.services.compatibility import compatibility_checks

_DATA_UNCHANGED: Final = "The instance was made, and nothing on the data was changed."


class Meanwhile:
    """The engine calls these back. It tells of what one raises as of a program that crashed, so that is kept here."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.error: GeusemakerError | None = None
        """The first thing that went wrong."""
        self._adopted_key = False

    def hold(self) -> None:
        """Stop the services when the engine has come to an instance that it is about to stop, and not before.

        Else they would be down for as long as the engine takes to start, and stay down where it cannot: another run of
        the engine may hold the stack.
        """
        host = self._work.connection.host
        with self._kept():
            if host is not None:
                with self._work.phase("hold", "stopping services before the instance stops"):
                    host.hold(self._work.operation.id, self._work.collaborators.on_event)

    def ask_data(self, secrets: Secrets) -> Secrets:
        """Ask data that is taken up, when it is mounted, and before anything starts on it: the secrets that fit it.

        Takes the lease, which may still be that of an instance which is gone.
        """
        adopting = self._work.change.target.adopting
        with self._kept(), self._work.phase("adopt", f"asking what {adopting} holds"):
            return self._ask_data(secrets)

    def keep_secrets(self) -> None:
        """Let the history have the config as it is: that of the update has the secrets from before they were known."""
        if self._adopted_key:
            insist(
                self._work.collaborators.on_event,
                "Other machines do not have n8n's key yet; the next update gives it to them",
                self._work.collaborators.engine.record_config,
            )

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except GeusemakerError as error:
            self.error = self.error or error
            raise

    def _ask_data(self, secrets: Secrets) -> Secrets:
        work, with_, change = self._work, self._work.collaborators, self._work.change
        region, name = change.target.region, work.asked.name
        instance = with_.cloud(region).find_instance(name)
        host = work.connection.host or work.connection.renew(change.target, instance)
        if instance is None or host is None:
            raise RefusedError("The instance that was just made cannot be asked.")
        found = host.adoption()
        adopt.require_nobody_serves(with_, region, found, instance.id)
        given = change.n8n_key.get_secret_value() if change.n8n_key is not None else None
        key = adopt.choose_key(name, found, change.config, given, anew=change.new_n8n_key)
        known = facts.read_facts(host, (), work.asked.state, change.config)
        allowed = work.asked.options.allow_data_downgrade
        checks = compatibility_checks(change.config, known, allow_downgrade=allowed, lenient=False, copied=())
        if wrong := failures(checks):
            raise ValidationFailedError(
                f"The data does not fit: {'; '.join(wrong)}.",
                state=_DATA_UNCHANGED,
                next_step=f"Run `geusemaker deploy {name}` again with images that fit (--image SERVICE=REF).",
                checks=tuple(checks),
            )
        if not work.operation.has_lease:
            work.operation.take_lease(
                host,
                instance.id,
                expects=None,
                takeover=None,
                owner_is_gone=True,  # the instance that it worked on is
                untouched=_DATA_UNCHANGED,
                number=work.plan.number,
            )
        if key is None or key == secrets.n8n_encryption_key:
            return secrets
        adopted = secrets.model_copy(update={"n8n_encryption_key": key})
        with_.engine.replace_secrets(adopted)
        self._adopted_key = True
        return adopted
