"""The engine's decisions; that they are carried out is tested with real processes in tests/local_cloud."""

from __future__ import annotations

from geusemaker.local_cloud.containers.engine import next_backoff


def test_backoff_doubles_from_100_ms_to_a_minute_and_starts_again_after_10_s_up() -> None:
    waits = []
    wait = 0.0
    for _ in range(12):
        wait = next_backoff(wait, 0.01)
        waits.append(wait)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [60.0, 60.0]
    assert next_backoff(wait, 10.0) == 0.1
