"""``geusemaker mark``: says that a version is bad, or good after all."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.cli.versions import name_and_version
from geusemaker.errors import InvalidInputError

EXAMPLES = (
    "geusemaker mark prod 3 bad --reason 'loses webhooks'",
    "geusemaker mark prod 3 good",
)


_VERDICTS: Final = ("bad", "good")


def mark(
    name: options.Name = None,
    version: Annotated[
        str | None, typer.Argument(metavar="vN", help="The version, as the history shows it: 2 or v2.")
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Argument(metavar="bad|good", help="bad: no rollback goes there unless it is told to. good: it may."),
    ] = None,
    reason: options.Reason = "",
    output: options.Output = "text",
) -> None:
    """Mark a version bad, so that no rollback goes there by itself; or good again. Changes nothing that runs."""
    with session("mark", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        *words, said = [word for word in (name, version, verdict) if word is not None] or [""]
        if said not in _VERDICTS:
            raise InvalidInputError(
                f"{said!r} is no verdict." if said else "Neither a version nor a verdict is given.",
                next_step="Say bad or good behind the version, as in `geusemaker mark prod v3 bad`.",
            )
        name, number = name_and_version(current, words)
        deployment = current.open_deployment(name, quiet=True)
        result = deployment.mark(number, bad=said == "bad", reason=reason)
        undo = f"geusemaker mark {result.deployment} {number} good"
        if said == "good":
            undo = f"geusemaker mark {result.deployment} {number} bad"
        current.answer(result.model_dump(mode="json"), render_mark(result, undo))
