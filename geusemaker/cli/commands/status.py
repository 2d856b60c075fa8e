"""``geusemaker status``: the health of a deployment, now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.session import Session, session
from geusemaker.errors import InterruptedOperationError

if TYPE_CHECKING:
    from geusemaker import Deployment
    from geusemaker.models.inspection import Inspection

EXAMPLES = ("geusemaker status prod --watch", "geusemaker status prod --updates")


def status(
    name: options.Name = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Follow an operation that runs, another machine's too, until it has ended."),
    ] = False,
    updates: Annotated[
        bool,
        typer.Option(
            "--updates", help="Also look for newer releases of each service, and which published holes they close."
        ),
    ] = False,
    no_advisories: options.NoAdvisories = False,
    output: options.Report = "text",
) -> None:
    """Tell how a deployment is right now, and what to do if it is not well.

    Exit code: 0 healthy; 7 looked, and not healthy; 8 could not be judged. What there is newer changes nothing of it.
    """
    with session("status", output, name=name) as current:
        from geusemaker.cli.output.document import inspection_document
        from geusemaker.cli.output.inspection import render_status
        from geusemaker.cli.output.markdown.status import status_markdown

        deployment = current.open_deployment(name, quiet=True)
        inspection = _watched(current, deployment) if watch else deployment.status()
        current.remember(inspection)
        code = inspection.exit_code
        document, lines = inspection_document(inspection), render_status(inspection)
        newer = None
        if updates:
            from geusemaker.cli.output.updates import render_updates

            newer = deployment.updates(advisories=not no_advisories)
            document["updates"] = newer.model_dump(mode="json")
            lines += render_updates(newer)
        current.answer(document | {"exit_code": code}, lines, lambda: status_markdown(inspection, newer))
        if code:
            raise typer.Exit(code)


def _watched(current: Session, deployment: Deployment) -> Inspection:
    """The last look, when what goes on has ended; what happens meanwhile is shown."""
    from geusemaker.cli.output.watching import Watching

    watching, found = Watching(), None
    try:
        for found in deployment.watch():
            for event in watching.events(found):
                current.on_event(event)
    except KeyboardInterrupt as error:
        raise InterruptedOperationError(
            "Interrupted: it is not watched any more.", state="What was watched goes on; nothing was changed by this."
        ) from error
    for event in watching.end():
        current.on_event(event)
    assert found is not None  # there is one look at least
    return found
