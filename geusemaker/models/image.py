"""Image references as Docker writes them: ``repository[:tag][@digest]``."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from geusemaker.models.reference import Reference

_RELEASE = re.compile(r"v?(\d{1,6}(?:\.\d{1,6}){1,3})(?![0-9.])")


class ImageReference(BaseModel):
    """An image reference with a tag, and with a digest once it has been resolved.

    It is written, read and stored as one string: ``n8nio/n8n:1.91.0@sha256:…``.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    repository: str
    """Registry and name, as Docker writes them."""
    tag: str
    """``latest`` where none was given."""
    digest: str | None = None
    """``sha256:…``, once the tag has been looked up."""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference; a missing tag means ``latest``, as for Docker.

        Raises:
            ValueError: the text is not an image reference.
        """
        try:
            found = Reference.parse(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not an image reference; write it as repository:tag, "
                "for example n8nio/n8n:2.42.6 or registry.example.com/team/app:2.0"
            ) from None
        return cls(repository=found.repository, tag=found.tag or "latest", digest=found.digest or None)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return cls.parse(value).__dict__ if isinstance(value, str) else value

    @model_serializer
    def _to_text(self) -> str:
        return str(self)

    @property
    def registry(self) -> str:
        """The registry's host, ``docker.io`` where none is written."""
        return self._reference.registry

    @property
    def path(self) -> str:
        """The repository's path within its registry (``library/postgres`` for ``postgres``)."""
        return self._reference.path

    @property
    def _reference(self) -> Reference:
        return Reference(self.repository, self.tag, self.digest or "")

    @property
    def tagged(self) -> str:
        """``repository:tag``, what a person reads."""
        return f"{self.repository}:{self.tag}"

    @property
    def by_digest(self) -> str:
        """``repository@digest``, what is pulled; ``repository:tag`` where no digest is known yet."""
        return f"{self.repository}@{self.digest}" if self.digest else self.tagged

    @property
    def release(self) -> tuple[int, ...] | None:
        """The release that the tag names: (1, 14, 1) of ``v1.14.1-gpu``; None where it names none."""
        match = _RELEASE.match(self.tag)
        return tuple(int(part) for part in match[1].split(".")) if match else None

    def pinned(self, digest: str) -> ImageReference:
        """The same reference with this digest."""
        return self.model_copy(update={"digest": digest})

    def __str__(self) -> str:
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged
