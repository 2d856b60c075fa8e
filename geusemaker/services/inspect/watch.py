"""Looks at a deployment again and again, as long as something goes on there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from geusemaker.errors import EngineError, GeusemakerError, HostError
from geusemaker.models.inspection import Inspection

_TOLERATED: Final = 5
"""So many looks in a row may fail: a backend is written, and an instance stopped, while an operation runs."""


def watch(look: Callable[[], Inspection], pause: Callable[[], None]) -> Iterator[Inspection]:
    """Each look, the last one when no operation runs and the services do not settle any more.

    Args:
        look: looks.
        pause: waits until the next look.

    Raises:
        GeusemakerError: several looks in a row failed.
    """
    failed = 0
    while True:
        try:
            found = look()
        except (EngineError, HostError) as error:
            failed += 1
            if failed >= _TOLERATED:
                raise _unseen(error) from error
        else:
            failed = 0
            yield found
            if not goes_on(found):
                return
        pause()


def goes_on(found: Inspection) -> bool:
    """Whether an operation runs, or services have become ready and are to stay so for a while."""
    return found.status == "settling" or (found.interruption is not None and found.interruption.running)


def _unseen(error: GeusemakerError) -> GeusemakerError:
    return error.completed(state="What is watched goes on, seen or not.")
