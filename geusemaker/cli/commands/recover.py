"""``geusemaker recover``: the way out of an interrupted or failed operation."""

from __future__ import annotations

from typing import Annotated

import typer

from geusemaker.cli import options, telling
from geusemaker.cli.ctrl_c import over
from geusemaker.cli.session import session
from geusemaker.errors import InvalidInputError

EXAMPLES = (
    "geusemaker recover prod --dry-run",
    "geusemaker recover prod --every 5m",
)


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
        typer.Option(
            "--reboot",
            help="Stop and start the instance if it runs and does not answer over SSH; reboot it, services stopped in "
            "order, if it waits for a reboot.",
        ),
    ] = False,
    on_demand: Annotated[
        bool,
        typer.Option(
            "--on-demand",
            help="Bring back on demand, as another instance, what ran on a spot instance that does not run.",
        ),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="TIME",
            help="Look again after so long (5m, 1h), until Ctrl-C, and bring back by itself an instance that was "
            "interrupted: nothing else, and three times in 24 hours at most.",
        ),
    ] = None,
    renew_docker: Annotated[
        bool,
        typer.Option(
            "--renew-docker",
            help="Renew Docker on the instance, which no update does by itself, if there is a newer one: services are "
            "stopped in order, and started through the gate.",
        ),
    ] = False,
    wait_lock: options.WaitLock = None,
    no_advisories: options.NoAdvisories = False,
    notify: options.Notify = None,
    hook: options.Hook = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Report = "text",
) -> None:
    """Repair what an interrupted or failed operation left; does nothing when there is nothing to repair.

    With --every nobody is asked, and it ends with 0 after Ctrl-C or SIGTERM, or with 130 where that cut a repair off.
    """
    if every is not None:
        given = {
            "--dry-run": dry_run,
            "--reboot": reboot,
            "--on-demand": on_demand,
            "--owner-is-gone": owner_is_gone,
            "--renew-docker": renew_docker,
            "--wait-lock": wait_lock is not None,
            "--output markdown": output == "markdown",
        }
        _keep_looking(name, every, [option for option, value in given.items() if value], notify, hook, output)
        return
    with session("recover", output, name=name, yes=yes, verbose=verbose) as current:
        deployment = current.open_deployment(name, dry_run=dry_run, asks=False, wait_lock=wait_lock)
        telling.apply(deployment, notify, hook)
        current.finish(
            deployment.recover(
                current.confirm,
                current.on_event,
                owner_is_gone,
                reboot,
                dry_run,
                on_demand,
                renew_docker,
                advisories=not no_advisories,
            )
        )


def _keep_looking(
    name: str | None,
    every: str,
    others: list[str],
    notify: options.Notify,
    hook: options.Hook,
    output: options.Report,
) -> None:
    with session("recover", output, name=name, yes=True) as current:
        from geusemaker.cli.output.text import line
        from geusemaker.cli.requests import parse_time

        seconds = parse_time(every, "--every", "5m")
        if others:
            raise InvalidInputError(
                f"--every and {others[0]} do not go together: it acts by itself, on an interrupted instance alone.",
                state="",
            )
        deployment = current.open_deployment(name, asks=False)
        telling.apply(deployment, notify, hook)
        report = deployment.recover_every(seconds, current.on_event)
        over()
        current.pause()
        document = report.model_dump(mode="json") | {"exit_code": 0}
        current.answer(document, [line(f"Ended. Looks: {report.looks}; brought back: {report.repairs}.")])
