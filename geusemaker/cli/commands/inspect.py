"""``geusemaker inspect`` and ``geusemaker history``: what is there, and how it came about."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import OutputMode, session

All = Annotated[bool, typer.Option("--all", help="With archived versions and all rollbacks.")]

EXAMPLES = ("geusemaker inspect prod", "geusemaker inspect prod --show-history --output json")


def inspect(
    name: options.Name = None,
    show_history: Annotated[
        bool, typer.Option("--show-history", help="All versions and rollbacks, as history shows them.")
    ] = False,
    show_all: All = False,
    output: options.Output = "text",
) -> None:
    """Show a deployment: instance, data, services, settings, and its history if asked."""
    show("inspect", name, output, history=show_history, show_all=show_all)


def show(verb: str, name: str | None, output: OutputMode, *, history: bool, show_all: bool) -> None:
    """The view that ``inspect`` and ``history`` share."""
    with session(verb, output, name=name) as current:
        from geusemaker.cli.output.document import inspection_document
        from geusemaker.cli.output.history import render_history
        from geusemaker.cli.output.inspection import render_inspection

        inspection = current.open_deployment(name, quiet=True).inspect(show_history=history)
        lines = [] if verb == "history" else render_inspection(inspection)
        if history:
            lines += [[], *render_history(inspection, show_all)] if lines else render_history(inspection, show_all)
        current.answer(inspection_document(inspection), lines)
