"""PostgreSQL: databases, n8n's and the user's own.

A server starts only on data of its own major version, which PG_VERSION on disk tells; up and down alike.
    Source: PostgreSQL documentation, "Upgrading a PostgreSQL Cluster"; the server checks it (ValidatePgVersion in
    src/backend/utils/init/miscinit.c).
Another C library (Alpine's, Debian's) sorts text otherwise, so indexes on text have to be built anew.
    Source: PostgreSQL wiki, "Locale data changes"; docs.docker.com/_/postgres and its history (plain tags are Debian 12
    up to August 2025, Debian 13 since), and PostgreSQL's manual, "ALTER DATABASE … REFRESH COLLATION VERSION".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from geusemaker.catalog.confinement import Confinement
from geusemaker.catalog.package import Package
from geusemaker.catalog.rules import Ask, Beside, DataFacts, Verdict
from geusemaker.catalog.service import Data, Service
from geusemaker.models.image import ImageReference

_SUFFIX: Final = re.compile(r"(?:^|[-_.])pg(\d{1,2})(?!\d)")
_TAG: Final = re.compile(r"v?(\d{1,2})(?:\.(\d+))?(?![\d])")
_OLDEST: Final = 9
"""A smaller number in front is not the server's version, but that of an extension the image is named after."""

_WAL_ELSEWHERE: Final = re.compile(r"(?:^|\s)(?:-X|--waldir)")

DEBIANS: Final = {"bullseye": "2.31", "bookworm": "2.36", "trixie": "2.41"}
"""Debian's release, as tags name it → its C library's version, as PostgreSQL tells it."""
_TRIXIE_SINCE: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""Major version → the first minor whose plain tag is of Debian 13; from 18 on all are."""
_OFFICIAL: Final = "library/postgres"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:-(.+))?")


def major(tag: str) -> str | None:
    """The major version that a tag names, as PG_VERSION would tell it; None where it names none."""
    if match := _SUFFIX.search(tag):
        return match[1]
    match = _TAG.match(tag)
    if match is None or int(match[1]) < _OLDEST:
        return None
    if int(match[1]) == _OLDEST:
        return f"9.{match[2]}" if match[2] else None
    return match[1]


def _compatibility(image: ImageReference, facts: DataFacts, _ask: Ask) -> Verdict | None:
    served = facts.served.get("postgresql")
    on_disk = facts.versions.get("postgresql") or (major(served.tag) if served is not None else None)
    if on_disk is None:
        return None
    wanted = major(image.tag)
    if wanted is None:
        return Verdict(
            "warn",
            f"the data is of PostgreSQL {on_disk}; whether {image.tagged} is of that version cannot be told",
            known=False,
        )
    if wanted != on_disk:
        return Verdict(
            "fail",
            f"the data is of PostgreSQL {on_disk}, and {image.tagged} does not start on it: a major version cannot be "
            "crossed in place, in neither direction (docs/data.md tells how to carry the data over by hand)",
        )
    if served is not None and (order := reordered(served, image)):
        return Verdict("warn", order)
    return Verdict("pass", f"of PostgreSQL {on_disk}, as {image.tagged} is")


def library(image: ImageReference) -> str | None:
    """``musl``, or the Debian release whose C library an image has; None: it cannot be told."""
    if "alpine" in image.tag:
        return "musl"
    match = _VERSION.fullmatch(image.tag)
    if image.path != _OFFICIAL or match is None:
        return None
    number, minor, variant = int(match[1]), int(match[2]), match[3]
    if variant is not None:
        return variant if variant in DEBIANS else None
    since = 0 if number > max(_TRIXIE_SINCE) else _TRIXIE_SINCE.get(number)
    if since is None:
        return None
    return "trixie" if minor >= since else "bookworm"


def reordered(served: ImageReference, wanted: ImageReference) -> str:
    """What a change of image means for the order of text, before it is done; empty: nothing, or nobody knows."""
    old, new = library(served), library(wanted)
    if old == new or (None in (old, new) and "musl" not in (old, new)):
        return ""
    stays = f"; {tag} keeps it" if (tag := keeping(wanted, old)) else ""
    return (
        f"{wanted.tagged} sorts text by another C library than {served.tagged}: indexes on text have to be made anew "
        f"(REINDEX DATABASE; the commands are told afterwards){stays}"
    )


def keeping(image: ImageReference, debian: str | None) -> str:
    """The same PostgreSQL's tag with that Debian's library; empty where there is none that can be named."""
    match = _VERSION.fullmatch(image.tag)
    if debian not in DEBIANS or match is None or image.path != _OFFICIAL:
        return ""
    return f"{image.tagged.rpartition(':')[0]}:{match[1]}.{match[2]}-{debian}"


def _misfits(_image: ImageReference, environment: Mapping[str, str], _beside: Mapping[str, Beside]) -> list[str]:
    if _WAL_ELSEWHERE.search(environment.get("POSTGRES_INITDB_ARGS", "")):
        return ["postgresql.POSTGRES_INITDB_ARGS puts the write-ahead log where its container ends (--waldir)"]
    return []


SERVICE: Final = Service(
    name="postgresql",
    title="PostgreSQL",
    aliases=("postgres",),
    start_order=10,
    image="postgres:17.12",
    repositories=("postgres",),
    # Bitnami's records are of three numbers: ``{"fixed": "16.15.0"}`` in BIT-postgresql-2026-14678.
    package=Package("Bitnami", "postgresql", "{}.{}.0"),
    port=5432,
    memory_share=2,
    since=1,
    least_mib=128,
    stop_seconds=60,
    shared_memory="256m",
    data=Data(
        path="/var/lib/postgresql/data",
        uid=999,  # this and Alpine's: the Dockerfiles of github.com/docker-library/postgres
        variants={"alpine": 70},
    ),
    environment={
        "POSTGRES_USER": "geusemaker",
        "POSTGRES_DB": "n8n",
        # A folder below the mount point: initdb refuses one that holds anything else.
        "PGDATA": "/var/lib/postgresql/data/pgdata",
    },
    reserved=frozenset({"POSTGRES_PASSWORD", "POSTGRES_HOST_AUTH_METHOD", "PGPORT"}),
    lately_reserved=frozenset({"POSTGRES_INITDB_WALDIR"}),
    reads_files=True,
    read=frozenset({"POSTGRES_INITDB_ARGS"}),
    misfits=_misfits,
    # github.com/docker-library/postgres, docker-entrypoint.sh: as root it makes the data's folders, gives them to the
    # user postgres, looks into what is that user's alone (issue 649 there; DAC_READ_SEARCH would do, and opens any file
    # of the machine by its handle), and becomes that user.
    confinement=lambda _image: Confinement(capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")),
    secrets={"POSTGRES_PASSWORD": "postgresql_password"},
    adopting="the database on {data} gets a new password",
    readiness={"kind": "postgresql"},
    compatibility=_compatibility,
    copied="PostgreSQL is dumped",
    restoring="Clients of the databases are disconnected for a moment.",
    kept_aside="each database is kept as NAME_before_…",
    rehearsed={},
    left_alone=frozenset({"postgres"}),  # clients connect to it to rename the others
)
