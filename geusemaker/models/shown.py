"""What of a variable a person may see."""

from __future__ import annotations

import re
from typing import Final

_SHOWN: Final = 60
"""So many characters of a variable's value are shown."""
HIDDEN: Final = "(secret)"
_SECRET_NAME = re.compile(r"PASS|PWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|DSN|(?:^|_|API)KEY", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@|-----BEGIN|\b(?:Bearer|Basic) \S{8}", re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret, by its name or its value."""
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def shown_value(name: str, value: str | None) -> str | None:
    """A variable's value as a person may see it: short, on one line, and not at all where it looks like a secret."""
    if value is None or value == "":
        return value
    if is_secret(name, value):
        return HIDDEN
    first, *more = value.splitlines() or [value]
    if not more and len(value) <= _SHOWN:
        return value
    lines = f", {len(more) + 1} lines" if more else ""
    return f"{first[:_SHOWN]}… ({len(value)} characters{lines})"
