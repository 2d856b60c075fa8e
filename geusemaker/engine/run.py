"""Runs of the program, by the Automation API: previews, updates, a destroy, and what they came to."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulumi.automation import LocalWorkspace, Stack, UpdateSummary
from pulumi.automation.errors import CommandError
from pulumi.automation.events import EngineEvent

from geusemaker.engine.cli import workspace
from geusemaker.engine.command import DeadlineExceededError, GaveUpError
from geusemaker.engine.config import ConfigFile
from geusemaker.engine.events import ApplyWatcher, read_operation
from geusemaker.engine.files import replace_whole
from geusemaker.engine.keys import SECRETS_KEY, with_provenance
from geusemaker.engine.project import PROJECT
from geusemaker.engine.waiting import Waiting
from geusemaker.errors import DeploymentBusyError, EngineError
from geusemaker.host.redaction import redaction
from geusemaker.models.history import ApplyOutcome, utc_now
from geusemaker.models.plan import Event, ResourceOperation
from geusemaker.models.stack import Secrets
from geusemaker.models.version import Provenance

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


class Runs(ConfigFile):
    """A stack that the program is run for."""

    def rewrite_candidate(self, candidate: Path, provenance: Provenance) -> None:
        """Give a candidate another provenance of the same operation; its secrets stay as they are, encrypted."""
        replace_whole(candidate, with_provenance(candidate.read_text(encoding="utf-8"), provenance))

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
            planned = {"operations": tuple(operations)} if isinstance(translated, EngineError) else {}
            raise translated.but(**planned) from error
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
        after_mount_seconds: float = 0.0,
        gives_up: Callable[[], str] | None = None,
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
            after_mount_seconds: so long that may take without counting against the deadline.
            gives_up: asked every second or so: why the run is to be stopped, which is then its failure; empty: it goes
                on.

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
        watcher = ApplyWatcher(on_event)

        def mounted(secrets: Secrets) -> Secrets:
            assert after_mount is not None
            with self._command.beside(after_mount_seconds):
                return after_mount(secrets)

        def update() -> None:
            self._stack(before_instance, after_mount=mounted if after_mount is not None else None).up(
                on_event=watcher.watch,
                message=message,
                target=only,
                color="never",
                suppress_progress=True,
                suppress_outputs=True,
                show_secrets=False,
            )

        return self._outcome(update, watcher, "The update failed.", deadline_seconds, on_stop, gives_up)

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
        watcher, waiting = ApplyWatcher(on_event), Waiting(on_event)

        def watch(event: EngineEvent) -> None:
            watcher.watch(event)
            waiting.watch(event)

        def destroy() -> None:
            # A program that declares nothing: what it does is done under the engine's lock, and then all is deleted.
            self._stack().destroy(
                on_event=watch,
                color="never",
                suppress_progress=True,
                exclude_protected=True,
                show_secrets=False,
                run_program=before is not None,
                program=before,
            )

        with waiting.telling():
            outcome = self._outcome(destroy, watcher, "Destroying failed.", deadline_seconds)
        if not outcome.timed_out:
            return outcome
        left = ", ".join(waiting.under_way) or "at work"
        failure = f"after {deadline_seconds / 60:.0f} minutes it was still {left}"
        return self._redacted(outcome.model_copy(update={"failure": failure}))

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

    def _outcome(
        self,
        run: Callable[[], None],
        watcher: ApplyWatcher,
        what: str,
        deadline_seconds: float,
        on_stop: Callable[[], None] | None = None,
        gives_up: Callable[[], str] | None = None,
    ) -> ApplyOutcome:
        """What a run of the engine comes to, which is stopped after ``deadline_seconds``; ``what`` begins its failure.

        Raises:
            DeploymentBusyError: another run of the engine holds the stack; nothing was done.
            EngineError: it could not begin.
        """
        started, command = time.monotonic(), self._command
        command.began, command.deadline, command.on_stop = False, started + deadline_seconds, on_stop
        command.gives_up = gives_up
        timed_out, failure = False, ""
        try:
            run()
        except DeadlineExceededError:
            timed_out = True
        except GaveUpError as error:
            failure = str(error)
        except CommandError as error:
            translated = self._translate(error, what, watcher.diagnostics)
            if isinstance(translated, DeploymentBusyError):
                raise translated from error
            failure = translated.message
        except OSError as error:
            failure = self._lacking(error)
        finally:
            command.deadline = command.on_stop = command.gives_up = None
        return self._redacted(
            watcher.outcome(
                succeeded=not failure and not timed_out,
                timed_out=timed_out,
                failure=failure,
                duration_seconds=time.monotonic() - started,
            )
        )

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
