"""Progress of a running operation: live on a terminal, one plain line an event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from geusemaker.cli.output.steps import Steps
from geusemaker.cli.output.text import Line, Printer, columns, duration, line, printable, short_digest
from geusemaker.models import resource_types

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from geusemaker.models.plan import Event

Clock = Callable[[], float]

_GOOD = {"healthy", "running", "unchanged", "pulled", "done"}
_BAD = {"unhealthy", "exited", "failed", "restarting", "missing", "dead"}
_WRONG = {"failed", "restarting", "dead"}
"""What is no part of any plan, while an operation runs: that services end, or do not answer yet, is."""


def state_style(state: str) -> str:
    """The colour of a state: green when all is well, red when it is not, yellow in between."""
    return "green" if state in _GOOD else "red" if state in _BAD else "yellow"


def progress_style(state: str) -> str:
    """The colour of a state while an operation runs, in which much is planned that would be wrong at rest."""
    return "green" if state in _GOOD else "red" if state in _WRONG else "cyan"


def resource_step(event: Event) -> str:
    """A resource's step in words; empty for the ends of our own commands, whose phases and services say more."""
    if event.data.get("type") == resource_types.REMOTE_COMMAND and event.state != "failed":
        return f"{event.name} runs on the instance" if event.state == "started" else ""
    op, kind = event.data.get("op"), str(event.data.get("type", "")).rpartition(":")[2]
    # Names alone do not tell resources apart: the instance's role is called ``instance`` as well.
    return " ".join(word for word in (kind, event.name, op, event.state) if word)


class Progress(Protocol):
    """What shows events while an operation runs."""

    def event(self, event: Event) -> None:
        """Show one event. ``plan`` events are not for it."""

    def pause(self) -> None:
        """Leave the terminal to others (a question, the result); the next event takes it up again."""


