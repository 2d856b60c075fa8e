"""``geusemaker status``: the health of a deployment, now."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker status prod", "geusemaker status prod --output json")


def status(name: options.Name = None, output: options.Output = "text") -> None:
    """Tell how a deployment is right now, and what to do if it is not well."""
    with session("status", output, name=name) as current:
        from geusemaker.cli.output.document import inspection_document
        from geusemaker.cli.output.inspection import render_status

        inspection = current.open_deployment(name, quiet=True).status()
        current.answer(inspection_document(inspection), render_status(inspection))
