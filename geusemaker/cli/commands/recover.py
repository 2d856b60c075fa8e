"""``geusemaker recover``: the way out of an interrupted or failed operation."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker recover prod --dry-run", "geusemaker recover prod --reboot --yes")


def recover(
    name: options.Name = None,
    owner_is_gone: Annotated[
        bool,
        typer.Option(
            "--owner-is-gone",
            help="The killed operation ran on another machine, and you know that its process is gone.",
        ),
    ] = False,
    reboot: Annotated[
        bool,
        typer.Option("--reboot", help="Stop and start the instance if it runs and does not answer over SSH."),
    ] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Repair what an interrupted or failed operation left; does nothing when there is nothing to repair."""
    with session("recover", output, name=name, yes=yes) as current:
        deployment = current.open_deployment(name, dry_run=dry_run)
        current.finish(deployment.recover(current.confirm, current.on_event, owner_is_gone, reboot, dry_run))
