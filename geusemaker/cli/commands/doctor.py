"""``geusemaker doctor``: what this machine has and lacks, and what is damaged of a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import Session, session
from geusemaker.cli.words import check_name

if TYPE_CHECKING:
    from geusemaker.models.doctor import RepairStep

EXAMPLES = ("geusemaker doctor prod --repair", "geusemaker doctor prod --aws-policy")


def doctor(
    name: Annotated[
        str | None, typer.Argument(help="Look at this deployment's files in the backend as well.", show_default=False)
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Bring damaged files back from their newest good copies; asks first."),
    ] = False,
    get_engine: Annotated[
        bool, typer.Option("--get-engine", help="Get the Pulumi engine first, where this machine has none.")
    ] = False,
    aws_policy: Annotated[
        bool,
        typer.Option(
            "--aws-policy",
            help="Print the IAM policy that deploying to AWS needs, and nothing else: for the deployment of that name, "
            "else for all.",
        ),
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="With --aws-policy: for who looks and changes nothing.")
    ] = False,
    connect: Annotated[
        Literal["ssh", "ssm"] | None,
        typer.Option("--connect", help="With --aws-policy: ssm: the one that is needed beside it for Session Manager."),
    ] = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Tell what was found on this machine, what is missing and how to get it."""
    with session("doctor", output, name=name, yes=yes) as current:
        if name is not None:
            check_name(name)
        if aws_policy:
            _print_policy(current, name, read_only=read_only, sessions=connect == "ssm")
            return
        if repair:
            _repair(current, name)
            return
        from geusemaker.cli.output.inspection import render_doctor

        if get_engine:
            opened = current.open_readable_workspace(installs=True)
            opened.prepare_engine(current.on_event)
        else:
            opened = current.open_workspace()
        report = opened.doctor(name)
        current.answer(report.model_dump(mode="json"), render_doctor(report))
        if not report.ok:
            raise typer.Exit(1)


def _print_policy(current: Session, name: str | None, *, read_only: bool, sessions: bool) -> None:
    import json

    document = current.open_workspace().aws_policy(name, read_only=read_only, sessions=sessions)
    if current.mode == "json":
        current.answer(document, [])
    else:
        current.write(json.dumps(document, indent=2) + "\n")


def _repair(current: Session, name: str | None) -> None:
    from geusemaker.cli.output.repair import render_repair, render_steps
    from geusemaker.errors import InvalidInputError

    if name is None:
        raise InvalidInputError(
            "--repair needs the deployment's name.", next_step="`geusemaker doctor NAME --repair`", state=""
        )

    def confirm(steps: tuple[RepairStep, ...]) -> bool:
        current.pause()
        current.printer.lines(render_steps(steps))
        return current.agree(f"Do that to {name}? [y/N] ")

    report = current.open_workspace().deployment(name).repair_backend(confirm, current.on_event)
    current.answer(report.model_dump(mode="json"), render_repair(report))
