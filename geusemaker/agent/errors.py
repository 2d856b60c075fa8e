"""What ends a verb early."""

from __future__ import annotations

from typing import Any


class AgentError(Exception):
    """A failure that the operator is told of: a stable code, one sentence, and details."""

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


class Interrupted(BaseException):  # not an error: no `except Exception` may swallow it
    """Raised by a signal handler: told to end, or the verb's own deadline passed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
