"""``geusemaker ssh``: a shell, or a command, on a deployment's instance."""

from __future__ import annotations

import typer

from geusemaker.cli import options
from geusemaker.cli.help import COMMAND
from geusemaker.cli.session import session
from geusemaker.errors import HostError

EXAMPLES = ("geusemaker ssh prod", "geusemaker ssh prod -- uname -a")

LOST_CODE = 255
"""What ``ssh`` itself ends with when it does not get there; the command's own codes are the others."""


def ssh(context: typer.Context, name: options.Name = None) -> None:
    """Log in to the instance, or run a command there.

    The words after -- are one line for its shell, as with ssh. The key is that of the deployment's secrets and is in no
    file; only the instance's known host key is accepted. Exit code: the command's own; 255 where the instance cannot be
    reached or the connection is lost.
    """
    with session("ssh", "text", name=name) as current:
        deployment = current.open_deployment(name, quiet=True)
        current.pause()
        try:
            result = deployment.ssh(" ".join(context.meta[COMMAND]), attach=True)
        except HostError as error:
            raise error.but(exit_code=LOST_CODE) from error
        raise typer.Exit(result.exit_code)
