"""``geusemaker diff``: what differs between two versions, or between a stack file and what runs."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.cli.versions import name_and_versions
from geusemaker.errors import InvalidInputError

DIFFERS: Final = 7
"""The exit code where a file is not what runs: that of `status` where a deployment is not as it should be."""

EXAMPLES = ("geusemaker diff prod v2 v3 --output markdown", "geusemaker diff prod -f stack.yaml")


def diff(
    name: options.Name = None,
    versions: Annotated[
        list[str] | None,
        typer.Argument(metavar="vA [vB]", help="From vA to vB; with one alone, from that to the active version."),
    ] = None,
    file: options.StackFile = None,
    output: options.Report = "text",
) -> None:
    """Compare two versions: config, compose file, resources. Without numbers: what a plain rollback would change.

    With a file: from the active version to the file, what an update with it would change. Exit code then: 0 nothing
    differs; 7 something does.
    """
    with session("diff", output, name=None) as current:
        from geusemaker.cli import requests
        from geusemaker.cli.output.comparison import render_comparison
        from geusemaker.cli.output.markdown.comparison import comparison_markdown

        deployment_name, numbers = name_and_versions(current, (name, *(versions or ())), most=2)
        if file is not None and numbers:
            raise InvalidInputError("A file is compared with the active version: name none.")
        stack_file = requests.read_stack_file(file)
        deployment = current.open_deployment(deployment_name, quiet=True)
        found = deployment.diff(*numbers) if stack_file is None else deployment.diff_file(stack_file)
        code = DIFFERS if stack_file is not None and (found.changes or found.compose) else 0
        document = found.model_dump(mode="json") | {"exit_code": code}
        current.answer(document, render_comparison(found), lambda: comparison_markdown(found))
        if code:
            raise typer.Exit(code)
