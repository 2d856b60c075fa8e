"""``geusemaker stop`` and ``geusemaker start``: services at rest on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

if TYPE_CHECKING:
    from geusemaker.models.plan import RestPlan

STOP_EXAMPLES = (
    "geusemaker stop prod n8n --reason 'moving the database'",
    "geusemaker stop prod --instance --reason 'back on Monday'",
)
START_EXAMPLES = ("geusemaker start prod", "geusemaker start prod n8n")

_Service = Annotated[str | None, typer.Argument(metavar="SERVICE", help="Default: all of them.")]


def stop(
    name: options.Name = None,
    service: _Service = None,
    instance: Annotated[
        bool,
        typer.Option("--instance", help="Stop the EC2 instance as well, so that it is not paid for until `start`."),
    ] = False,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Stop services on purpose: neither a boot nor `recover` nor a change starts them, until `start` does."""
    _rest("stop", name, service, reason, wait_lock, yes, output, instance=instance)


def start(
    name: options.Name = None,
    service: _Service = None,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Start services that were stopped, their instance included, as the active version has them; wait for health."""
    _rest("start", name, service, reason, wait_lock, yes, output)


def _rest(
    verb: Literal["stop", "start"],
    name: str | None,
    service: str | None,
    reason: str,
    wait_lock: str | None,
    yes: bool,
    output: Literal["text", "json"],
    *,
    instance: bool = False,
) -> None:
    with session(verb, output, name=name, yes=yes) as current:
        from geusemaker.cli.output.rest import render_rest_plan
        from geusemaker.cli.requests import parse_services

        services = parse_services([service] if service is not None else ())
        deployment = current.open_deployment(name, wait_lock=wait_lock)

        def confirm(plan: RestPlan) -> bool:
            current.pause()
            current.target = plan.target_kind
            current.printer.line()
            current.printer.lines(render_rest_plan(plan))
            named = ", ".join((*plan.services, *(["its instance"] if plan.instance else [])))
            what = f"{verb.capitalize()} {named} of {plan.deployment}? [y/N] "
            return current.agree(what)

        if verb == "stop":
            done = deployment.stop(services, reason, confirm=confirm, on_event=current.on_event, instance=instance)
        else:
            done = deployment.start(services, reason, confirm=confirm, on_event=current.on_event)
        current.finish(done)
