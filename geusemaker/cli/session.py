"""One run of a verb: where its output goes, how it asks, and how it ends."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TextIO

import typer

from geusemaker.cli import workspace
from geusemaker.cli.output.text import Line, Printer
from geusemaker.errors import (
    ConfirmationNeededError,
    DeploymentNotFoundError,
    EngineError,
    GeusemakerError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)

if TYPE_CHECKING:
    from geusemaker import Deployment, Workspace
    from geusemaker.cli.output.progress import Progress
    from geusemaker.models.plan import Event, Plan
    from geusemaker.models.result import OperationResult, RollbackResult

OutputMode = Literal["text", "json"]

DEBUG: ContextVar[bool] = ContextVar("DEBUG", default=False)
"""Whether tracebacks are shown."""

_DIAGNOSTICS_SHOWN = 12


class Session:
    """What a verb needs besides the library: output, progress, the question and the outcome.

    Text goes to stdout and errors to stderr. With ``--output json`` one document goes to stdout, when the verb ends,
    and everything else to stderr.
    """

    def __init__(self, verb: str, mode: OutputMode, name: str | None, yes: bool, stdout: TextIO) -> None:
        self.verb = verb
        self.mode = mode
        self.deployment = name
        self.yes = yes
        self.target: str | None = None
        self.plan: Plan | None = None
        self._given_name = name
        self._started = time.monotonic()
        self._workspace: Workspace | None = None
        self._progress: Progress | None = None
        self._emitted = False
        self.errors = Printer(sys.stderr)
        self._answers = Printer(stdout)
        self.printer = self.errors if mode == "json" else self._answers

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

    def open_deployment(self, name: str | None, *, quiet: bool = False, dry_run: bool = False) -> Deployment:
        """The deployment of this name, or the only one.

        Args:
            name: as typed, or None.
            quiet: for verbs whose answer is all that stdout may hold: progress goes to stderr.
            dry_run: nothing is to be changed; nothing is installed then.

        Raises:
            InvalidInputError: the name cannot be one of a deployment.
            DeploymentNotFoundError: None was given and there is not exactly one.
            EngineNotFoundError: there is no Pulumi engine, and none could be had.
        """
        if name is not None:
            check_name(name)
        opened = self.open_readable_workspace(quiet=quiet, installs=not quiet and not dry_run)
        deployment = opened.deployment(name)
        self.deployment = deployment.name
        return deployment

    # Progress and the question

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
            self.printer.lines(render_plan(plan, "destroy" if self.verb == "destroy" else ""))

    def confirm(self, plan: Plan) -> bool:
        """Show the plan and ask; ``--yes`` skips the question and nothing else.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        from geusemaker.cli.output.plan import question

        self.show_plan(plan)
        return self.yes or self.ask(question(plan)).lower() in ("y", "yes")

    def ask(self, text: str) -> str:
        """Ask on the terminal.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        self.pause()
        if not self.printer.can_ask():
            name = f" {self.deployment}" if self.deployment else ""
            raise ConfirmationNeededError(
                f"`{self.verb}{name}` asks before it acts, and there is no terminal to ask on.",
                state="Nothing was changed.",
                next_step="If that is what you want, run the same command again with --yes.",
            )
        return self.printer.ask(text)

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
        render = render_result if result.success else render_failed_result
        self.conclude(document, render(result, self.verb, self.target), code)

    def conclude(self, document: dict[str, Any], lines: list[Line], code: int) -> None:
        """Give the answer and end with this exit code; lines about a failure go to stderr."""
        if code and self.mode == "text":
            self.pause()
            self.errors.lines(lines)
        self.answer(document, [] if code else lines)
        if code:
            raise typer.Exit(code)

    def answer(self, document: dict[str, Any], lines: list[Line]) -> None:
        """Give the verb's answer: the document, or the lines for people."""
        self.pause()
        if self.mode == "text":
            self.printer.lines(lines)
        else:
            self._emit(document)

    def fail(self, error: GeusemakerError) -> int:
        """Tell an error; returns the exit code."""
        from geusemaker.cli.output.plan import render_checks
        from geusemaker.cli.output.result import render_error

        self.pause()
        if isinstance(error, DeploymentNotFoundError):
            self._suggest_name(error)
        details = error.diagnostics[-_DIAGNOSTICS_SHOWN:] if isinstance(error, EngineError) else ()
        self.errors.lines(render_error(error, details))
        if isinstance(error, RefusedError) and (self.plan is None or self.plan.checks != error.checks):
            self.errors.lines(render_checks(error.checks))
        if self.mode == "json" and not self._emitted:
            from geusemaker.cli.output.document import failure_document

            self._emit(
                failure_document(
                    error,
                    verb=self.verb,
                    deployment=self.deployment,
                    seconds=time.monotonic() - self._started,
                    plan=self.plan,
                )
            )
        return error.exit_code

    def _emit(self, document: dict[str, Any]) -> None:
        self._emitted = True
        self._answers.write(json.dumps(document, indent=2) + "\n")

    def tell_lost_output(self) -> None:
        """Say that the output could not be written; a reader that went away knows."""
        lost = self._answers.lost
        if lost is not None and not isinstance(lost, BrokenPipeError):
            self.errors.line(f"warning: The output could not be written ({lost.strerror or lost}).", "yellow")

    def _suggest_name(self, error: DeploymentNotFoundError) -> None:
        if self._workspace is None or self._given_name is None:
            return
        try:
            near = self._workspace.suggest(self._given_name)
        except GeusemakerError:
            return  # The suggestion is a courtesy; the error that led here is the one to tell.
        if near is not None and near not in error.next_step:
            error.next_step = f"Did you mean {near}? `geusemaker status {near}` shows how it is."


