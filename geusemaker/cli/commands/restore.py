"""``geusemaker restore``: the return of the data to a checkpoint, which no other verb does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import RestorePlan

_WHICH = "Which data"

EXAMPLES = (
    "geusemaker restore prod --backup latest",
    "geusemaker restore prod --checkpoint v2 --service postgresql --reason 'workflows were deleted'",
)


def restore(
    name: options.Name = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="vN[/OPERATION]",
            help="As `geusemaker checkpoints` shows them. Default: the newest that was taken before a change.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    backup: Annotated[
        str | None,
        typer.Option(
            "--backup",
            metavar="ID|latest",
            help="A backup, as `geusemaker backup --list` shows them.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            metavar="SERVICE",
            help="Only the data of this one, postgresql or qdrant; repeatable.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Put a checkpoint's data in the place of what is there now; that is copied first, so nothing is lost."""
    with session("restore", output, name=name, yes=yes, verbose=verbose) as current:
        from geusemaker.cli import requests
        from geusemaker.cli.output.restore import render_restore, render_restore_plan
        from geusemaker.models.request import RestoreRequest

        services = requests.parse_services(service or ())
        request = RestoreRequest(checkpoint=checkpoint, backup=backup, services=services, reason=reason)
        deployment = current.open_deployment(name, wait_lock=wait_lock)

        def confirm(plan: RestorePlan) -> bool:
            current.pause()
            current.target = plan.target_kind
            current.printer.line()
            current.printer.lines(render_restore_plan(plan, verbose=verbose))
            offers = current.offers_details(plan.checks)
            what = f"Replace this data of {plan.deployment}? {'(d lists the checks) ' if offers else ''}[y/N] "
            return current.agree(what, plan.checks if offers else ())

        result = deployment.restore(request, confirm=confirm, on_event=current.on_event)
        document = result.model_dump(mode="json")
        current.conclude(document, render_restore(result, current.target), result.exit_code)
