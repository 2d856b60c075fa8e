"""``geusemaker mark``: says that a version is bad, or good after all."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = (
    "geusemaker mark prod 3 bad --reason 'loses webhooks'",
    "geusemaker mark prod 3 good",
)


def mark(
    name: options.ThisName,
    version: options.ThisVersion,
    verdict: Annotated[
        Literal["bad", "good"], typer.Argument(help="bad: no rollback goes there unless it is told to. good: it may.")
    ],
    reason: options.Reason = "",
    output: options.Output = "text",
) -> None:
    """Mark a version bad, so that no rollback goes there by itself; or good again. Changes nothing that runs."""
    with session("mark", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        deployment = current.open_deployment(name, quiet=True)
        result = deployment.mark(version, bad=verdict == "bad", reason=reason)
        current.answer(result.model_dump(mode="json"), render_mark(result))
