"""``geusemaker backup``: a copy of all data, now."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = ("geusemaker backup prod", "geusemaker backup prod --list")


def backup(
    name: options.Name = None,
    show: Annotated[bool, typer.Option("--list", help="Make none: show the backups there are.")] = False,
    wait_lock: options.WaitLock = None,
    output: options.Output = "text",
) -> None:
    """Copy databases, collections and n8n's files while everything runs. An operation that begins meanwhile ends it."""
    with session("backup", output, name=name) as current:
        from geusemaker.cli.output.backup import render_backup, render_backups

        deployment = current.open_deployment(name, quiet=show, asks=False, wait_lock=wait_lock)
        if show:
            found = deployment.backups()
            current.answer(found.model_dump(mode="json"), render_backups(found))
            return
        result = deployment.backup(on_event=current.on_event)
        current.pause()
        current.conclude(result.model_dump(mode="json"), render_backup(result), result.exit_code)
