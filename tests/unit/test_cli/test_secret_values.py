"""Secret values on the command line: where they come from, and that they are no argument."""

from __future__ import annotations

import getpass
import io
import sys
from pathlib import Path

import pytest

from geusemaker.cli.secret_values import parse_secret_environment
from geusemaker.errors import InvalidInputError

VALUE = "a value of many characters"


def test_from_a_file_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(f" {VALUE}\nsecond line \n")
    variables, values = parse_secret_environment([f"n8n.SMTP_PASS=@{tmp_path}/pass"])
    assert variables == {"n8n": {"SMTP_PASS": "n8n.SMTP_PASS"}}
    assert values["n8n.SMTP_PASS"].get_secret_value() == f" {VALUE}\nsecond line "
    assert VALUE not in repr(values)


def test_from_standard_input_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{VALUE}\n"))
    monkeypatch.setenv("LLM", "another value")
    variables, values = parse_secret_environment(["n8n.SMTP_PASS=-", "crawl4ai.LLM_KEY=env:LLM"])
    assert variables == {"n8n": {"SMTP_PASS": "n8n.SMTP_PASS"}, "crawl4ai": {"LLM_KEY": "crawl4ai.LLM_KEY"}}
    assert {name: value.get_secret_value() for name, value in values.items()} == {
        "n8n.SMTP_PASS": VALUE,
        "crawl4ai.LLM_KEY": "another value",
    }


def test_a_terminal_is_asked_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: VALUE if prompt == "n8n.SMTP_PASS: " else "")
    _, values = parse_secret_environment(["n8n.SMTP_PASS"])
    assert values["n8n.SMTP_PASS"].get_secret_value() == VALUE


def test_one_that_is_there_and_one_that_goes() -> None:
    assert parse_secret_environment(["n8n.SMTP_PASS=secret:smtp", "n8n.OLD="]) == (
        {"n8n": {"SMTP_PASS": "smtp", "OLD": ""}},
        {},
    )


@pytest.mark.parametrize(
    "texts",
    [
        [f"n8n.SMTP_PASS={VALUE}"],
        ["n8n.SMTP_PASS"],
        ["SMTP_PASS"],
        ["n8n.=-"],
        ["nobody.SMTP_PASS=-"],
        ["n8n.A=-", "n8n.B=-"],
        ["n8n.A=secret:x", "n8n.A=secret:y"],
        ["n8n.A=env:NO_SUCH_VARIABLE"],
        ["n8n.A=@/no/such/file"],
        ["n8n.A=@/dev/null"],
    ],
)
def test_what_is_refused_is_not_repeated(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(InvalidInputError) as refused:
        parse_secret_environment(texts)
    assert VALUE not in str(refused.value)
