"""``geusemaker stop`` and ``geusemaker start``: services at rest on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session

if TYPE_CHECKING:
    from geusemaker.models.plan import RestPlan

STOP_EXAMPLES = ("geusemaker stop prod", "geusemaker stop prod n8n --reason 'moving the database'")
START_EXAMPLES = ("geusemaker start prod", "geusemaker start prod n8n")

_Service = Annotated[str | None, typer.Argument(metavar="SERVICE", help="Default: all of them.")]


def stop(
    name: options.Name = None,
    service: _Service = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Stop services on purpose: neither a boot nor `recover` nor a change starts them, until `start` does."""
    _rest("stop", name, service, reason, yes, output)


def start(
    name: options.Name = None,
    service: _Service = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Start services that were stopped, as the active version has them, and wait until they are healthy."""
    _rest("start", name, service, reason, yes, output)


def _rest(
    verb: Literal["stop", "start"],
    name: str | None,
    service: str | None,
    reason: str,
    yes: bool,
    output: Literal["text", "json"],
) -> None:
    with session(verb, output, name=name, yes=yes) as current:
        from geusemaker.cli.output.rest import render_rest_plan
        from geusemaker.cli.requests import parse_services

        services = parse_services([service] if service is not None else ())
        deployment = current.open_deployment(name)

        def confirm(plan: RestPlan) -> bool:
            current.pause()
            current.target = plan.target_kind
            current.printer.line()
            current.printer.lines(render_rest_plan(plan))
            what = f"{verb.capitalize()} {', '.join(plan.services)} of {plan.deployment}? [y/N] "
            return yes or current.ask(what).lower() in ("y", "yes")

        act = deployment.stop if verb == "stop" else deployment.start
        current.finish(act(services, reason, confirm=confirm, on_event=current.on_event))
