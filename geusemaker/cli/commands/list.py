"""``geusemaker list``: the deployments of this workspace."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker list", "geusemaker list --output json")


def list_deployments(output: options.Output = "text") -> None:
    """List the deployments of this workspace."""
    with session("list", output) as current:
        from geusemaker.cli.output.inspection import render_list

        deployments = current.open_readable_workspace().deployments()
        document = {"deployments": [summary.model_dump(mode="json") for summary in deployments]}
        current.answer(document, render_list(deployments))
