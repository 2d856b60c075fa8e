"""What a rehearsal came to, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Line, count, duration, line, size

if TYPE_CHECKING:
    from geusemaker.models.result import RehearsalResult, RehearsedStart


def render_rehearsal(result: RehearsalResult) -> list[Line]:
    """What was tried, how it went, and the way back as it was measured."""
    took = f" ({duration(result.duration_seconds)})"
    text = f"{result.deployment}: rehearsed on a copy of {size(result.copied_bytes)}, and removed again"
    return [[(text, "bold green"), (took, "dim")], *_found(result)]


def render_failed_rehearsal(result: RehearsalResult) -> list[Line]:
    """As above, of images that do not work on the copy; with their last words."""
    lines: list[Line] = [[("error: ", "bold red"), (result.error_message or "", "")], *_found(result)]
    for name, one in result.ahead.items():
        lines += [line(f"    {name}: {text}", "dim") for text in one.logs[-8:]]
    return [*lines, *([line(f"next: {result.next_step}")] if result.next_step else [])]


def _found(result: RehearsalResult) -> list[Line]:
    lines = [line(f"    {_start(name, one)}") for name, one in result.ahead.items()]
    if result.migrations:
        within = f", the last one {duration(result.migration_seconds)} after its start"
        lines.append(line(f"    {count(len(result.migrations), 'migration')} ran{within}"))
    lines += [line(f"    back on that: {_start(name, one)}") for name, one in result.back.items()]
    if not result.isolated:
        lines.append(line("    it was not isolated: here all services share this machine's network"))
    if result.way_back is not None:
        lines.append(line(f"Way back: {_way(result)}"))
    return lines


def _start(name: str, one: RehearsedStart) -> str:
    if one.works:
        return f"{one.image} works on it, ready after {duration(one.seconds)}"
    return f"{one.image} does not work on it: {one.problem} (after {duration(one.seconds)})"


def _way(result: RehearsalResult) -> str:
    way = result.way_back
    assert way is not None
    typed = " then ".join(f"`{command}`" for command in way.commands)
    kinds = {"rollback": typed, "with-data": typed, "none": "none", "unknown": "unknown"}
    why = f" ({'; '.join(way.because)})" if way.because else ""
    return f"to v{way.to_version}: {kinds[way.kind]}, measured{why}"
