"""Under which name, and as which version, OSV knows what an image runs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from geusemaker.models.image import ImageReference

_RELEASE: Final = re.compile(r"v?(\d+(?:\.\d+)*)(?:-(.+))?")
_BEFORE_RELEASE: Final = re.compile(r"(?:rc|beta|alpha|exp|dev|pre|nightly|canary)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """A package of OSV: google.github.io/osv.dev/post-v1-query. Its names are case-sensitive."""

    ecosystem: str
    name: str
    form: str = "{}.{}.{}"
    """A version as its records have it, of the numbers of a tag; so many numbers a tag has to have."""

    def version(self, image: ImageReference) -> str:
        """The version that an image's tag names; empty where it names no whole release (``latest``, ``16``, ``-rc1``).

        What else stands in a tag, as ``-alpine``, is the image's variant and not the release's.
        """
        numbers = plain_release(image.tag)
        return self.form.format(*numbers) if len(numbers) == self.form.count("{}") else ""


def plain_release(tag: str) -> tuple[int, ...]:
    """The numbers of a release that a tag names; empty for others, and for what comes before a release."""
    match = _RELEASE.fullmatch(tag)
    if match is None or _BEFORE_RELEASE.match(match[2] or ""):
        return ()
    return tuple(int(number) for number in match[1].split("."))
