"""``geusemaker checkpoints``: the copies of the data that can be restored."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker checkpoints prod", "geusemaker checkpoints prod --output json")


def checkpoints(name: options.Name = None, output: options.Output = "text") -> None:
    """Show the copies of the data that were made before changes, and what is in them."""
    with session("checkpoints", output, name=name) as current:
        from geusemaker.cli.output.restore import render_checkpoints

        found = current.open_deployment(name, quiet=True).checkpoints()
        current.remember_checkpoints(checkpoint.checkpoint for checkpoint in found.checkpoints)
        current.answer(found.model_dump(mode="json"), render_checkpoints(found))
