"""The verb's input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from geusemaker.agent.document import Document, read_document
from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.conftest import Program


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (lambda d: d.text("key"), {}),
        (lambda d: d.text("key"), {"key": 3}),
        (lambda d: d.text("key"), {"key": ""}),
        (lambda d: d.operation("key"), {"key": "../../etc"}),
        (lambda d: d.operation("key"), {"key": "-x"}),
        (lambda d: d.number("key", 1), {"key": "3"}),
        (lambda d: d.number("key", 1), {"key": True}),
        (lambda d: d.number("key", 1), {"key": -1}),
        (lambda d: d.mapping("key"), {"key": []}),
        (lambda d: d.items("key"), {"key": {}}),
        (lambda d: d.service_map("key"), {"key": {"../n8n": {}}}),
    ],
)
def test_input_that_cannot_be_used_is_refused_by_its_key(read: Any, document: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as caught:
        read(Document(document))
    assert caught.value.code == "bad_input"


def test_missing_values_have_defaults() -> None:
    document = Document({"key": None, "text": ""})
    assert (document.mapping("key"), document.items("key"), document.number("other", 7)) == ({}, [], 7)
    assert document.optional_text("text") is None


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_stdin_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(AgentError, match="stdin"):
        read_document(text)


def test_a_missing_document_is_an_empty_one() -> None:
    assert read_document(" \n").values == {}


def test_a_refusal_does_not_repeat_a_secret(run: Program) -> None:
    status, lines = run("apply", {"operation": "op", "environment": {"n8n": {"KEY": ["hunter2hunter2"]}}})
    assert status == 1
    assert "hunter2" not in json.dumps(lines)
