"""Image references, read and shown as Docker does (github.com/distribution/reference). Standard library only."""

from __future__ import annotations

import re
from typing import NamedTuple

# Without IPv6 hosts.
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<repository>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(NamedTuple):
    """``repository:tag@digest`` as it was written; ``tag`` and ``digest`` are empty where they were not."""

    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference.

        Raises:
            ValueError: Docker would say ``invalid reference format``.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None or len(match["repository"]) > 255:
            raise ValueError("invalid reference format")
        return cls(match["repository"], match["tag"] or "", match["digest"] or "")

    @property
    def registry(self) -> str:
        """The registry's host, ``docker.io`` where none is written."""
        first, _, rest = self.repository.partition("/")
        is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
        return first if rest and is_host else "docker.io"

    @property
    def path(self) -> str:
        """The repository's path within its registry (``library/postgres`` for ``postgres``)."""
        if self.registry != "docker.io":
            return self.repository.partition("/")[2]
        path = self.repository.removeprefix("docker.io/")
        return path if "/" in path else f"library/{path}"

    @property
    def familiar_name(self) -> str:
        """The repository as Docker shows it: ``postgres`` for ``docker.io/library/postgres``."""
        return self.path.removeprefix("library/") if self.registry == "docker.io" else self.repository

    @property
    def familiar(self) -> str:
        """The reference as Docker shows it; a digest hides the tag beside it, which Docker ignores."""
        return f"{self.familiar_name}{self._suffix}"

    @property
    def full(self) -> str:
        """With host and namespace, as the last line of ``docker pull`` shows it."""
        return f"{self.registry}/{self.path}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return f"@{self.digest}" if self.digest else f":{self.tag or 'latest'}"
