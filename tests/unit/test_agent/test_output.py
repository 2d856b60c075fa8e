"""The lines that leave, and secrets that do not."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.output import Reporter
from tests.unit.test_agent.support import RecordingReporter


def test_secrets_leave_in_no_form() -> None:
    reporter = RecordingReporter()
    reporter.hide(["pass/word+1", "line one\nline two", "x"])
    reporter.note("postgres://u:pass%2Fword%2B1@db pass/word+1 x")
    reporter.emit("error", detail={"logs": ["line two"], "pair": ("pass/word+1",)})
    assert reporter.lines[0]["message"] == "postgres://u:***@db *** x"
    assert reporter.lines[1]["detail"] == {"logs": ["***"], "pair": ["***"]}


def test_half_a_character_leaves_as_one_that_can_be_written() -> None:
    """A service's answer may hold one, as JSON lets it; what a file takes does not."""
    reporter = RecordingReporter()
    reporter.emit("error", detail={"services": {"n8n": {"reason": json.loads('"no \\ud800 way \\ud83d\\ude00"')}}})
    reporter.result({"logs": ["\udcff"]})
    assert reporter.lines[0]["detail"]["services"]["n8n"]["reason"] == "no ? way \U0001f600"
    assert reporter.lines[1]["logs"] == ["?"]


def test_an_event_is_cut_to_the_length_of_a_line() -> None:
    reporter = RecordingReporter()
    reporter.emit("error", code="unhealthy", message="m", detail={"logs": ["é" * 3000] * 300})
    assert len(reporter.text[0]) < 16384
    assert reporter.lines[0]["code"] == "unhealthy"
    reporter.emit("note", message={str(key): "x" for key in range(5000)})
    assert len(reporter.text[1]) < 16384


@given(st.lists(st.text(max_size=3000), max_size=30))
def test_an_answer_of_any_length_arrives_whole(items: list[str]) -> None:
    reporter = RecordingReporter()
    reporter.result({"items": items})
    assert all(len(line) < 16384 for line in reporter.text)
    *pieces, last = reporter.lines
    assert last["event"] == "result"
    if "parts" in last:
        assert last["parts"] == len(pieces)
        assert json.loads("".join(piece["text"] for piece in pieces)) == {"items": items}
    else:
        assert last["items"] == items


def test_a_listener_that_hangs_up_does_not_end_the_work() -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    reporter = Reporter(broken)
    reporter.note("one")
    reporter.note("two")
    assert reporter.gone


def test_an_error_too_long_for_a_line_keeps_its_code() -> None:
    lines: list[str] = []
    Reporter(lines.append).emit(
        "error", code="unhealthy", message="n8n died", detail={f"key {number}": "x" * 30 for number in range(2000)}
    )
    assert json.loads(lines[0]) == {"event": "error", "code": "unhealthy", "message": "n8n died"}
