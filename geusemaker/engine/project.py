"""The workspace's Pulumi.yaml: found, made, and kept pointing at the program of the geusemaker that runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

import yaml

import geusemaker
from geusemaker.engine.files import make_whole, replace_whole
from geusemaker.errors import WorkspaceError

PROJECT: Final = "geusemaker"

_PROJECT_FILE: Final = """\
# The project that every deployment in this workspace is a stack of.
name: geusemaker
description: A self-hosted AI stack on one EC2 instance, with its data on EFS
runtime: python
main: {main}
stackConfigDir: stacks
"""
_PROGRAM: Final = Path(geusemaker.__file__).parent / "program"


def find_home(start: Path) -> Path:
    """The workspace's folder: ``GEUSEMAKER_HOME``, the nearest one upward with our Pulumi.yaml, or ``~/.geusemaker``.

    Raises:
        WorkspaceError: a Pulumi.yaml on the way cannot be read.
    """
    if given := os.environ.get("GEUSEMAKER_HOME"):
        return Path(given).expanduser().resolve()
    for folder in (start, *start.parents):
        file = folder / "Pulumi.yaml"
        if file.is_file() and project_name(file) == PROJECT:
            return folder
    return Path.home() / ".geusemaker"


def project_name(file: Path) -> str:
    """The name in a Pulumi.yaml.

    Raises:
        WorkspaceError: it cannot be read, or has none.
    """
    repair = (
        f"Repair or remove {file}, or point GEUSEMAKER_HOME at another folder; `geusemaker doctor` checks it again."
    )
    try:
        project = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first_line = str(error).splitlines()[0]
        raise WorkspaceError(f"{file} cannot be read as YAML ({first_line}).", next_step=repair) from error
    name = project.get("name") if isinstance(project, dict) else None
    if not isinstance(name, str):
        raise WorkspaceError(f"{file} is not a Pulumi project: it has no `name`.", next_step=repair)
    return name


def make_project(file: Path) -> None:
    """Write the file where there is none, and heal it.

    Raises:
        OSError: it would have to be written, and cannot be.
    """
    if not file.exists():
        make_whole(file, _PROJECT_FILE.format(main=json.dumps(str(_PROGRAM))), 0o666)
    _heal_project(file)


def _heal_project(file: Path) -> None:
    """Let the project name the program of the geusemaker that runs; the rest of the file is the user's.

    A path is of an installation: after a new Python, or a move of the clone, the engine finds no program there. One
    that the user wrote relative to the file is kept as long as it leads to a program.

    Raises:
        OSError: it would have to be written, and cannot be.
    """
    text = file.read_text(encoding="utf-8")
    main = yaml.safe_load(text).get("main")
    if main is not None:
        is_there = (file.parent / str(main) / "stack.py").is_file()
        if str(main) == str(_PROGRAM) or (is_there and not Path(str(main)).is_absolute()):
            return
    healed = healed_project(text, str(_PROGRAM))
    try:
        replace_whole(file, healed)
    except OSError:
        if main is None or not (file.parent / str(main)).is_dir():
            raise  # else the engine finds what it asks for, be it another installation's


def healed_project(text: str, program: str) -> str:
    """The text of a Pulumi.yaml with this program as its ``main``; all other lines stay as they are."""
    line = f"main: {json.dumps(program)}"
    # A value may go on in indented lines.
    healed, found = re.subn(r"^main\s*:.*(?:\n[ \t]+\S.*)*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    if found and yaml.safe_load(healed).get("main") == program:
        return healed
    # Written in a way that no line can be replaced in: `{name: geusemaker, main: …}`, or without `main`.
    document = yaml.safe_load(text)
    if not found and "main" not in document and not text.lstrip().startswith("{"):
        return f"{text.rstrip()}\n{line}\n"
    return yaml.safe_dump({**document, "main": program}, sort_keys=False, allow_unicode=True)
