"""A secret that is given to a command, and not in its arguments."""

from __future__ import annotations

import getpass
import io
import sys
from pathlib import Path

import pytest

from geusemaker.cli.requests import read_secret
from geusemaker.errors import InvalidInputError


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key\n")
    secret = read_secret(tmp_path / "key")
    assert secret.get_secret_value() == "a key" and "a key" not in repr(secret)


def test_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a key\n"))
    assert read_secret(Path("-")).get_secret_value() == "a key"


def test_a_terminal_is_asked_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "a key")
    assert read_secret(Path("-")).get_secret_value() == "a key"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_what_holds_no_key(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InvalidInputError) as refused:
        read_secret(tmp_path / "key")
    assert refused.value.exit_code == 2
