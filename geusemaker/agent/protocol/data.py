"""What the data holds, as ``manifest`` tells it and records keep it. None: it could not be read, or nobody told it."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.agent.protocol.reading import Json


@dataclass(frozen=True)
class Rows:
    """The rows of a table: their ids, or where they have none whether there are any."""

    ids: list[str] | None = None
    any: bool | None = None


@dataclass(frozen=True)
class Resorted:
    """A database whose text is in the order of another release of the C library than the one that runs."""

    database: str
    recorded: str
    actual: str


@dataclass(frozen=True)
class Held:
    """What a service holds; each has some of it."""

    version: str | None = None
    """The major version of its files."""
    databases: dict[str, list[str] | None] | None = None
    """Database → its tables, with their schema."""
    user: str | None = None
    collations: list[Resorted] | None = None
    collections: list[str] | None = None
    models: list[str] | None = None
    workflows: list[str] | None = None
    migrations: list[str] | None = None
    """Those that its database has been through."""
    ready: bool = True
    """Whether it was when that was read: in the middle of them they are no fact yet. Older agents do not tell."""
    database: str | None = None
    """The one that it keeps its tables in."""
    linked: list[str] | None = None
    """Tables there that refer to its own."""
    rows: dict[str, Rows] | None = None
    """Table → what of it must never be lost."""
    mentions: list[str] | None = None
    """The names of the workflows that have a word in their nodes, where one was asked for."""
    file_folders: list[str] | None = None
    folders: list[str] | None = None
    """Those of an operator's own service."""


@dataclass(frozen=True)
class Data:
    """All of it, and on which file system."""

    file_system_id: str | None = None
    sentinel: Json | None = None
    services: dict[str, Held] = field(default_factory=dict)

    def of(self, service: str) -> Held:
        """What a service holds."""
        return self.services.get(service, Held())
