"""``geusemaker pin`` and ``geusemaker unpin``: whether a version stays ready to go back to however old it gets."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.cli.versions import name_and_version

EXAMPLES = ("geusemaker pin prod 2", "geusemaker pin prod 2 --reason 'before the migration'")
UNPIN_EXAMPLES = ("geusemaker unpin prod 2", "geusemaker unpin prod 2 --output json")


_Version = Annotated[str | None, typer.Argument(metavar="vN", help="The version, as the history shows it: 2 or v2.")]


def pin(
    name: options.Name = None,
    version: _Version = None,
    reason: options.Reason = "",
    output: options.Output = "text",
) -> None:
    """Keep a version ready to go back to: it is never archived, and its images and checkpoint stay."""
    with session("pin", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        name, number = name_and_version(current, (name, version))
        result = current.open_deployment(name, quiet=True).pin(number, reason=reason)
        undo = f"geusemaker unpin {result.deployment} {number}"
        current.answer(result.model_dump(mode="json"), render_mark(result, undo))


def unpin(name: options.Name = None, version: _Version = None, output: options.Output = "text") -> None:
    """Let a pinned version go: past retention it is archived like any other."""
    with session("unpin", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        name, number = name_and_version(current, (name, version))
        result = current.open_deployment(name, quiet=True).unpin(number)
        undo = f"geusemaker pin {result.deployment} {number}"
        current.answer(result.model_dump(mode="json"), render_mark(result, undo))