@contextlib.contextmanager
def session(verb: str, mode: OutputMode, *, name: str | None = None, yes: bool = False) -> Iterator[Session]:
    """Run a verb: errors become a sentence or a document, and the exit code of the documented table.

    While it runs with ``--output json``, whatever else is printed to stdout goes to stderr.
    """
    current = Session(verb, mode, name, yes, sys.stdout)
    with contextlib.ExitStack() as stack:
        if mode == "json":
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            yield current
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            current.pause()
            if DEBUG.get():
                traceback.print_exception(error, file=sys.stderr)
            code = current.fail(as_known_error(error))
            raise typer.Exit(code) from error
        finally:
            current.pause()
            current.tell_lost_output()


def as_known_error(error: BaseException) -> GeusemakerError:
    """The error as one for the operator; what nobody foresaw becomes one sentence."""
    if isinstance(error, GeusemakerError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError(
            "Interrupted.", next_step="`geusemaker status` tells what state things are in."
        )
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        # Its own text tells what stands there, which may be a secret or a megabyte.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return GeusemakerError(
            f"Something that is stored cannot be read by this geusemaker ({error.title}"
            f"{f', {place}' if place else ''}: {first['msg']}).",
            next_step="It was written by another version of geusemaker, or is damaged: use the version that wrote it, "
            "or see what `geusemaker doctor` tells.",
        )
    text = " ".join(str(error).split())[:300]
    return GeusemakerError(
        f"Something unforeseen went wrong ({type(error).__name__}{': ' + text if text else ''}).",
        next_step="Run again with --debug to see where; `geusemaker status` tells what state things are in.",
    )


def nearest(word: str, known: list[str]) -> str | None:
    """The known word most like this one, if any is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, n=1)), None)


def check_name(name: str) -> None:
    """Refuse what cannot be a deployment's name.

    Raises:
        InvalidInputError: with the rule.
    """
    from geusemaker.models.stack import DEPLOYMENT_NAME

    if not DEPLOYMENT_NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot be the name of a deployment.",
            state="Nothing was changed.",
            next_step="Use at most 40 lower-case letters, digits and hyphens, beginning with a letter.",
        )
