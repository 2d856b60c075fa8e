"""What holds for all tests."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does: no test fails by the clock.
settings.register_profile("geusemaker", deadline=None)
settings.load_profile("geusemaker")


# No test contacts the database of published holes: those that are about it have a stand-in on loopback.
os.environ["GEUSEMAKER_ADVISORIES"] = "off"


def _answer_signals_again() -> None:
    """Let Ctrl-C and a hang-up do what they do at a terminal.

    Whoever starts the tests in the background (``nohup``, ``&``, some CI) has them ignored, and every program that a
    test starts inherits that: a story that interrupts one would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


_answer_signals_again()


_FIRST = (
    "test_kill_matrix.py",
    "test_owners.py",
    "test_docker_stories.py",
    "test_dead_instance.py",
    "test_failures.py",
    "test_next_steps.py",
    "test_data.py",
    "test_secrets.py",
    "test_plan_guard.py",
    "test_of_before.py",
    "test_interruptions.py",
    "test_docker.py",
)
"""The files that take minutes, so that none of them is what a worker is still at when the others have ended. Those that
need the one Docker daemon of the tests stand far apart: the second would wait for the first."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; and repetitions that take an hour only where they are asked for by their mark: `make soak`."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))
    if "soak" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("soak") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
