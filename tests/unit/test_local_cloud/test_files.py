from __future__ import annotations

import os
from pathlib import Path

import pytest

from geusemaker.local_cloud.files import read_json, write, write_json


@pytest.mark.parametrize("content", ["two\n", b"\xfftwo"])
def test_a_file_is_replaced_at_once_and_is_the_owners_only(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "state"
    write(file, b"one", 0o644)
    other_link = tmp_path / "other"
    os.link(file, other_link)
    write(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert other_link.read_bytes() == b"one", "it was never written into"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "state"]


def test_the_mode_is_the_one_asked_for_whatever_the_mask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "program", "#!/bin/sh\n", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "program").stat().st_mode & 0o777 == 0o755


def test_a_value_comes_back(tmp_path: Path) -> None:
    assert read_json(tmp_path / "value.json", {}) == {}
    write_json(tmp_path / "value.json", {"a": [1]})
    assert read_json(tmp_path / "value.json", None) == {"a": [1]}
