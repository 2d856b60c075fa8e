"""Splitting output into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.providers.command.lines import LONGEST_LINE, LineSplitter, LineTooLongError


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), st.data())
def test_lines_do_not_depend_on_how_the_output_is_cut(lines: list[str], data: st.DataObject) -> None:
    output = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=5)))
    splitter = LineSplitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True):
        found += splitter.feed(output[start:end])
    assert [*found, *splitter.rest()] == lines


def test_a_last_line_without_a_newline_and_windows_ends() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\r\ntwo") == ["one"]
    assert splitter.rest() == ["two"]


def test_the_longest_line_is_refused() -> None:
    assert len(LineSplitter().feed(b"x" * (LONGEST_LINE - 1) + b"\n")) == 1
    with pytest.raises(LineTooLongError):
        LineSplitter().feed(b"x" * LONGEST_LINE + b"\n")
    with pytest.raises(LineTooLongError):
        LineSplitter().feed(b"x" * LONGEST_LINE)
