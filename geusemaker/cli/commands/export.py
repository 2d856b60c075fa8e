"""``geusemaker export``: a deployment as a file to keep under version control."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.cli.versions import version_number

EXAMPLES = ("geusemaker export prod > stack.yaml", "geusemaker export --schema > stack.schema.json")


def export(
    name: options.Name = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", metavar="vN", parser=version_number, help="Of this version; default: the active one."
        ),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema", help="Print the JSON schema by which editors check such a file; no deployment is asked."
        ),
    ] = False,
    output: Annotated[
        Literal["yaml", "json"],
        typer.Option("--output", "-o", help="json: the same file in JSON, which is YAML as well."),
    ] = "yaml",
) -> None:
    """Print the whole desired state of a deployment as a file, which update -f takes. No secret is in it."""
    with session("export", "json" if output == "json" or schema else "text", name=name) as current:
        from geusemaker.models.stack_file import StackFile

        if schema:
            current.answer(StackFile.json_schema(), [])
            return
        file = current.open_deployment(name, quiet=True).export(version)
        if output == "json":
            current.answer(file.values(), [])
        else:
            _write(file.to_yaml())


def _write(text: str) -> None:
    """To stdout as UTF-8, whatever the terminal's own encoding is: it is a file."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
