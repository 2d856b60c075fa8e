"""What is done on the instance in the middle of the engine's run, when the engine has come so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from geusemaker.checks import failures
from geusemaker.checks.host import check_disk
from geusemaker.checks.images import bytes_to_pull
from geusemaker.errors import GeusemakerError, RefusedError, ValidationFailedError
from geusemaker.models.inspection import InstanceState
from geusemaker.models.stack import Secrets
from geusemaker.program.compose import render
from geusemaker.services import adopt, facts
from geusemaker.services.bookkeeping import insist
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.compatibility import compatibility_checks
from geusemaker.services.guard import makes_an_instance

_NOTHING_PULLED: Final = "The instance was made; no image was pulled, and no service was started."
_DATA_UNCHANGED: Final = "The instance was made, and nothing on the data was changed."


class Meanwhile:
    """The engine calls these back. It tells of what one raises as of a program that crashed, so that is kept here."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.error: GeusemakerError | None = None
        """The first thing that went wrong."""
        self._adopted_key = False
        self._reached = False

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

    @property
    def has_to_ask(self) -> bool:
        """Whether there is something to be done once the data is mounted, before services start."""
        return bool(self._work.change.target.adopting) or self._makes_instance

    @property
    def _makes_instance(self) -> bool:
        return makes_an_instance(self._work.plan.operations)

    def mounted(self, secrets: Secrets) -> Secrets:
        """What is done when the data is mounted, before anything starts on it: the secrets that services start with.

        Data that is taken up is asked what it holds. A new instance gets its images, which are gigabytes: the engine's
        deadline is for what the engine does.
        """
        adopting = self._work.change.target.adopting
        with self._kept():
            if adopting:
                with self._work.phase("adopt", f"asking what {adopting} holds"):
                    secrets = self._ask_data(secrets)
            if self._makes_instance:
                with self._work.phase("prefetch", "pulling images, which the new instance has none of"):
                    self._pull()
        return secrets

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
        instance, host = self._new_instance()
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

    def _new_instance(self) -> tuple[InstanceState, Host]:
        """The instance that the engine has made, and its agent."""
        work, target = self._work, self._work.change.target
        instance = work.collaborators.cloud(target.region).find_instance(work.asked.name)
        host = work.connection.host if self._reached else work.connection.renew(target, instance)
        if instance is None or host is None:
            raise RefusedError("The instance that was just made cannot be asked.")
        self._reached = True
        return instance, host

    def _pull(self) -> None:
        """Have the images on the new instance.

        A first deploy ends here where they are said not to fit. Of what ran once that is no more than an estimate.
        """
        work, config = self._work, self._work.change.config
        _, host = self._new_instance()
        health = host.health({}, images=config.images)
        disk = check_disk(health, bytes_to_pull(health, config, None, work.collaborators.registry))
        if disk.status == "fail" and not work.asked.has_data:
            raise ValidationFailedError(
                f"The new instance's disk is too small: {disk.detail}.",
                state=_NOTHING_PULLED,
                next_step=f"Give {work.asked.name} the larger disk, and run the command again.",
                checks=(disk,),
            )
        target = work.change.target
        compose = render(config, data_volume=target.has_data_volume, site=target.site)
        host.prefetch(work.operation.id, compose, work.collaborators.on_event, on_new_instance=True)
