"""The engine's decisions; that they are carried out is tested with real processes in tests/local_cloud."""

from __future__ import annotations

import os

import pytest

from geusemaker.local_cloud.containers.engine import next_backoff, process_start, should_restart


@pytest.mark.parametrize(
    ("policy", "most", "code", "stopped_by_hand", "restarts", "comes_back"),
    [
        ("no", 0, 1, False, 0, False),
        ("always", 0, 0, True, 9, True),
        ("unless-stopped", 0, 0, False, 9, True),
        ("unless-stopped", 0, 137, True, 0, False),
        ("on-failure", 0, 0, False, 0, False),
        ("on-failure", 0, 1, True, 50, True),
        ("on-failure", 3, 1, False, 2, True),
        ("on-failure", 3, 1, False, 3, False),
    ],
)
def test_restart_policies(
    policy: str, most: int, code: int, stopped_by_hand: bool, restarts: int, comes_back: bool
) -> None:
    chosen = {"Name": policy, "MaximumRetryCount": most}
    assert should_restart(chosen, code, stopped_by_hand, restarts) is comes_back


def test_backoff_doubles_from_100_ms_to_a_minute_and_starts_again_after_10_s_up() -> None:
    waits = []
    wait = 0.0
    for _ in range(12):
        wait = next_backoff(wait, 0.01)
        waits.append(wait)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [60.0, 60.0]
    assert next_backoff(wait, 10.0) == 0.1


def test_a_process_is_known_by_its_start_time() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    assert process_start(2**22 + 1) is None
