"""How a verb ends: its answer, or its error, as lines for people or as one document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import typer

from geusemaker.cli.asking import Asking
from geusemaker.cli.output.text import Line, Printer, quoted
from geusemaker.cli.words import nearest
from geusemaker.errors import DeclinedError, DeploymentNotFoundError, EngineError, GeusemakerError, RefusedError

if TYPE_CHECKING:
    from geusemaker import Workspace
    from geusemaker.models.plan import Plan

_DIAGNOSTICS_SHOWN = 12


class Answering(Asking):
    """What of a session answers."""

    mode: Literal["text", "json", "markdown"]
    errors: Printer
    plan: Plan | None
    """The one that was shown last."""
    _answers: Printer
    _emitted: bool
    _given_name: str | None
    _started: float
    _workspace: Workspace | None

    def conclude(
        self, document: dict[str, Any], lines: list[Line], code: int, markdown: Callable[[], str] | None = None
    ) -> None:
        """Give the answer and end with this exit code; lines about a failure go to stderr."""
        if code and self.mode == "text":
            self.pause()
            self.errors.lines(lines)
        self.answer(document, [] if code else lines, markdown)
        if code:
            raise typer.Exit(code)

    def answer(self, document: dict[str, Any], lines: list[Line], markdown: Callable[[], str] | None = None) -> None:
        """Give the verb's answer: the document, the lines for people, or what makes Markdown of it."""
        self.pause()
        if self.mode == "text":
            self.printer.lines(lines)
        elif self.mode == "json":
            self._emit(document)
        else:
            assert markdown is not None  # a verb that has none does not take the word: options.Output
            self.write(markdown())

    def fail(self, error: GeusemakerError) -> int:
        """Tell an error; returns the exit code."""
        self.pause()
        if isinstance(error, DeclinedError):
            self.printer.line(error.state or "Nothing was changed.")  # that was the answer: no error
        else:
            error = self._tell(error)
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
        elif self.mode == "markdown" and not self._emitted:
            from geusemaker.cli.output.markdown.outcome import error_markdown

            self.write(error_markdown(error, self.verb, self.deployment, self.plan, _DIAGNOSTICS_SHOWN))
        return error.exit_code

    def _tell(self, error: GeusemakerError) -> GeusemakerError:
        """Write an error down, with the name that may have been meant; returns it with that."""
        from geusemaker.cli.output.plan import render_checks
        from geusemaker.cli.output.result import render_error

        if isinstance(error, DeploymentNotFoundError):
            error = self._with_those_there_are(error)
        details = error.diagnostics[-_DIAGNOSTICS_SHOWN:] if isinstance(error, EngineError) else ()
        self.errors.lines(render_error(error, details))
        if isinstance(error, RefusedError) and (self.plan is None or self.plan.checks != error.checks):
            self.errors.lines(render_checks(error.checks, passed=self.verbose))
        return error

    def write(self, text: str) -> bool:
        """Write a part of an answer that goes on; False once nobody reads it any more."""
        self._emitted = True
        self._answers.write(text)
        return self._answers.lost is None

    def _emit(self, document: dict[str, Any]) -> None:
        self._emitted = True
        self._answers.write(json.dumps(document, indent=2) + "\n")

    def tell_lost_output(self) -> None:
        """Say that the output could not be written; a reader that went away knows."""
        lost = self._answers.lost
        if lost is not None and not isinstance(lost, BrokenPipeError):
            self.errors.line(f"warning: The output could not be written ({lost.strerror or lost}).", "yellow")

    def _with_those_there_are(self, error: DeploymentNotFoundError) -> DeploymentNotFoundError:
        """The error, with where it was looked and what is there."""
        if self._workspace is None or self._given_name is None:
            return error
        try:
            names = self._workspace.names()
        except GeusemakerError:
            return error  # What is there is a courtesy; the error that led here is the one to tell.
        home, there = quoted(self._workspace.home), ", ".join(names) or "no deployment"
        where = f"Looked in the workspace {home}, which has {there}."
        near = nearest(self._given_name, names)
        suggestion = f"Did you mean {near}? `geusemaker status {near}` shows how it is." if near is not None else ""
        return error.but(state=f"{error.state} {where}".strip(), next_step=suggestion or error.next_step)
