"""What differs between two versions, for people and for a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.plan import render_change, render_resources
from geusemaker.cli.output.text import Line, Row, columns, count, line, one_line, plain, printable, short_digest

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


def comparison_markdown(found: Comparison) -> str:
    """The same as a piece of Markdown: a table of the config's changes, and the compose file's diff."""
    parts = [f"### {found.deployment}: {found.old} → {found.new}"]
    if not found.changes and not found.compose:
        return "\n\n".join([*parts, "Nothing differs.", *filter(None, [one_line(found.note)])]) + "\n"
    if found.changes:
        rows = [f"| {_cell(what)} | {_cell(step)} |" for what, step in map(render_change, found.changes)]
        parts.append("\n".join([f"| | {found.old} → {found.new} |", "|---|---|", *rows]))
    if found.resources:
        parts.append(_fenced("", [plain(row).strip() for row in render_resources(found.resources)]))
    if found.compose:
        parts.append(_fenced("diff", [*map(printable, found.compose)]))
    if found.note:
        parts.append(one_line(found.note))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """A text in a table: what would end the cell, or begin a tag, is written as a character."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")


def _fenced(language: str, lines: list[str]) -> str:
    """Lines as they are, in a fence that none of them closes."""
    fence = "```"
    while any(fence in text for text in lines):
        fence += "`"
    return "\n".join([fence + language, *lines, fence])
