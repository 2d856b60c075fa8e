"""What the provider is told of retries."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.engine.keys import ATTEMPTS, attempts


@pytest.mark.parametrize(
    ("own", "wanted"),
    [(None, ATTEMPTS), (2, 2), ("3", 3), (25, ATTEMPTS), ("0", ATTEMPTS), (-1, ATTEMPTS), ("many", ATTEMPTS)],
)
def test_an_operators_own_lower_number_wins(own: Any, wanted: int) -> None:
    assert attempts(own) == wanted
