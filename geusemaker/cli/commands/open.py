"""``geusemaker open``: a service's page in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.commands.tunnel import LocalPort
from geusemaker.cli.ctrl_c import until_pressed
from geusemaker.cli.session import session
from geusemaker.errors import HostError

EXAMPLES = ("geusemaker open prod", "geusemaker open prod qdrant --no-browser")


def open_service(
    name: options.Name = None,
    service: Annotated[
        str | None,
        typer.Argument(metavar="SERVICE", help="Default: n8n, or where there is none the first that speaks HTTP."),
    ] = None,
    port: LocalPort = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser where there is one; else tell the address.")
    ] = True,
    output: options.Output = "text",
) -> None:
    """Open a service in the browser, through a tunnel that stands until Ctrl-C.

    Where there is no browser, the address is told. Exit code: 0 after Ctrl-C.
    """
    with session("open", output, name=name) as current:
        from geusemaker.cli.browser import show
        from geusemaker.cli.output.reach import render_tunnel, told_on
        from geusemaker.cli.output.text import line

        deployment = current.open_deployment(name, quiet=True)
        current.pause()
        with (
            until_pressed(),
            deployment.open(service, port=port, on_event=told_on(current.errors)) as addresses,
        ):
            [(opened, address)] = addresses.items()
            if opened in addresses.silent:
                raise HostError(
                    f"{opened} does not answer on the instance, so there is nothing to open.",
                    code="refused",
                    next_step=f"`geusemaker status {deployment.name}` says why.",
                )
            shown = browser and output == "text" and show(address)
            lines = render_tunnel(deployment.name, addresses)
            lines.append(line("It opens in your browser." if shown else f"Open {address} in a browser here."))
            current.answer({"deployment": deployment.name, "addresses": dict(addresses)}, lines)
            addresses.wait()
        current.errors.line("The tunnel is closed.")
