"""By which C library PostgreSQL sorts text: another one under the same data leaves indexes in the wrong order. Pure.

Source: docs.docker.com/_/postgres and its history (plain tags are Debian 12 up to August 2025, Debian 13 since), and
PostgreSQL's manual, "ALTER DATABASE … REFRESH COLLATION VERSION".
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

from geusemaker.host.agent import to_connect
from geusemaker.models.image import ImageReference

_DEBIANS: Final = {"bullseye": "2.31", "bookworm": "2.36", "trixie": "2.41"}
"""Debian's release, as tags name it → its C library's version, as PostgreSQL tells it."""
_TRIXIE_SINCE: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""Major version → the first minor whose plain tag is of Debian 13; from 18 on all are."""
_OFFICIAL: Final = "library/postgres"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:-(.+))?")
_CONTAINER: Final = "geusemaker-postgresql-1"


def library(image: ImageReference) -> str | None:
    """``musl``, or the Debian release whose C library an image has; None: it cannot be told."""
    if "alpine" in image.tag:
        return "musl"
    match = _VERSION.fullmatch(image.tag)
    if image.path != _OFFICIAL or match is None:
        return None
    major, minor, variant = int(match[1]), int(match[2]), match[3]
    if variant is not None:
        return variant if variant in _DEBIANS else None
    since = 0 if major > max(_TRIXIE_SINCE) else _TRIXIE_SINCE.get(major)
    if since is None:
        return None
    return "trixie" if minor >= since else "bookworm"


def foreseen(served: ImageReference, wanted: ImageReference) -> str:
    """What a change of image means for the order of text, before it is done; empty: nothing, or nobody knows."""
    old, new = library(served), library(wanted)
    if old == new or (None in (old, new) and "musl" not in (old, new)):
        return ""
    stays = f"; {keeping} keeps it" if (keeping := _keeping(wanted, old)) else ""
    return (
        f"{wanted.tagged} sorts text by another C library than {served.tagged}: indexes on text have to be made anew "
        f"(REINDEX DATABASE; the commands are told afterwards){stays}"
    )


def told(manifest: dict[str, Any] | None, image: ImageReference | None) -> list[str]:
    """The databases whose text is in another library's order, as PostgreSQL itself says, with what to type."""
    postgresql = ((manifest or {}).get("services") or {}).get("postgresql") or {}
    found = postgresql.get("collations") or []
    if not found:
        return []
    user = postgresql.get("user") or "geusemaker"
    names = [str(one["database"]) for one in found]
    versions = ", ".join(sorted({f"{one['recorded']} → {one['actual']}" for one in found}))
    commands = "; ".join(f"`{command(user, name)}`" for name in names)
    releases = {_DEBIANS_BY_LIBRARY.get(str(one["recorded"])) for one in found}
    tag = _keeping(image, releases.pop()) if image is not None and len(releases) == 1 else ""
    stays = f", or go to {tag}, which has the library of before" if tag else ""
    return [
        f"PostgreSQL's C library is another one than that which sorted its text (glibc {versions}), so indexes on text "
        f"may miss rows, in {', '.join(names)}. On the instance, as root, while nothing else writes: {commands}{stays}."
    ]


_DEBIANS_BY_LIBRARY: Final = {version: name for name, version in _DEBIANS.items()}


def command(user: str, database: str) -> str:
    """What puts a database's indexes in order and says so to PostgreSQL."""
    quoted = '"' + database.replace('"', '""') + '"'
    statements = (f"REINDEX DATABASE {quoted}", f"ALTER DATABASE {quoted} REFRESH COLLATION VERSION")
    words = ["docker", "exec", _CONTAINER, "psql", "-U", user, "-d", to_connect(database)]
    return shlex.join([*words, *(word for statement in statements for word in ("-c", statement))])


def _keeping(image: ImageReference, release: str | None) -> str:
    """The same PostgreSQL's tag with that Debian's library; empty where there is none that can be named."""
    match = _VERSION.fullmatch(image.tag)
    if release not in _DEBIANS or match is None or image.path != _OFFICIAL:
        return ""
    return f"{image.tagged.rpartition(':')[0]}:{match[1]}.{match[2]}-{release}"
