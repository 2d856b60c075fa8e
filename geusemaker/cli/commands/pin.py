"""``geusemaker pin`` and ``geusemaker unpin``: whether a version stays ready to go back to however old it gets."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker pin prod 2", "geusemaker pin prod 2 --reason 'before the migration'")
UNPIN_EXAMPLES = ("geusemaker unpin prod 2", "geusemaker unpin prod 2 --output json")


def pin(
    name: options.ThisName,
    version: options.ThisVersion,
    reason: options.Reason = "",
    output: options.Output = "text",
) -> None:
    """Keep a version ready to go back to: it is never archived, and its images and checkpoint stay."""
    with session("pin", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        result = current.open_deployment(name, quiet=True).pin(version, reason=reason)
        current.answer(result.model_dump(mode="json"), render_mark(result))


def unpin(name: options.ThisName, version: options.ThisVersion, output: options.Output = "text") -> None:
    """Let a pinned version go: past retention it is archived like any other."""
    with session("unpin", output, name=name) as current:
        from geusemaker.cli.output.result import render_mark

        result = current.open_deployment(name, quiet=True).unpin(version)
        current.answer(result.model_dump(mode="json"), render_mark(result))
