"""``geusemaker rollback``: the return to an earlier version."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

_WHICH = "Which version"

EXAMPLES = (
    "geusemaker rollback prod",
    "geusemaker rollback prod --to-version 2 --reason 'slow since Friday'",
)


def rollback(
    name: options.Name = None,
    to_version: Annotated[
        int | None,
        typer.Option(
            "--to-version",
            metavar="N",
            help="A version's number, as the history shows it. Default: the newest healthy one that differs.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    allow_unhealthy: Annotated[
        bool, typer.Option("--allow-unhealthy", help="Even one that was never healthy.", rich_help_panel=_WHICH)
    ] = False,
    allow_bad: Annotated[
        bool, typer.Option("--allow-bad", help="Even one marked bad.", rich_help_panel=_WHICH)
    ] = False,
    allow_archived: Annotated[
        bool,
        typer.Option(
            "--allow-archived", help="Even one past retention; its images are pulled again.", rich_help_panel=_WHICH
        ),
    ] = False,
    allow_replace: options.AllowReplace = False,
    allow_data_downgrade: options.AllowDataDowngrade = False,
    no_auto_rollback: options.NoAutoRollback = False,
    no_checkpoint: options.NoCheckpoint = False,
    reason: options.Reason = "",
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Bring an earlier version back: its instance type, images, services and settings. Data stays as it is."""
    with session("rollback", output, name=name, yes=yes) as current:
        from geusemaker.models.request import RollbackRequest

        request = RollbackRequest(
            to_version=to_version,
            allow_unhealthy=allow_unhealthy,
            allow_bad=allow_bad,
            allow_archived=allow_archived,
            allow_replace=allow_replace,
            allow_data_downgrade=allow_data_downgrade,
            auto_rollback=False if no_auto_rollback else None,
            checkpoint=not no_checkpoint,
            reason=reason,
            dry_run=dry_run,
        )
        deployment = current.open_deployment(name, dry_run=dry_run)
        current.finish(deployment.rollback(request, confirm=current.confirm, on_event=current.on_event))
