"""Who is told beside those that are told always."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Also:
    """Who is told of this run alone."""

    addresses: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
