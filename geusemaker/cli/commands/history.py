"""``geusemaker history``: the same view as ``inspect --show-history``, or as a page to look at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geusemaker.cli import options
from geusemaker.cli.commands.inspect import All, AllColumns, show
from geusemaker.cli.session import session
from geusemaker.errors import GeusemakerError, InvalidInputError

if TYPE_CHECKING:
    from geusemaker import Deployment
    from geusemaker.cli.output.picture import Beside
    from geusemaker.models.inspection import Inspection

EXAMPLES = ("geusemaker history prod --all --all-columns", "geusemaker history prod --html history.html")

_EVIDENCE_LINES = 10


def history(
    name: options.Name = None,
    show_all: All = False,
    all_columns: AllColumns = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as one page with a picture; it loads nothing."),
    ] = None,
    output: options.Report = "text",
) -> None:
    """Show all versions and restores: when, what changed, why, and how it went."""
    if html is None:
        show("history", name, output, history=True, show_all=show_all, all_columns=all_columns)
        return
    with session("history", output, name=name) as current:
        if output == "markdown":
            raise InvalidInputError("--html and --output markdown do not go together: each is a form of its own.")
        from datetime import UTC, datetime

        from geusemaker.cli.output.picture import render_page
        from geusemaker.cli.output.text import line

        deployment = current.open_deployment(name, quiet=True)
        inspection = deployment.inspect(show_history=True)
        current.remember(inspection)
        _write(html, render_page(inspection, _beside(deployment, inspection), datetime.now(UTC)))
        document = {"deployment": inspection.deployment, "file": str(html.absolute())}
        current.answer(document, [line(f"The history of {inspection.deployment} is in {html}; open it in a browser.")])


def _beside(deployment: Deployment, inspection: Inspection) -> Beside:
    """What the page has beside the history: the checkpoints on the instance, and what failed operations left here."""
    from geusemaker.cli.output.picture import Beside

    try:
        checkpoints = deployment.checkpoints().checkpoints
    except GeusemakerError:
        checkpoints = None  # the page says that they were not looked at
    evidence = {}
    for version in inspection.versions:
        if not version.healthy:
            found = deployment.evidence(version.provenance.operation_id, _EVIDENCE_LINES)
            shown = _named(inspection, version.number, found) or [*found]
            evidence[version.provenance.operation_id] = [f"{name}: {text}" for name in shown for text in found[name]]
    return Beside(checkpoints, evidence)


def _named(inspection: Inspection, number: int, services: Iterable[str]) -> list[str]:
    """Those of the services that the return from a version says were why."""
    said = [record.error_message or "" for record in inspection.rollbacks if record.previous_state_version == number]
    return [name for name in services if any(f"{name}:" in why for why in said)]


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written ({error.strerror}).") from error
