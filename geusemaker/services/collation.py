"""What PostgreSQL itself says of the C library that sorts its text, and what mends that. Pure.

What a change of image will mean is foreseen in ``geusemaker.catalog.postgresql``.
"""

from __future__ import annotations

import shlex
from typing import Any, Final

from geusemaker.agent.data.postgresql import to_connect
from geusemaker.agent.protocol.data import Data
from geusemaker.agent.protocol.reading import read
from geusemaker.catalog.postgresql import DEBIANS, SERVICE, keeping
from geusemaker.models.stack import StackConfig

_CONTAINER: Final = f"geusemaker-{SERVICE.name}-1"
_DEBIANS_BY_LIBRARY: Final = {version: name for name, version in DEBIANS.items()}


def told(manifest: dict[str, Any] | None, config: StackConfig) -> list[str]:
    """The databases whose text is in another library's order, as PostgreSQL itself says, with what to type."""
    held = read(Data, manifest).of(SERVICE.name)
    if not held.collations:
        return []
    names = [one.database for one in held.collations]
    versions = ", ".join(sorted({f"{one.recorded} → {one.actual}" for one in held.collations}))
    commands = "; ".join(f"`{command(held.user or 'geusemaker', name)}`" for name in names)
    releases = {_DEBIANS_BY_LIBRARY.get(one.recorded) for one in held.collations}
    runs = config.services.get(SERVICE.name)
    tag = keeping(runs.image, releases.pop()) if runs is not None and len(releases) == 1 else ""
    stays = f", or go to {tag}, which has the library of before" if tag else ""
    return [
        f"PostgreSQL's C library is another one than that which sorted its text (glibc {versions}), so indexes on text "
        f"may miss rows, in {', '.join(names)}. On the instance, as root, while nothing else writes: {commands}{stays}."
    ]


def command(user: str, database: str) -> str:
    """What puts a database's indexes in order and says so to PostgreSQL."""
    quoted = '"' + database.replace('"', '""') + '"'
    statements = (f"REINDEX DATABASE {quoted}", f"ALTER DATABASE {quoted} REFRESH COLLATION VERSION")
    words = ["docker", "exec", _CONTAINER, "psql", "-U", user, "-d", to_connect(database)]
    return shlex.join([*words, *(word for statement in statements for word in ("-c", statement))])
