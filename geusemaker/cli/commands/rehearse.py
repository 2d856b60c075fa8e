"""``geusemaker rehearse``: a change of images tried on a copy of the data, and the way back from it measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from geusemaker.cli import options
from geusemaker.cli.session import Session, session

if TYPE_CHECKING:
    from geusemaker import Deployment

EXAMPLES = (
    "geusemaker rehearse prod --image n8n=n8nio/n8n:2.43.1",
    "geusemaker rehearse prod --image n8n=n8nio/n8n:2.43.1 --image postgresql=postgres:17.12 --output json",
)


def rehearse(
    name: options.Name = None,
    image: options.Image = None,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    output: options.Output = "text",
) -> None:
    """Try other images of n8n and PostgreSQL on a copy of the data; measure the way back. Nothing that runs changes."""
    with session("rehearse", output, name=name) as current:
        from geusemaker.cli import requests
        from geusemaker.cli.output.rehearsal import render_failed_rehearsal, render_rehearsal
        from geusemaker.models.request import RehearseRequest

        request = RehearseRequest(images=requests.parse_images(image or ()), reason=reason)
        deployment = current.open_deployment(name, asks=False, wait_lock=wait_lock)
        result = deployment.rehearse(request, on_event=current.on_event)
        document = result.model_dump(mode="json")
        render = render_rehearsal if result.success else render_failed_rehearsal
        current.conclude(document, render(result), result.exit_code)


def rehearse_first(current: Session, deployment: Deployment, images: Mapping[str, str], reason: str) -> None:
    """Rehearse an update's images, as far as they can be; where they do not work, the command ends (exit code 5).

    Raises:
        InvalidInputError: none of them can be.
    """
    from geusemaker.catalog import REHEARSED
    from geusemaker.cli.output.rehearsal import render_failed_rehearsal, render_rehearsal
    from geusemaker.models.request import RehearseRequest

    tried = {name: image for name, image in images.items() if name in REHEARSED}
    result = deployment.rehearse(RehearseRequest(images=tried, reason=reason), on_event=current.on_event)
    current.pause()
    if not result.success:
        current.conclude(result.model_dump(mode="json"), render_failed_rehearsal(result), result.exit_code)
    current.printer.line()
    current.printer.lines(render_rehearsal(result))
