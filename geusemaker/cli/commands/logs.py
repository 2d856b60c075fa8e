"""``geusemaker logs``: what the services wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.ctrl_c import until_pressed
from geusemaker.cli.session import Session, session

if TYPE_CHECKING:
    from geusemaker import LogLine

EXAMPLES = ("geusemaker logs prod n8n --follow", "geusemaker logs prod --since 10m --grep error")


def logs(
    name: options.Name = None,
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Default: all of them.")] = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=1,
            metavar="N",
            help="The last lines of each service. Default: 100; with --since all.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only later ones: since a time, or for so long (10m, 2h, 1d)."),
    ] = None,
    grep: Annotated[
        str, typer.Option("--grep", metavar="TEXT", help="Only those that hold this text, in whatever case.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those to come, until Ctrl-C.")] = False,
    output: options.Output = "text",
) -> None:
    """Show what the services wrote, in your time zone.

    With --follow it goes on until Ctrl-C (exit code 0), beyond restarts of containers and lost connections, which are
    told on stderr; --output json is one document a line then.
    """
    with session("logs", output, name=name) as current:
        from geusemaker.cli.output.reach import told_on
        from geusemaker.cli.requests import parse_service, parse_since

        wanted = parse_service(service) if service is not None else None
        start = parse_since(since) if since is not None else None
        deployment = current.open_deployment(name, quiet=True)
        current.pause()
        found = deployment.logs(wanted, lines, start, grep, follow, told_on(current.errors))
        if output == "json" and not follow:
            current.answer({"deployment": deployment.name, "lines": [_document(line) for line in found]}, [])
            return
        with until_pressed() if follow else nullcontext():
            _show(current, found, with_service=wanted is None)


def _show(current: Session, found: Iterable[LogLine], *, with_service: bool) -> None:
    from geusemaker.cli.output.text import instant, printable

    for line in found:
        if current.mode == "json":
            text = json.dumps(_document(line))
        else:
            source = f"{line.service:<10} | " if with_service else ""
            text = printable(f"{instant(line.time)}  {source}{line.line}").rstrip()
        if not current.write(text + "\n"):
            return  # who read it is gone


def _document(line: LogLine) -> dict[str, str | None]:
    return {"service": line.service, "time": line.time.isoformat() if line.time else None, "line": line.line}
