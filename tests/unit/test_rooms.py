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
