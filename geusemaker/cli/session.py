"""One run of a verb: where its output goes, how it asks, and how it ends."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TextIO

import typer

from geusemaker.cli import known, workspace
from geusemaker.cli.answering import Answering
from geusemaker.cli.output.text import Printer
from geusemaker.cli.words import as_known_error, check_name
from geusemaker.errors import (
    GeusemakerError,
    InterruptedOperationError,
)

if TYPE_CHECKING:
    from geusemaker import Deployment, Workspace
    from geusemaker.cli.output.progress import Progress
    from geusemaker.models.inspection import Inspection
    from geusemaker.models.plan import Event, Plan
    from geusemaker.models.result import OperationResult, RollbackResult

OutputMode = Literal["text", "json", "markdown"]

DEBUG: ContextVar[bool] = ContextVar("DEBUG", default=False)
"""Whether tracebacks are shown."""

_LOOKS_FIRST = {
    *("deploy", "update", "rollback", "recover", "restore", "stop", "start", "destroy"),
    *("rehearse", "secrets rotate", "secrets rotate-passphrase", "export"),
    *("status", "inspect", "history", "diff", "checkpoints", "logs", "info", "env", "list"),
}
"""Verbs that change nothing before they have asked, or at all."""


class Session(Answering):
    """What a verb needs besides the library: output, progress, the question and the outcome.

    Text goes to stdout and errors to stderr. With ``--output json`` or ``markdown`` one document goes to stdout, when
    the verb ends, and everything else to stderr.
    """

    def __init__(
        self, verb: str, mode: OutputMode, name: str | None, yes: bool, stdout: TextIO, verbose: bool = False
    ) -> None:
        self.verb = verb
        self.mode = mode
        self.deployment = name
        self.yes = yes
        self.verbose = verbose
        self.target: str | None = None
        self.plan: Plan | None = None
        self._given_name = name
        self._started = time.monotonic()
        self._workspace: Workspace | None = None
        self._progress: Progress | None = None
        self._emitted = False
        self.errors = Printer(sys.stderr)
        self._answers = Printer(stdout)
        self.printer = self._answers if mode == "text" else self.errors

    # The library

    def open_workspace(self) -> Workspace:
        """The workspace this shell is in."""
        self._workspace = workspace.open_workspace()
        return self._workspace

    def open_readable_workspace(self, *, quiet: bool = True, installs: bool = False) -> Workspace:
        """The workspace, with an engine to read it with.

        Args:
            quiet: for verbs whose answer is all that stdout may hold: progress goes to stderr.
            installs: get an engine where there is none, which takes minutes and is shown; not for who only looks.

        Raises:
            EngineNotFoundError: there is no Pulumi engine, and none could be had.
        """
        from geusemaker.cli.output.progress import progress_on

        self._progress = progress_on(self.errors if quiet else self.printer)
        opened = self.open_workspace()
        folder = opened.backend_folder
        if folder is None or folder.exists():  # a backend that is not there yet holds nothing to ask the engine about
            if installs:
                opened.prepare_engine(self.on_event)
            else:
                opened.require_engine()
        return opened

    def open_deployment(
        self,
        name: str | None,
        *,
        quiet: bool = False,
        dry_run: bool = False,
        asks: bool = True,
        wait_lock: str | None = None,
    ) -> Deployment:
        """The deployment of this name, or the only one.

        Args:
            name: as typed, or None.
            quiet: for verbs whose answer is all that stdout may hold: progress goes to stderr.
            dry_run: nothing is to be changed; nothing is installed then.
            asks: a verb that is not quiet is about to ask, if it was not answered by ``--yes``.
            wait_lock: so long it waits while another operation holds the deployment, as typed; None: not at all.

        Raises:
            ConfirmationNeededError: it would ask, and there is no terminal: said before the work of a plan is done.
            InvalidInputError: the name cannot be one of a deployment, or ``wait_lock`` is no time.
            DeploymentNotFoundError: None was given and there is not exactly one.
            EngineNotFoundError: there is no Pulumi engine, and none could be had.
        """
        self._given_name = name
        if name is not None:
            check_name(name)
        seconds = self._waits(wait_lock)
        if asks and not (quiet or dry_run or self.yes):
            self.require_terminal()
        opened = self.open_readable_workspace(quiet=quiet, installs=not quiet and not dry_run)
        deployment = opened.deployment(name)
        self.deployment = deployment.name
        if seconds:
            deployment.wait_lock(seconds)
        return deployment

    @staticmethod
    def _waits(wait_lock: str | None) -> float:
        if wait_lock is None:
            return 0.0
        from geusemaker.cli.requests import parse_time

        return parse_time(wait_lock, "--wait-lock", "10m")

    # Progress and the plan

    def pause(self) -> None:
        """Take the live region off the screen, before anything else is written."""
        if self._progress is not None:
            self._progress.pause()

    def on_event(self, event: Event) -> None:
        """Show what the library reports while it works."""
        if event.kind == "plan":
            if event.plan is not None:
                self.show_plan(event.plan)
        elif self._progress is not None:
            self._progress.event(event)

    def show_plan(self, plan: Plan) -> None:
        """Show what would be done, unless that very plan was shown before."""
        from geusemaker.cli.output.plan import render_plan

        self.pause()
        self.target = plan.target_kind
        if plan != self.plan:
            self.plan = plan
            self.printer.line()
            self.printer.lines(render_plan(plan, "destroy" if self.verb == "destroy" else "", verbose=self.verbose))

    # The outcome

    def finish(self, result: OperationResult | RollbackResult) -> None:
        """Show an operation's result and end with its exit code."""
        from geusemaker.cli.output.document import plan_document
        from geusemaker.cli.output.result import render_failed_result, render_result

        self.pause()
        code = result.exit_code or (0 if result.success else 1)
        document = result.model_dump(mode="json") | {"exit_code": code}
        if self.plan is not None and (result.dry_run or code == 5):
            document["plan"] = plan_document(self.plan)
        if result.success and not result.dry_run and result.version is not None:
            self._remember(versions={result.version: "active"}, services=result.health_status or None)
        render = render_result if result.success else render_failed_result
        self.conclude(document, render(result, self.verb, self.target), code, lambda: self._report(result))

    def _report(self, result: OperationResult | RollbackResult) -> str:
        from geusemaker.cli.output.markdown.outcome import result_markdown

        return result_markdown(result, self.verb, self.plan, verbose=self.verbose)

    def remember(self, found: Inspection) -> None:
        """Leave for completion what was seen of a deployment."""
        versions = {version.number: f"{version.status}, {version.provenance.kind}" for version in found.versions}
        active = [version for version in found.versions if version.number == found.active_version]
        services = list(active[0].config.services) if active else None
        self._remember(versions=versions, services=services)

    def remember_checkpoints(self, names: Iterable[str]) -> None:
        """Leave for completion which checkpoints there are."""
        self._remember(checkpoints=names)

    def _remember(self, **seen: Any) -> None:
        if self._workspace is not None and self.deployment is not None:
            known.remember(self._workspace.home, self.deployment, **seen)

    def as_known_error(self, error: BaseException) -> GeusemakerError:
        """The error as one for the operator; of a Ctrl-C before the change was agreed to, that nothing was changed."""
        if isinstance(error, KeyboardInterrupt) and not self.agreed and self.verb in _LOOKS_FIRST:
            return InterruptedOperationError("Interrupted.", state="Nothing was changed.")
        return as_known_error(error)


@contextlib.contextmanager
def session(
    verb: str, mode: OutputMode, *, name: str | None = None, yes: bool = False, verbose: bool = False
) -> Iterator[Session]:
    """Run a verb: errors become a sentence or a document, and the exit code of the documented table.

    While it runs with ``--output json`` or ``markdown``, whatever else is printed to stdout goes to stderr.
    """
    current = Session(verb, mode, name, yes, sys.stdout, verbose)
    with contextlib.ExitStack() as stack:
        if mode != "text":
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            yield current
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            current.pause()
            if DEBUG.get():
                traceback.print_exception(error, file=sys.stderr)
            code = current.fail(current.as_known_error(error))
            raise typer.Exit(code) from error
        finally:
            current.pause()
            current.tell_lost_output()
