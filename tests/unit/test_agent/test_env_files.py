"""The files with the services' secrets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.agent import Agent
from geusemaker.agent.env_files import env_file, parse_env_value
from geusemaker.agent.errors import AgentError


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_an_env_file_gives_every_value_back(value: str) -> None:
    (line, *more) = env_file({"KEY": value}).split("\n")[:-1] if "\n" not in value else [""]
    if "\n" not in value and "\r" not in value:
        assert not more
        assert parse_env_value(line.partition("=")[2]) == value


def test_env_files_are_quoted_only_where_needed() -> None:
    text = env_file({"B": "it's $5\n", "A": "plain/1=", "C": "two words"})
    assert text == "A=plain/1=\n" + 'B="it\'s \\$5\\n"\n' + "C='two words'\n"


@pytest.mark.parametrize("variables", [{"1A": "x"}, {"A-B": "x"}, {"A": 1}, []])
def test_an_environment_that_is_none_is_refused(variables: Any) -> None:
    with pytest.raises(AgentError, match="environment"):
        env_file(variables)


def test_secrets_are_hidden_whatever_lies_in_the_files_of_them(agent: Agent) -> None:
    agent.home.mkdir(parents=True, exist_ok=True)
    (agent.home / "n8n.env").write_bytes("A='pass\u2028word and more'\n".encode() + b"B=secret\xff\n")
    assert "pass\u2028word and more" in agent.secrets()
