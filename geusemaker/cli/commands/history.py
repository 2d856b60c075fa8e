"""``geusemaker history``: the same view as ``inspect --show-history``."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.commands.inspect import All, show

EXAMPLES = ("geusemaker history prod", "geusemaker history prod --all")


def history(name: options.Name = None, show_all: All = False, output: options.Output = "text") -> None:
    """Show all versions, rollbacks and restores: when, who, what changed, and how it went."""
    show("history", name, output, history=True, show_all=show_all)
