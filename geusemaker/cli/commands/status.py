"""``geusemaker status``: the health of a deployment, now."""

from __future__ import annotations

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker status prod", "geusemaker status prod --output json")


def status(name: options.Name = None, output: options.Output = "text") -> None:
    """Tell how a deployment is right now, and what to do if it is not well.

    Exit code: 0 healthy; 7 looked, and not healthy; 8 could not be judged.
    """
    with session("status", output, name=name) as current:
        from geusemaker.cli.output.document import inspection_document
        from geusemaker.cli.output.inspection import render_status

        inspection = current.open_deployment(name, quiet=True).status()
        code = inspection.exit_code
        current.answer(inspection_document(inspection) | {"exit_code": code}, render_status(inspection))
        if code:
            raise typer.Exit(code)
