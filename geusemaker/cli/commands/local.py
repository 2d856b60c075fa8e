"""``geusemaker local``: the local cloud that stands in for AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import Session, session
from geusemaker.errors import DeclinedError, InvalidInputError

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloudStatus

EXAMPLES = {
    "start": ("geusemaker local start", "geusemaker local start --output json"),
    "status": ("geusemaker local status", "geusemaker local status --output json"),
    "env": ('eval "$(geusemaker local env)" && aws ec2 describe-instances', "geusemaker local env --output json"),
    "interrupt": (
        "geusemaker local interrupt i-0123456789abcdef0",
        "geusemaker local interrupt i-0123456789abcdef0 --notice 10",
        "geusemaker local interrupt i-0123456789abcdef0 --return",
    ),
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


def interrupt(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="A spot instance's id.", show_default=False)],
    notice: Annotated[
        float,
        typer.Option(
            "--notice",
            min=0,
            max=120,
            metavar="SECONDS",
            help="How long before it is told; 0: it is not.",
        ),
    ] = 120,
    gone: Annotated[bool, typer.Option("--gone", help="It is terminated, and not stopped.")] = False,
    give_back: Annotated[
        bool, typer.Option("--return", help="There is capacity again: EC2 starts the instance that it stopped.")
    ] = False,
    output: options.Output = "text",
) -> None:
    """Take a spot instance's capacity back as EC2 does, to see what comes of it."""
    with session("local interrupt", output) as current:
        if gone and give_back:
            raise InvalidInputError("--gone and --return exclude each other.", state="Nothing was changed.")
        cloud = current.open_workspace().local_cloud()
        action: Literal["return", "terminate", "stop"] = "return" if give_back else "terminate" if gone else "stop"
        cloud.interrupt(instance, action, 0 if give_back else notice)
        _answer(current, cloud.status())


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

    verbs: tuple[Callable[..., None], ...] = (start, status, env, interrupt, stop, reset)
    for verb in verbs:
        name = verb.__name__
        app.command(name, cls=VerbCommand, epilog=epilog(EXAMPLES[name]))(verb)


def _answer(current: Session, found: LocalCloudStatus) -> None:
    from geusemaker.cli.output.inspection import render_local

    current.answer(found.model_dump(mode="json"), render_local(found))
