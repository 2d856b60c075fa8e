"""``geusemaker inspect`` and ``geusemaker history``: what is there, and how it came about."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import OutputMode, session
from geusemaker.cli.versions import name_and_versions

All = Annotated[bool, typer.Option("--all", help="With archived versions, and each failed attempt by itself.")]
AllColumns = Annotated[
    bool, typer.Option("--all-columns", help="The history as wide tables, with everything that is known of each.")
]

EXAMPLES = ("geusemaker inspect prod v2", "geusemaker inspect prod --show-history --output json")


def inspect(
    name: options.Name = None,
    version: Annotated[
        str | None, typer.Argument(metavar="vN", help="Show this version instead, and what a return to it would do.")
    ] = None,
    show_history: Annotated[
        bool, typer.Option("--show-history", help="All versions and rollbacks, as history shows them.")
    ] = False,
    show_all: All = False,
    all_columns: AllColumns = False,
    output: options.Output = "text",
) -> None:
    """Show a deployment: instance, data, services, settings, and its history if asked."""
    with session("inspect", output, name=name) as current:
        from geusemaker.cli.output.document import report_document
        from geusemaker.cli.output.version import render_version

        name, numbers = name_and_versions(current, (name, version), most=1)
        if numbers:
            report = current.open_deployment(name, quiet=True).inspect_version(numbers[0])
            current.answer(report_document(report), render_version(report))
            return
    show("inspect", name, output, history=show_history, show_all=show_all, all_columns=all_columns)


def show(verb: str, name: str | None, output: OutputMode, *, history: bool, show_all: bool, all_columns: bool) -> None:
    """The view that ``inspect`` and ``history`` share."""
    with session(verb, output, name=name) as current:
        from geusemaker.cli.output.document import inspection_document
        from geusemaker.cli.output.history import render_history
        from geusemaker.cli.output.inspection import render_inspection
        from geusemaker.cli.output.markdown.history import history_markdown

        inspection = current.open_deployment(name, quiet=True).inspect(show_history=history)
        current.remember(inspection)
        lines = [] if verb == "history" else render_inspection(inspection)
        if history:
            shown = render_history(inspection, show_all, all_columns=all_columns, width=current.printer.width)
            lines += [[], *shown] if lines else shown
        current.answer(
            inspection_document(inspection),
            lines,
            lambda: history_markdown(inspection, show_all, all_columns=all_columns),
        )
