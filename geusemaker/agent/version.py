"""Which agent this is."""

from __future__ import annotations

from pathlib import Path


def agent_version() -> str:
    """The digest of the bundle it came in, which its folder on the instance is named by."""
    return Path(__file__).resolve().parents[2].name
