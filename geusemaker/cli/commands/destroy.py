"""``geusemaker destroy``: the end of a deployment, its data kept unless asked otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import Session, session
from geusemaker.errors import ConfirmationNeededError, InvalidInputError

if TYPE_CHECKING:
    from geusemaker.models.plan import Plan

EXAMPLES = ("geusemaker destroy demo --dry-run", "geusemaker destroy demo --delete-data --yes --confirm-name demo")


def destroy(
    name: options.Name = None,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete the data and the history too. There is no way back.")
    ] = False,
    confirm_name: Annotated[
        str | None,
        typer.Option("--confirm-name", metavar="NAME", help="The deployment's name, in place of typing it when asked."),
    ] = None,
    wait_lock: options.WaitLock = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Take a deployment down. Its data, history and secrets stay, for a later deploy of the same name."""
    with session("destroy", output, name=name, yes=yes, verbose=verbose) as current:
        asks = confirm_name is None and not delete_data
        deployment = current.open_deployment(name, dry_run=dry_run, asks=asks, wait_lock=wait_lock)
        unasked = not dry_run and (yes or not current.printer.can_ask())
        _check_confirmation(deployment.name, delete_data, confirm_name, unasked)

        def confirm(plan: Plan) -> bool:
            current.show_plan(plan)
            named = yes or confirm_name == deployment.name or _typed_name(current, deployment.name, delete_data)
            current.agreed = named
            return named

        current.finish(
            deployment.destroy(
                delete_data,
                confirm=confirm,
                on_event=current.on_event,
                dry_run=dry_run,
                confirm_name=deployment.name,  # given, or typed when the plan has been shown
            )
        )


def _check_confirmation(name: str, delete_data: bool, confirm_name: str | None, unasked: bool) -> None:
    if confirm_name is not None and confirm_name != name:
        raise InvalidInputError(f"--confirm-name says {confirm_name!r}, and the deployment is {name!r}.")
    if delete_data and unasked and confirm_name is None:
        raise ConfirmationNeededError(
            "Deleting data needs the deployment's name, typed when asked or given with --confirm-name.",
            state="Nothing was changed.",
            next_step=f"If all data may go: `geusemaker destroy {name} --delete-data --yes --confirm-name {name}`.",
        )


def _typed_name(current: Session, name: str, delete_data: bool) -> bool:
    what = f"ALL DATA of {name} will be deleted" if delete_data else f"{name} will be taken down; its data stays"
    return current.ask(f"{what}. Type its name to go on: ") == name
