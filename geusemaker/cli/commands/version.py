"""``geusemaker version``: the same as ``--version``, and as a document."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker version", "geusemaker version --output json")


def show_version(output: options.Output = "text") -> None:
    """Show the version."""
    with session("version", output) as current:
        from geusemaker._version import __version__

        current.answer({"version": __version__}, [[(f"geusemaker {__version__}", "")]])
