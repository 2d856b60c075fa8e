"""What is written down about an operation, beside the operation: it never stands in the way of what is done.

Evidence, the journal and its copy, the intent's outcome, images to remove: that one of these cannot be written (a
folder that is read-only, a full disk, an instance out of reach, a text that cannot be encoded) is a warning. What the
change came to, and whether it is taken back, does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from geusemaker.errors import GeusemakerError
from geusemaker.models.plan import Event
from geusemaker.models.record import OperationRecord
from geusemaker.services.collaborators import Collaborators

T = TypeVar("T")


def attempt(on_event: Callable[[Event], None], failed: str, write: Callable[[], T]) -> T | None:
    """``write()``, or None and a warning that begins with ``failed`` where that is not possible."""
    try:
        return write()
    except Exception as error:  # whatever it is: it is told, and what follows matters more
        on_event(Event(kind="warning", message=f"{failed}: {reason(error)}"))
        return None


def insist(on_event: Callable[[Event], None], failed: str, write: Callable[[], object]) -> None:
    """As ``attempt``, for what others wait for: a Ctrl-C in the middle is obeyed when it was tried once more."""
    try:
        attempt(on_event, failed, write)
    except KeyboardInterrupt:
        attempt(on_event, failed, write)
        raise


def reason(error: BaseException) -> str:
    """Why something failed, as the end of a sentence of ours."""
    if isinstance(error, GeusemakerError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}."
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}."


def record(collaborators: Collaborators, what: OperationRecord) -> None:
    """Put an operation into the journal."""
    attempt(collaborators.on_event, "The journal was not written", lambda: collaborators.journal.append(what))
