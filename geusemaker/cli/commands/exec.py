"""``geusemaker exec``: a program in a service's container."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.commands.ssh import LOST_CODE
from geusemaker.cli.help import COMMAND
from geusemaker.cli.session import session
from geusemaker.errors import HostError, InvalidInputError

EXAMPLES = ("geusemaker exec prod postgresql -- psql -U geusemaker -d n8n", "geusemaker exec prod n8n -- env")


def exec_in_service(
    context: typer.Context,
    name: options.Name = None,
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Whose container.")] = None,
) -> None:
    """Run a program in a service's container, with a terminal where there is one here.

    The words after -- are the program and its arguments; no shell reads them. Exit code: the program's own (126 and 127
    as of docker exec); 255 where the instance cannot be reached or the connection is lost.
    """
    with session("exec", "text", name=name) as current:
        words = context.meta[COMMAND]
        if service is None:  # NAME may be left out
            name, service = None, name
        if service is None or not words:
            raise InvalidInputError(
                "exec needs a service and, after --, a command." if not words else "exec needs a service.",
                next_step="Write it as `geusemaker exec prod n8n -- env`.",
                state="",
            )
        deployment = current.open_deployment(name, quiet=True)
        current.pause()
        try:
            result = deployment.exec(service, words, attach=True)
        except HostError as error:
            raise error.but(exit_code=LOST_CODE) from error
        raise typer.Exit(result.exit_code)