class LineProgress:
    """One plain line an event, with the seconds since the start: ``[  3.2s] apply: n8n starting``.

    The engine's steps are grouped.
    """

    def __init__(self, printer: Printer, clock: Clock = time.monotonic) -> None:
        self._printer = printer
        self._clock = clock
        self._start = clock()
        self._phase = ""
        self._running: list[str] = []
        """The phases that have begun and not ended, the innermost last."""
        self._last = ""
        self._steps = Steps(clock)

    def event(self, event: Event) -> None:
        """Write the event's line, unless it says the same as the line before."""
        if self._steps.takes(event):
            if self._steps.due:
                self.pause()
            return
        self.pause()
        self._write(self._text(event))

    def pause(self) -> None:
        """Write the steps that wait for others."""
        if text := self._steps.told():
            self._write(f"{self._phase}: {text}" if self._phase else text)

    def _write(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            self._printer.line(f"[{self._clock() - self._start:5.1f}s] {short_digest(text)}")

    def _text(self, event: Event) -> str:
        message = f" ({event.message})" if event.message else ""
        if event.kind == "phase":
            self._phase = event.name
            if event.state == "started":
                self._running.append(event.name)
                return event.name + (f": {event.message}" if event.message else "")
            self._running = self._running[:-1]
            self._phase = (self._running or [event.name])[-1]
            return f"{event.name}: {event.state}{message}"
        where = f"{self._phase}: " if self._phase else ""
        if event.kind == "service":
            return f"{where}{event.name} {event.state}{message}"
        if event.kind == "resource":
            step = resource_step(event)
            return f"{where}{step}{message}" if step else ""
        if event.kind == "warning":
            return f"warning: {event.message}"
        return event.message


class LiveProgress:
    """The running phase with its services, redrawn in place; finished phases scroll up as plain lines."""

    def __init__(self, printer: Printer, clock: Clock = time.monotonic) -> None:
        self._printer = printer
        self._clock = clock
        self._live: Live | None = None
        self._phase = ""
        self._phase_start = clock()
        self._running: list[tuple[str, float]] = []
        """The phases that have begun and not ended, with their start, the innermost last."""
        self._start = clock()
        self._detail = ""
        self._engine: dict[str, str] = {}
        """Resource → what the engine does to it now."""
        self._ended = 0
        """So many resources the engine has done with in this phase."""
        self._services: dict[str, tuple[str, str, float]] = {}

    def event(self, event: Event) -> None:
        """Take the event into the picture."""
        handler = {"phase": self._on_phase, "service": self._on_service, "resource": self._on_resource}.get(event.kind)
        if handler is not None:
            handler(event)
        else:
            self._above(event)
        if self._phase:
            self._show()

    def pause(self) -> None:
        """Take the live region off the screen."""
        if self._live is not None:
            live, self._live = self._live, None
            with self._printer.steadily():
                live.stop()

    def _on_phase(self, event: Event) -> None:
        if event.state == "started":
            self._phase, self._phase_start, self._detail = event.name, self._clock(), event.message
            self._running.append((self._phase, self._phase_start))
            self._services, self._engine, self._ended = {}, {}, 0
            return
        self._running = self._running[:-1]
        took = duration(self._clock() - self._phase_start) if event.name == self._phase else ""
        mark, style = ("✓", "green") if event.state == "done" else ("✗", "bold red")
        self.pause()
        self._phase, self._detail = "", ""
        self._printer.line(
            [(f"  {mark} ", style), (f"{event.name:<10}", ""), (f"{took:>7}  ", "dim"), (event.message, "")]
        )
        self._printer.lines(self._tree(self._service_rows()))
        self._services, self._engine, self._ended = {}, {}, 0
        if self._running:
            self._phase, self._phase_start = self._running[-1]

    def _on_service(self, event: Event) -> None:
        known = self._services.get(event.name)
        since = known[2] if known is not None and known[0] == event.state else self._clock()
        self._services[event.name] = (event.state, short_digest(event.message), since)

    def _on_resource(self, event: Event) -> None:
        kind = event.data.get("type")
        if kind and kind != resource_types.REMOTE_COMMAND and event.state != "failed":
            name = f"{str(kind).rpartition(':')[2]} {event.name}"
            self._engine.pop(name, None)
            if event.state == "done":
                self._ended += 1
            else:
                self._engine[name] = f"{name} ({event.data.get('op')})"
        elif step := resource_step(event):
            self._detail = step + (f" ({event.message})" if event.message else "")

    def _above(self, event: Event) -> None:
        self.pause()
        if event.kind == "warning":
            self._printer.line([("  warning: ", "yellow"), (event.message, "")])
        elif event.message:
            self._printer.line(f"  {event.message}", "dim")

    def _service_rows(self, now: float | None = None) -> list[list[tuple[str, str]]]:
        """A row a service; with ``now``, for how long it has been in its state."""
        return [
            [
                (name, ""),
                (state, progress_style(state)),
                *([(duration(now - since), "dim")] if now is not None else []),
                (message, "dim"),
            ]
            for name, (state, message, since) in list(self._services.items())  # events come from other threads
        ]

    def _engine_row(self) -> list[list[tuple[str, str]]]:
        """What the engine is at, in one row; none where nothing of it was told."""
        engine = list(self._engine.values())
        if not engine and not self._ended:
            return []
        more = f" and {len(engine) - 1} more" if len(engine) > 1 else ""
        now = f"{engine[-1]}{more}" if engine else ""
        return [[("engine", ""), (f"{self._ended} done", "cyan"), ("", ""), (now, "dim")]]

    @staticmethod
    def _tree(rows: list[list[tuple[str, str]]]) -> list[Line]:
        """The rows below a phase, as the branches of a tree."""
        aligned = columns(rows)
        return [
            [("      └ " if index == len(aligned) - 1 else "      ├ ", "dim"), *row]
            for index, row in enumerate(aligned)
        ]

    def frame(self) -> list[Line]:
        """What is on the screen now."""
        now = self._clock()
        spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * 10) % 10]
        lines: list[Line] = [
            [
                (f"  {spinner} ", "cyan"),
                (f"{self._phase:<10}", "bold"),
                (f"{duration(now - self._phase_start):>7}  ", "dim"),
                (self._detail, ""),
            ]
        ]
        lines += self._tree([*self._engine_row(), *self._service_rows(now)])
        lines.append(line(f"    {duration(now - self._start)} in all", "dim"))
        return lines

    def _render(self) -> Text:
        from rich.text import Text

        width = max(self._printer.console.width - 1, 20)
        text = Text(no_wrap=True, overflow="ellipsis")
        for index, pieces in enumerate(self.frame()):
            row = Text.assemble(*((printable(piece).replace("\n", " "), style) for piece, style in pieces))
            row.truncate(width, overflow="ellipsis")
            text.append("\n" if index else "")
            text.append_text(row)
        return text

    def _show(self) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._printer.console,
                get_renderable=self._render,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            with self._printer.steadily():
                self._live.start(refresh=True)


def progress_on(printer: Printer, clock: Clock = time.monotonic) -> Progress:
    """The progress that fits the printer's stream."""
    return LiveProgress(printer, clock) if printer.terminal else LineProgress(printer, clock)
