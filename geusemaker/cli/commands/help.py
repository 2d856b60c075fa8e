"""``geusemaker help``: what ``--help`` shows, for those who type it in front."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = ("geusemaker help", "geusemaker help rollback")


def show_help(
    words: Annotated[list[str] | None, typer.Argument(metavar="VERB", help="One verb; without it all of them.")] = None,
) -> None:
    """Show all verbs, or one of them; the same as --help behind it."""
    from geusemaker.cli.app import app

    app([*(words or ()), "--help"])
