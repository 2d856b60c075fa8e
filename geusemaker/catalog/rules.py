"""What a service's rules are given, and what they answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from geusemaker.models.image import ImageReference

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint

CheckStatus = Literal["pass", "warn", "fail"]

_RELEASE: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?![\d])")


class Verdict(NamedTuple):
    """What a rule says; the check's name is the service's title and what it is ``about``."""

    status: CheckStatus
    detail: str
    about: str = "data"
    known: bool = True
    """Whether it is known: what cannot be told is a warning, and no promise."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data now."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Service → the version of its data on disk (PG_VERSION: ``16``, or ``9.6`` in the old days)."""
    served: Mapping[str, ImageReference] = field(default_factory=dict)
    """Service → the image that last ran healthy on its data."""
    owners: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Service → the user that its folder with data belongs to, and the folder on the instance."""
    migrations: frozenset[str] | None = None
    """The migrations that the data of the service that migrates has been through."""
    migrations_then: frozenset[str] | None = None
    """Those it had been through when the image of it that is wanted now last ran healthy."""
    deployment: str = "NAME"
    checkpoints: Sequence[Checkpoint] = ()
    """Those there are, oldest first; looked up only where one of them may be the way back."""
    known_to_work: bool = False
    """Whether the image that is wanted of it is known to work on what newer ones have migrated."""
    data_return: str = ""
    """The operation that has put older data in place and is not known to have come to its end; empty: none has."""
    restore: str = ""
    """The command that puts its data back as it was before; empty when no checkpoint holds that."""


@dataclass(frozen=True)
class Beside:
    """What an operator's own service is, to one of the catalogue that may work with it."""

    image: ImageReference
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable → the secret that it gets."""


@dataclass(frozen=True)
class Ask:
    """Under which conditions is judged."""

    lenient: bool
    """Nobody can be asked: a return by itself, or a recovery. Only what is known to be impossible fails."""
    back: CheckStatus
    """The verdict on older software that may not read the data."""
    copied: Collection[str]
    """The services whose data a checkpoint holds before anything changes."""


def release(tag: str) -> tuple[int, int, int] | None:
    """The release that a tag names: (1, 14, 1) of ``v1.14.1-gpu``; None where it names none."""
    match = _RELEASE.match(tag)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None
