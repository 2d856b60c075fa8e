"""What holds for all tests."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does: no test fails by the clock.
settings.register_profile("geusemaker", deadline=None)
settings.load_profile("geusemaker")


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Repetitions that take an hour run only where they are asked for by their mark: `make soak`."""
    if "soak" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("soak") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
