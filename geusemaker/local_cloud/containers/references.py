"""Image references, read and shown as Docker does (github.com/distribution/reference)."""

from __future__ import annotations

import re
from typing import NamedTuple

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?P<name>(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(NamedTuple):
    """``host/path:tag@digest``; ``tag`` and ``digest`` are empty where not written."""

    host: str
    path: str
    tag: str
    digest: str

    @property
    def familiar_name(self) -> str:
        """The repository as Docker shows it: ``postgres`` for ``docker.io/library/postgres``."""
        if self.host != "docker.io":
            return f"{self.host}/{self.path}"
        return self.path.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """The reference as Docker shows it; a digest hides the tag beside it, which Docker ignores."""
        return f"{self.familiar_name}@{self.digest}" if self.digest else f"{self.familiar_name}:{self.tag or 'latest'}"

    @property
    def full(self) -> str:
        """With host and namespace, as the last line of ``docker pull`` shows it."""
        suffix = f"@{self.digest}" if self.digest else f":{self.tag or 'latest'}"
        return f"{self.host}/{self.path}{suffix}"


def parse(text: str) -> Reference:
    """Read a reference.

    Raises:
        ValueError: Docker would say ``invalid reference format``.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or len(match["name"]) > 255:
        raise ValueError("invalid reference format")
    first, slash, rest = match["name"].partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        host, path = first, rest
    else:
        host, path = "docker.io", match["name"]
    if host in ("docker.io", "index.docker.io"):
        host, path = "docker.io", path if "/" in path else f"library/{path}"
    return Reference(host, path, match["tag"] or "", match["digest"] or "")
