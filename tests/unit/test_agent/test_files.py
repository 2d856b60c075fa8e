"""Files that are read and written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, write_atomic


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write_atomic(path, "new", 0o600)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_state_file_that_cannot_be_read_is_an_error_and_not_an_absence(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    with pytest.raises(AgentError) as caught:
        read_json(tmp_path / "lease.json")
    assert caught.value.code == "bad_state"
    assert read_json(tmp_path / "none.json") is None
