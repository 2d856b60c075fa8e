"""``geusemaker local``: the local cloud that stands in for AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from geusemaker.cli import options
from geusemaker.cli.session import Session, session
from geusemaker.errors import DeclinedError

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloudStatus

EXAMPLES = {
    "start": ("geusemaker local start", "geusemaker local start --output json"),
    "status": ("geusemaker local status", "geusemaker local status --output json"),
    "env": ('eval "$(geusemaker local env)" && aws ec2 describe-instances', "geusemaker local env --output json"),
    "stop": ("geusemaker local stop", "geusemaker local stop && geusemaker local start"),
    "reset": ("geusemaker local reset", "geusemaker local reset --yes"),
}


def start(output: options.Output = "text") -> None:
    """Start the local cloud, and everything that ran on it when it stopped."""
    with session("local start", output) as current:
        _answer(current, current.open_workspace().local_cloud().start())


def status(output: options.Output = "text") -> None:
    """Show whether the local cloud runs, where it answers and what it holds."""
    with session("local status", output) as current:
        _answer(current, current.open_workspace().local_cloud().status())


def env(output: options.Output = "text") -> None:
    """Print the variables with which the AWS CLI and SDKs work on the local cloud: endpoint, region and its own key."""
    with session("local env", output) as current:
        import shlex

        from geusemaker.cli.output.text import line

        found = current.open_workspace().local_cloud().environment()
        environment = {name: value for name, value in sorted(found.items()) if name.startswith("AWS_")}
        lines = [line(f"export {name}={shlex.quote(value)}") for name, value in environment.items()]
        current.answer({"environment": environment}, lines)


def stop(output: options.Output = "text") -> None:
    """Stop the local cloud; its instances and data come back at the next start."""
    with session("local stop", output) as current:
        cloud = current.open_workspace().local_cloud()
        cloud.stop()
        _answer(current, cloud.status())


def reset(yes: options.Yes = False, output: options.Output = "text") -> None:
    """Remove the local cloud: everything it runs, and all data on it."""
    with session("local reset", output, yes=yes) as current:
        cloud = current.open_workspace().local_cloud()
        if not yes:
            before = cloud.status()
            from geusemaker.cli.output.inspection import render_local

            current.printer.lines(render_local(before))
            question = "Remove all of this, the data of local deployments included? [y/N] "
            if current.ask(question).lower() not in ("y", "yes"):
                raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        cloud.reset()
        _answer(current, cloud.status())


def add_to(app: typer.Typer) -> None:
    """Register the group's verbs, in the order in which help lists them."""
    from geusemaker.cli.help import VerbCommand, epilog

    for name, verb in (("start", start), ("status", status), ("env", env), ("stop", stop), ("reset", reset)):
        app.command(name, cls=VerbCommand, epilog=epilog(EXAMPLES[name]))(verb)


def _answer(current: Session, found: LocalCloudStatus) -> None:
    from geusemaker.cli.output.inspection import render_local

    current.answer(found.model_dump(mode="json"), render_local(found))
