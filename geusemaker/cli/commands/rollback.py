"""``geusemaker rollback``: the return to an earlier version."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options, telling
from geusemaker.cli.session import session
from geusemaker.cli.versions import name_and_versions, version_number
from geusemaker.errors import InvalidInputError

_WHICH = "Which version"

EXAMPLES = (
    "geusemaker rollback prod v2 --reason 'slow since Friday'",
    "geusemaker rollback prod --service n8n --to-version 2",
)


def rollback(
    name: options.Name = None,
    version: Annotated[
        str | None, typer.Argument(metavar="vN", help="The version to go to; the same as --to-version.")
    ] = None,
    to_version: Annotated[
        int | None,
        typer.Option(
            "--to-version",
            metavar="N",
            parser=version_number,
            help="A version, as the history shows it: 2 or v2. Default: the newest healthy one that differs.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            metavar="SERVICE",
            help="Bring back this service alone, as that version had it; all else stays. Repeatable.",
            show_default=False,
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
    with_data: Annotated[
        bool,
        typer.Option(
            "--with-data",
            help="n8n's data of then as well, where a newer n8n has migrated it; that of now is kept aside.",
            rich_help_panel=_WHICH,
        ),
    ] = False,
    allow_replace: options.AllowReplace = False,
    allow_data_downgrade: options.AllowDataDowngrade = False,
    expose_known_hole: options.ExposeKnownHole = False,
    no_auto_rollback: options.NoAutoRollback = False,
    no_checkpoint: options.NoCheckpoint = False,
    no_advisories: options.NoAdvisories = False,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    notify: options.Notify = None,
    hook: options.Hook = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Report = "text",
) -> None:
    """Bring an earlier version back, or services of it alone: images, settings, instance type. Data stays as it is."""
    with session("rollback", output, name=name, yes=yes, verbose=verbose) as current:
        from geusemaker.cli import requests
        from geusemaker.models.request import RollbackRequest

        name, numbers = name_and_versions(current, (name, version), most=1)
        request = RollbackRequest(
            to_version=_one(numbers, to_version),
            services=requests.parse_services(service or ()),
            allow_unhealthy=allow_unhealthy,
            allow_bad=allow_bad,
            allow_archived=allow_archived,
            with_data=with_data,
            allow_replace=allow_replace,
            allow_data_downgrade=allow_data_downgrade,
            expose_known_hole=expose_known_hole,
            auto_rollback=False if no_auto_rollback else None,
            checkpoint=not no_checkpoint,
            advisories=not no_advisories,
            reason=reason,
            dry_run=dry_run,
        )
        deployment = current.open_deployment(name, dry_run=dry_run, wait_lock=wait_lock)
        telling.apply(deployment, notify, hook)
        current.finish(deployment.rollback(request, confirm=current.confirm, on_event=current.on_event))


def _one(numbers: list[int], to_version: int | None) -> int | None:
    """The version that was asked for, in either way.

    Raises:
        InvalidInputError: in both, and they differ.
    """
    number = numbers[0] if numbers else to_version
    if to_version is not None and number != to_version:
        raise InvalidInputError(
            f"Both v{number} and --to-version {to_version} are given.",
            next_step="Name one of them.",
        )
    return number
