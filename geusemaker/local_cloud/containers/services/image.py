"""What a stand-in declares, as ``IMAGE``, of the image that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


def _none(_tag: str) -> str:
    return ""


ANY = "*"
"""In place of a repository: it stands for whatever nothing else does."""


class Image(NamedTuple):
    """The official image of a service."""

    repository: str
    """On Docker Hub, as its API names it."""
    config: Mapping[str, Any]
    """As in the official image: signal that stops it, ports, user, environment."""
    tags: tuple[str, ...] = ()
    """What its registry lists, a few of the real ones; others can be had all the same."""
    unrunnable: Callable[[str], str] = _none
    """Why nothing here can run a tag that exists elsewhere; empty for all others."""
