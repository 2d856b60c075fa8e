"""``geusemaker doctor``: what this machine has and lacks."""

from __future__ import annotations

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker doctor", "geusemaker doctor --output json")


def doctor(output: options.Output = "text") -> None:
    """Tell what was found on this machine, what is missing and how to get it."""
    with session("doctor", output) as current:
        from geusemaker.cli.output.inspection import render_doctor

        report = current.open_workspace().doctor()
        current.answer(report.model_dump(mode="json"), render_doctor(report))
        if not report.ok:
            raise typer.Exit(1)
