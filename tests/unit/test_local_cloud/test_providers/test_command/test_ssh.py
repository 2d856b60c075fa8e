"""How long refused connections are tried."""

from __future__ import annotations

import itertools

import pytest

from geusemaker.local_cloud.providers.command.ssh import dial_delays


@pytest.mark.parametrize(("limit", "seconds"), [(10, 11.3), (20, 61.3), (40, 161.3), (0, 0.0)])
def test_a_limit_of_errors_ends_the_dialling(limit: int, seconds: float) -> None:
    assert sum(dial_delays(limit)) == pytest.approx(seconds, abs=0.05)
    assert len(list(dial_delays(limit))) == limit


def test_minus_one_never_ends_it() -> None:
    assert max(itertools.islice(dial_delays(-1), 1000)) == 5.0
