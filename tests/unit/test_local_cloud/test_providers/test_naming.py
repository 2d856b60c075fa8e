"""Autonaming."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.providers.naming import unique_name


@given(st.text(alphabet="abc-", min_size=1, max_size=100), st.binary(max_size=32), st.integers(9, 255))
def test_a_name_is_the_logical_one_and_seven_hex_digits_and_fits(logical: str, seed: bytes, longest: int) -> None:
    name = unique_name(logical, seed, longest)
    assert len(name) <= longest
    head, digits = name[:-8], name[-7:]
    assert logical.startswith(head)
    assert re.fullmatch(r"[0-9a-f]{7}", digits)


def test_the_seed_decides_and_without_one_chance_does() -> None:
    assert unique_name("a", b"seed", 64) == unique_name("a", b"seed", 64)
    assert unique_name("a", b"seed", 64) != unique_name("a", b"other", 64)
    assert len({unique_name("a", b"", 64) for _ in range(20)}) > 1


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        unique_name("a", b"", 8)
