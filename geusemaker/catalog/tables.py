"""The tables that a service makes in a database, told from the user's. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tables:
    """The tables that a service makes for itself in a database, where the user has tables as well."""

    schema: str
    own: frozenset[str]
    """All that it makes."""
    kept: frozenset[str]
    """Those that must never be lost; rows by their id where they have one."""
    kept_prefix: str
    """What the names of others begin with that must never be lost."""
    pruned: frozenset[str]
    """Kept tables whose rows it removes by age itself: that none is left need not be a loss."""
    dropped: frozenset[str]
    """Those that a migration of its own drops."""
    listed: frozenset[str]
    """Those whose rows its manifest names one by one, so that they are told of already."""

    def is_kept(self, table: str) -> bool:
        """Whether a table must never be lost."""
        return table in self.kept or table.startswith(self.kept_prefix)
