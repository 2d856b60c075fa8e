"""What a deployment's verbs work with, wired up: the real engine, AWS, registries, instance, journal and clock."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import importlib
import os
import secrets
import threading
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from geusemaker.cloud.advisories import Osv
from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.prices import PriceList
from geusemaker.cloud.registry import Registry
from geusemaker.engine.binary import require_engine
from geusemaker.engine.getting import prepare_engine
from geusemaker.engine.processes import is_alive, process_birth
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import DeploymentNotFoundError, GeusemakerError, WorkspaceError
from geusemaker.models.history import utc_now
from geusemaker.models.plan import Event
from geusemaker.models.stack import Target
from geusemaker.services.tell.also import Also
from geusemaker.targets import LocalRuntime, TargetKind, TargetRuntime, open_target

if TYPE_CHECKING:
    from geusemaker.engine.salvage import Salvage
    from geusemaker.engine.stack import StackEngine
    from geusemaker.host.forwarding import Forwarding
    from geusemaker.services.collaborators import Cloud, Collaborators

OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


def steadily(on_event: OnEvent) -> OnEvent:
    """A callback that breaks nothing: it is called in the middle of changes, and in threads that have more to do."""

    def tell(event: Event) -> None:
        try:
            on_event(event)
        except Exception as error:
            warnings.warn(f"on_event failed at {event.kind} {event.name}: {error!r}", RuntimeWarning, stacklevel=2)

    return tell


_WARM_UP_SECONDS: Final = 10.0
"""So long an end waits for what is being loaded."""


def _warm_up(cloud: Cloud | None) -> None:
    """Load what a change needs, while the engine is asked for the history: it takes more than a second together.

    ``cloud``: AWS where the deployment is, if that is known already; it is what is needed first.
    """
    if cloud is not None:
        with contextlib.suppress(GeusemakerError):  # the first question will tell it
            cloud.prepare()
    with contextlib.suppress(RuntimeError):  # the process ends: what is loaded registers what is to be done then
        for needed_next in ("geusemaker.services.change", "geusemaker.program.stack", "asyncssh"):
            importlib.import_module(needed_next)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return utc_now()

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def new_operation_id(self) -> str:
        """An id that sorts by time."""
        return f"op-{utc_now():%Y%m%d%H%M%S}-{secrets.token_hex(3)}"


class Wiring:
    """Wires up what works on one deployment."""

    def __init__(self, name: str, settings: WorkspaceSettings) -> None:
        self._name = name
        self._settings = settings
        self.also = Also()
        """Who is told of operations beside the workspace's hooks and the deployment's addresses."""

    def changing(self, on_event: OnEvent, dry_run: bool = False) -> Collaborators:
        """As ``existing``, for what is about to change something: it is got ready, and an engine is had."""
        from geusemaker.engine.keys import read_target

        collaborators = self.existing(on_event, installs=not dry_run)
        target = read_target(self._settings.stack_file(self._name))
        cloud = collaborators.cloud(target.region) if target is not None else None
        warming = threading.Thread(target=_warm_up, args=(cloud,), daemon=True)
        warming.start()
        # Ended in the middle of loading a library in C++, as after a mistyped name, the process would abort.
        atexit.register(warming.join, _WARM_UP_SECONDS)
        return collaborators

    def existing(self, on_event: OnEvent, installs: bool = False) -> Collaborators:
        """What works on a deployment that is there.

        Raises:
            DeploymentNotFoundError: it is not.
        """
        if not self._settings.may_have_deployments:
            raise self.not_found()
        self._settings.prepare()
        engine = self.engine(on_event, self._settings, installs)
        kind = self.known_kind()
        if kind is None:
            if not engine.exists():
                raise self.not_found()
            kind = self.kind(engine)
        self.require_passphrase(engine)
        return self.collaborators(kind, on_event)

    def collaborators(
        self, kind: TargetKind | None, on_event: OnEvent, local_runtime: LocalRuntime | None = None
    ) -> Collaborators:
        """What works on the deployment, on a target of that kind."""
        from geusemaker.engine.stack import this_host
        from geusemaker.host.opening import open_instance, tunnels
        from geusemaker.host.redaction import redaction
        from geusemaker.services.collaborators import Collaborators
        from geusemaker.services.journal import FileJournal
        from geusemaker.services.tell.teller import Teller

        on_event = steadily(on_event)
        runtime = open_target(kind, lambda text: on_event(Event(kind="note", message=text)), local_runtime)
        settings = self.with_target(runtime)
        clouds: dict[str, AwsCloud] = {}

        def cloud(region: str) -> AwsCloud:
            return clouds.setdefault(region, AwsCloud(region, runtime.environment, engine.identity_settings))

        def forwarding(target: Target) -> Forwarding | None:
            if not target.through_aws:
                return None
            from geusemaker.cloud.sessions import AwsSessions
            from geusemaker.host.forwarding import Forwarding

            sessions = AwsSessions(cloud(target.region), self._name)
            return Forwarding(
                sessions, target.ssh_port, runtime.plugin, lambda text: on_event(Event(kind="note", message=text))
            )

        engine, journal = self.engine(on_event, settings), FileJournal(self._settings.state, self._name)
        return Collaborators(
            deployment=self._name,
            engine=engine,
            cloud=cloud,
            registry=Registry(
                runtime.registry,
                fall_back=runtime.falls_back,
                note=lambda text: on_event(Event(kind="note", message=text)),
            ),
            become=runtime.become,
            open_host=lambda address, target, secrets: open_instance(address, target, secrets, forwarding(target)),
            open_tunnel=tunnels(
                forwarding, lambda text, *, bad: on_event(Event(kind="warning" if bad else "note", message=text))
            ),
            forwarding=forwarding,
            journal=journal,
            teller=Teller(
                self._name,
                self._settings.home / "hooks",
                journal.undelivered_file,
                engine.load_secrets,
                redaction,
                lambda: self.also,
                on_event,
            ),
            prices=PriceList(
                runtime.environment,
                self._settings.state / "prices.json",
                lambda: utc_now().date(),
                engine.identity_settings,
            ),
            advisories=Osv(runtime.advisories, self._settings.state / "advisories.json", utc_now)
            if runtime.advisories
            else None,
            clock=SystemClock(),
            actor=getpass.getuser(),
            host_name=this_host(),
            pid=os.getpid(),
            born=process_birth(os.getpid()),
            is_alive=is_alive,
            on_event=on_event,
        )

    def salvage(self, on_event: OnEvent) -> tuple[StackEngine, Salvage]:
        """What mends damaged files of the backend.

        Raises:
            DeploymentNotFoundError: there is nothing in this workspace.
        """
        from geusemaker.engine.salvage import Salvage

        if not self._settings.may_have_deployments:
            raise self.not_found()
        self._settings.prepare()
        engine = self.engine(on_event, self._settings)
        return engine, Salvage(self._settings, engine)

    def engine(self, on_event: OnEvent, settings: WorkspaceSettings, installs: bool = False) -> StackEngine:
        """The deployment's stack; only what is about to change something gets an engine where there is none."""
        from geusemaker.engine.stack import StackEngine

        return StackEngine(settings, prepare_engine(on_event) if installs else require_engine(), self._name)

    def with_target(self, runtime: TargetRuntime) -> WorkspaceSettings:
        """The workspace, with what the engine needs to reach the target."""
        return WorkspaceSettings(self._settings.home, target_environment=runtime.environment)

    def known_kind(self) -> TargetKind | None:
        """The target's kind from the stack's config file: it costs no run of the engine."""
        from geusemaker.engine.keys import read_target

        target = read_target(self._settings.stack_file(self._name))
        return target.kind if target is not None else None

    def kind(self, engine: StackEngine) -> TargetKind | None:
        """The target's kind from the history; None for a stack of which nothing is anywhere.

        Raises:
            WorkspaceError: it is not to be known. Whatever was taken instead might be the wrong world.
        """
        from geusemaker.engine.keys import unreadable_target

        for limit in (10, None):
            entry = next((entry for entry in engine.history(limit) if entry.says_target), None)
            if entry is not None and entry.target is None:
                raise unreadable_target(self._name, "its history")
            if entry is not None and entry.target is not None:
                return entry.target.kind
        if engine.resources():
            raise WorkspaceError(
                f"Where {self._name} is (local cloud or AWS, region, account) is not in the backend: its first deploy "
                "was killed before that was written down.",
                state="Nothing was looked at, and nothing was changed.",
                next_step=f"Go on in the workspace that deployed it, whose stacks/Pulumi.{self._name}.yaml says it.",
            )
        return None

    def require_passphrase(self, engine: StackEngine) -> None:
        """Raise WorkspaceError where there is no passphrase, and the secrets are not under a cloud's key."""
        if not self._settings.has_passphrase and self._settings.uses_passphrase and engine.needs_passphrase():
            self._settings.check_passphrase()

    def create_passphrase(self, engine: StackEngine) -> None:
        """Make a passphrase, for a workspace in which nothing was encrypted yet; none beside a cloud's key."""
        if engine.any_stack():
            if engine.exists() and not engine.needs_passphrase():
                return
            self._settings.check_passphrase()
        self._settings.create_passphrase()

    def not_found(self) -> DeploymentNotFoundError:
        """There is no such deployment."""
        return DeploymentNotFoundError(
            f"There is no deployment {self._name}.",
            state="Nothing was changed.",
            next_step=f"`geusemaker list` shows those there are; `geusemaker deploy {self._name}` makes it.",
        )
