"""What differs between two versions, for a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.markdown.pieces import document, fenced, heading, prose, table
from geusemaker.cli.output.markdown.plan import resources_markdown
from geusemaker.cli.output.plan import render_change

if TYPE_CHECKING:
    from geusemaker.models.comparison import Comparison


def comparison_markdown(found: Comparison) -> str:
    """Config, resources and compose file, as far as they differ."""
    title = heading(f"{found.deployment}: {found.old} → {found.new}")
    if not found.changes and not found.compose:
        return document(title, "Nothing differs.", prose(found.note))
    return document(
        title,
        table(("config", f"{found.old} → {found.new}"), map(render_change, found.changes)),
        resources_markdown(found.resources),
        fenced(found.compose, "diff") if found.compose else "",
        prose(found.note),
    )
