"""A tunnel and what becomes of it, for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Line, Printer, columns, line

if TYPE_CHECKING:
    from geusemaker.models.plan import Event


def render_tunnel(name: str, addresses: Mapping[str, str]) -> list[Line]:
    """Where each service is on this machine."""
    lines: list[Line] = [line(f"{name}: the tunnel stands until you press Ctrl-C", "bold green")]
    return lines + columns([[(service, ""), (address, "bold")] for service, address in addresses.items()], indent=4)


def told_on(printer: Printer) -> Callable[[Event], None]:
    """What shows the events of something that lasts: a line each, with the time of day."""

    def tell(event: Event) -> None:
        if event.kind in ("note", "warning"):
            style = "yellow" if event.kind == "warning" else ""
            printer.line([(f"{time.strftime('%H:%M:%S')}  ", "dim"), (event.message, style)])

    return tell
