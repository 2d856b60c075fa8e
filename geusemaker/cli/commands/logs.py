"""``geusemaker logs``: what the services wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker logs prod n8n", "geusemaker logs prod --lines 20")


def logs(
    name: options.Name = None,
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Default: all of them.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, metavar="N", help="Last lines of each service.")] = 100,
    output: options.Output = "text",
) -> None:
    """Show the last log lines of the services."""
    with session("logs", output, name=name) as current:
        from geusemaker.cli.output.text import printable
        from geusemaker.cli.requests import parse_service

        wanted = parse_service(service) if service is not None else None
        deployment = current.open_deployment(name, quiet=True)
        collected: list[dict[str, str]] = []
        for source, text in deployment.logs(wanted, lines):
            if output == "json":
                collected.append({"service": source, "line": text})
            else:
                current.printer.write(printable(text if wanted else f"{source:<10} | {text}").rstrip() + "\n")
        current.answer({"deployment": deployment.name, "lines": collected}, [])
