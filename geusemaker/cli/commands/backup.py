"""``geusemaker backup``: a copy of all data, now."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.errors import InvalidInputError

EXAMPLES = ("geusemaker backup prod", "geusemaker backup prod --every 24h --keep 7")

_KEEP = 7


def backup(
    name: options.Name = None,
    show: Annotated[bool, typer.Option("--list", help="Make none: show the backups there are.")] = False,
    every: Annotated[
        str | None,
        typer.Option(
            "--every", metavar="TIME|off", help="Make none now: the instance takes one so often (24h, 7d) by itself."
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=1, help="With --every: the newest N of those stay. Default: 7."),
    ] = None,
    wait_lock: options.WaitLock = None,
    output: options.Output = "text",
) -> None:
    """Copy databases, collections and n8n's files while everything runs. An operation that begins meanwhile ends it."""
    with session("backup", output, name=name) as current:
        from geusemaker.cli import requests
        from geusemaker.cli.output.backup import render_backup, render_backups, render_schedule

        if keep is not None and every in (None, "off"):
            raise InvalidInputError("--keep goes with --every TIME.", state="Nothing was changed.")
        if show and every is not None:
            raise InvalidInputError("--list shows, and --every plans: one of both.", state="Nothing was changed.")
        seconds = None if every in (None, "off") else requests.parse_time(str(every), "--every", "24h")
        deployment = current.open_deployment(name, quiet=show, asks=False, wait_lock=wait_lock)
        if show:
            found = deployment.backups()
            current.answer(found.model_dump(mode="json"), render_backups(found))
            return
        if every is not None:
            planned = deployment.schedule_backups(seconds, keep or _KEEP)
            current.answer(planned.model_dump(mode="json"), render_schedule(planned))
            return
        result = deployment.backup(on_event=current.on_event)
        current.pause()
        current.conclude(result.model_dump(mode="json"), render_backup(result), result.exit_code)
