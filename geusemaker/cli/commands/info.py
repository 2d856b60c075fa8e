"""``geusemaker info``: how to reach a deployment."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker info prod", "geusemaker info prod --output json")


def info(name: options.Name = None, output: options.Output = "text") -> None:
    """Show addresses, the ssh command, and how to read the generated credentials."""
    with session("info", output, name=name) as current:
        from geusemaker.cli.output.inspection import render_info

        found = current.open_deployment(name, quiet=True).info()
        current.answer(found.model_dump(mode="json"), render_info(found))
