"""Autonaming: the provider's part of naming resources."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

_RANDOM_DIGITS: Final = 7


def unique_name(logical_name: str, seed: bytes, max_length: int) -> str:
    """``NAME-1a2b3c4``: the same for the same seed, random without one; the logical name is cut to fit.

    Raises:
        ValueError: no room for the random part.
    """
    if max_length <= _RANDOM_DIGITS + 1:
        raise ValueError(f"a name of at most {max_length} characters has no room for the random part")
    digits = (
        hashlib.sha512(seed + logical_name.encode()).hexdigest()[:_RANDOM_DIGITS]
        if seed
        else secrets.token_hex(_RANDOM_DIGITS)[:_RANDOM_DIGITS]
    )
    return f"{logical_name[: max_length - _RANDOM_DIGITS - 1]}-{digits}"
