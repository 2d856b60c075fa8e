"""``geusemaker tunnel``: the services of a deployment, on ports of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.ctrl_c import until_pressed
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker tunnel prod n8n qdrant", "geusemaker tunnel prod postgresql --port 15432")

LocalPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        metavar="PORT",
        help="The port of this machine, for one service. Default: the service's own, or another where that is taken.",
    ),
]


def tunnel(
    name: options.Name = None,
    services: Annotated[list[str] | None, typer.Argument(metavar="SERVICE…", help="Default: all of them.")] = None,
    port: LocalPort = None,
    output: options.Output = "text",
) -> None:
    """Lead ports of this machine to the services, until Ctrl-C.

    They listen on the instance's loopback only. A connection that is lost is made again. Whoever is logged in to this
    machine can use the ports meanwhile. Exit code: 0 after Ctrl-C.
    """
    with session("tunnel", output, name=name) as current:
        from geusemaker.cli.output.reach import render_tunnel, told_on
        from geusemaker.cli.output.text import line

        deployment = current.open_deployment(name, quiet=True)
        current.pause()
        with (
            until_pressed(),
            deployment.tunnel(*services or (), port=port, on_event=told_on(current.errors)) as addresses,
        ):
            lines = render_tunnel(deployment.name, addresses)
            if addresses.silent:
                lines.append(line(f"next: `geusemaker status {deployment.name}` says why a service is silent."))
            document = {"deployment": deployment.name, "addresses": dict(addresses), "silent": addresses.silent}
            current.answer(document, lines)
            addresses.wait()
        current.errors.line("The tunnel is closed.")
