"""References of images."""

from __future__ import annotations

from typing import NamedTuple

from geusemaker.agent.document import Json


class Image(NamedTuple):
    """``repository[:tag][@digest]``, with the repository in Docker's short form (``postgres``, ``n8nio/n8n``)."""

    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Image:
        name, _, digest = text.partition("@")
        folder, slash, last = name.rpartition("/")
        base, _, tag = last.partition(":")
        repository = (folder + slash + base).removeprefix("docker.io/").removeprefix("library/")
        return cls(repository, tag or None, digest or None)

    @property
    def by_digest(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or 'latest'}"

    def is_among(self, inspected: Json) -> bool:
        """Whether ``docker image inspect`` shows this very image."""
        key = "RepoDigests" if self.digest else "RepoTags"
        return any(Image.parse(name).by_digest == self.by_digest for name in inspected.get(key) or [])
