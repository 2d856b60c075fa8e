"""Each package is a room, and says at its door what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import geusemaker

PACKAGE = Path(geusemaker.__file__).parent
ROOMS = sorted(file for file in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda file: str(file.parent.relative_to(PACKAGE)))
def test_a_package_says_what_it_is_for(room: Path) -> None:
    said = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
    assert len(said.split()) >= 3


def test_no_error_is_amended_after_it_was_raised() -> None:
    told = {"message", "state", "next_step", "code", "detail", "diagnostics", "operations"}
    amended = [
        f"{file.relative_to(PACKAGE)}:{target.lineno}"
        for file in PACKAGE.rglob("*.py")
        for handler in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for node in ast.walk(handler)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and target.attr in told
        if isinstance(target.value, ast.Name) and target.value.id == handler.name
    ]
    assert amended == []


def test_no_file_between_the_command_line_and_the_instance_is_long() -> None:
    """One that grows beyond this has more than one room in it. Of the local cloud, some stand in for large programs."""
    files = (file for file in PACKAGE.rglob("*.py") if "local_cloud" not in file.relative_to(PACKAGE).parts)
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert len(lines) > 200 and {file: count for file, count in lines.items() if count > 300} == {}
