"""What differs between two versions, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.plan import render_change, render_resources
from geusemaker.cli.output.text import Line, Row, columns, count, line, short_digest

if TYPE_CHECKING:
    from geusemaker.models.comparison import Comparison

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def render_comparison(found: Comparison) -> list[Line]:
    """Config, resources and compose file, as far as they differ."""
    lines: list[Line] = [line(f"{found.deployment}: {found.old} → {found.new}", "bold")]
    if not found.changes and not found.compose:
        return [*lines, line("    nothing differs"), *_note(found)]
    if found.same:
        lines.append(line("    the same system: only settings of geusemaker's own differ"))
    rows = [render_change(change) for change in found.changes]
    if rows:
        lines += [line(), line("Config", "bold"), *columns([((what, ""), (step, "")) for what, step in rows], indent=4)]
    if found.resources:
        lines += [line(), line("Resources", "bold"), *render_resources(found.resources)]
    if found.services:
        lines.append(line(f"        {count(len(found.services), 'container')}: {', '.join(found.services)}", "dim"))
    if found.compose:
        lines += [line(), line("Compose file", "bold")]
        # Not wrapped: what goes on in a next line would stand there without its sign.
        marked = [(text, _STYLES.get(text[:1], "")) for text in map(short_digest, found.compose)]
        lines += [Row([("    ", ""), piece], None) for piece in marked]
    return [*lines, *_note(found)]


def _note(found: Comparison) -> list[Line]:
    return [line(), line(found.note)] if found.note else []
