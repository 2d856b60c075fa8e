"""n8n: workflows, kept in PostgreSQL, which each release migrates to a form of its own.

An older version does not know the migrations that a newer one ran: it starts, answers its probes, and need not work.
Tried with real n8n on real PostgreSQL: 1.100.1 on the data of 1.123.5 and of 2.41.1 is ready, and each login is HTTP
500 (a column is gone); webhooks answer and their executions fail. Restoring the dump from before repairs it.
n8n's own `db:revert` is no way back: it takes back one migration at a time and ends, with exit status 0, at the first
that is irreversible. Source: n8n, packages/cli/src/commands/db/revert.ts.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from geusemaker.catalog import confinement, n8n_environment, n8n_tables
from geusemaker.catalog.package import Package
from geusemaker.catalog.rules import Ask, DataFacts, Verdict, release
from geusemaker.catalog.service import Data, Service
from geusemaker.catalog.tables import Tables
from geusemaker.models.image import ImageReference

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint, DataNow

WORKS: Final[tuple[tuple[tuple[int, int, int], tuple[int, int]], ...]] = (((2, 41, 1), (1, 123)),)
"""(the n8n that migrated the data, the minor version of the older one that was seen to work on it). 1.123.5 and
1.123.81 on the data of 2.41.1: 48 questions to its REST API answered as before; binary data of 2.x is not found."""
_OFFICIAL: Final = "n8nio/n8n"

_IN_ONE_TRANSACTION: Final = (2, 41)
"""From here on n8n was seen to run all pending migrations in one transaction; 1.x and 2.0 commit each by itself."""


_HOLES: Final = (((1, 65, 0), (1, 121, 0), "CVE-2026-21858: anybody can read its files, and so take it over"),)
"""(the first release that has it, the first that has not, what). Holes through which nobody has to log in, and nothing
but such: github.com/n8n-io/n8n/security/advisories."""


def _hole(image: ImageReference) -> str:
    found = release(image.tag)
    return next((why for first, mended, why in _HOLES if found is not None and first <= found < mended), "")


# --- its data --------------------------------------------------------------------------------------------------------


def _compatibility(image: ImageReference, facts: DataFacts, ask: Ask) -> Verdict | None:
    served = facts.served.get("n8n")
    if served is None:
        return None
    same = served.by_digest == image.by_digest
    old, new = release(served.tag), release(image.tag)
    if not same and old is not None and new is not None and new >= old:
        return Verdict("pass", f"{image.tagged} migrates what {served.tagged} left")
    if facts.migrations is None or facts.migrations_then is None:
        if same:
            return None
        return Verdict(
            "warn",
            f"whether n8n migrated its database since {image.tagged} ran is not on record; going back may fail",
            known=False,
        )
    added = sorted(facts.migrations - facts.migrations_then)
    if not added:
        return None if same else Verdict("pass", f"no migration has run since {image.tagged} did")
    named = ", ".join(added[:3]) + (" …" if len(added) > 3 else "")
    count = "one migration" if len(added) == 1 else f"{len(added)} migrations"
    ran = f"a newer n8n has run {count} that {image.tagged} does not know ({named})"
    if facts.known_to_work:
        return Verdict("warn", f"{ran}; it is known to work on them, but for binary data of the newer one")
    back = "go back" if same else "go back with --allow-data-downgrade"
    way = (
        ("" if same else "a rollback to it with --with-data, which puts the data back as well; or ")
        + f"{back}, then run `{facts.restore}`, which puts the data back as it was before"
        if facts.restore
        else f"no checkpoint holds the data as it was before; {back} to take the risk"
    )
    # What comes back to what ran last is no downgrade that anybody chose: a version in between failed.
    return Verdict("warn" if same else ask.back, f"{ran}: it starts, and logins may fail. The way: {way}")


def _known_to_work(wanted: ImageReference, migrated_by: Collection[ImageReference]) -> bool:
    def works(newer: ImageReference) -> bool:
        new, old = release(newer.tag), release(wanted.tag)
        official = all(image.repository.endswith(_OFFICIAL) for image in (newer, wanted))
        return official and new is not None and old is not None and (new, old[:2]) in WORKS

    return bool(migrated_by) and all(map(works, migrated_by))


def _may_migrate(before: ImageReference, after: ImageReference) -> bool | None:
    """Nearly each minor version does (``packages/@n8n/db/src/migrations`` of n8n's sources); patches seldom do."""
    if before.by_digest == after.by_digest:
        return False
    old, new = release(before.tag), release(after.tag)
    if old is None or new is None:
        return None
    if new <= old:
        return False
    return True if new[:2] != old[:2] else None


def _is_all_or_nothing(image: ImageReference) -> bool:
    match = re.match(r"(\d+)\.(\d+)", image.tag or "")
    return match is not None and (int(match[1]), int(match[2])) >= _IN_ONE_TRANSACTION


def _restore_check(checkpoint: Checkpoint, now: DataNow, image: ImageReference) -> Verdict | None:
    if checkpoint.n8n_key and now.n8n_key and checkpoint.n8n_key != now.n8n_key:
        return Verdict("fail", "it was made with another encryption key of n8n: its credentials could not be read")
    if checkpoint.migrations is None:
        return None
    here = set(now.migrations or ())
    newer = [name for name in checkpoint.migrations if name not in here]
    if not newer:
        behind = len(here - set(checkpoint.migrations))
        what = f"n8n runs the {behind} since at its start" if behind else "as many as the database has now"
        return Verdict("pass", f"{len(checkpoint.migrations)} migrations, {what}")
    ran = _tag(checkpoint.images.get("n8n"))
    then, wanted = release(ran), release(image.tag)
    if then is not None and wanted is not None and wanted >= then:
        return Verdict("pass", f"left by n8n {ran}, which {image.tag} follows")
    detail = f"the database has been through migrations that {image.tag} may not know ({', '.join(newer[:3])})"
    if then is None or wanted is None:
        return Verdict("warn", detail)
    return Verdict("fail", f"{detail}: n8n {ran} left it, go to v{checkpoint.version} first")


def _tag(image: str | None) -> str:
    try:
        return ImageReference.parse(image or "").tag
    except ValueError:
        return ""


def _restore_notice(checkpoint: Checkpoint) -> str:
    if not any(held.workflows is not None for held in checkpoint.holds):
        return ""
    if checkpoint.n8n_files is None:
        return "The checkpoint has no files of n8n's executions (binary data); those of now stay as they are."
    files, noun = checkpoint.n8n_files.files, "file" if checkpoint.n8n_files.files == 1 else "files"
    return (
        f"n8n's executions have their {files} {noun} of then; those of now are set aside (binaryData_before_…, "
        "storage_before_…), since execution numbers are given again."
    )


SERVICE: Final = Service(
    name="n8n",
    title="n8n",
    start_order=20,
    image="n8nio/n8n:2.42.6",
    repositories=("n8nio/n8n",),
    stable_tag="stable",  # docs.n8n.io/release-notes: `stable` for production, `beta` is the newest
    package=Package("npm", "n8n"),
    port=5678,
    memory_share=2,
    since=1,
    # Measured: 2.41 dies of its heap at 512 MiB, after it has migrated, and lives with 600; 1.100 lives in 309.
    least_mib=600,
    older_least_mib=((2,), 300),
    needs=("postgresql",),
    # Its other store, SQLite, relies on WAL, which does not work on NFS.
    needs_why="n8n keeps its data in PostgreSQL: enable postgresql as well, or leave n8n out",
    calls_all=True,  # workflows call what they like
    # github.com/n8n-io/n8n-hosting, charts/n8n/templates/deployment-main.yaml: none, and no escalation.
    confinement=lambda _image: confinement.NONE,
    data=Data(path="/home/node/.n8n", uid=1000),  # node: the Dockerfile of github.com/n8n-io/n8n
    environment=n8n_environment.ENVIRONMENT,
    reserved=frozenset(
        {
            "DB_POSTGRESDB_PASSWORD",
            "DB_POSTGRESDB_SCHEMA",
            "N8N_CONFIG_FILES",
            "N8N_ENCRYPTION_KEY",
            "N8N_USER_FOLDER",
        }
    ),
    lately_reserved=frozenset(
        {
            "DB_TABLE_PREFIX",
            "HOME",
            "N8N_BINARY_DATA_STORAGE_PATH",
            "N8N_ENDPOINT_HEALTH",
            "N8N_STORAGE_PATH",
        }
    ),
    reads_files=True,
    # Of its schedules, and of its system: docs.n8n.io/hosting/configuration/configuration-examples/time-zone. Where
    # they are not set, its own default counts, and that of its image.
    time_zones={"GENERIC_TIMEZONE": "America/New_York", "TZ": "UTC"},
    read=n8n_environment.READ,
    misfits=n8n_environment.misfits,
    needs_also=n8n_environment.needs_also,
    authenticates=True,
    owned_by_its_first_visitor=True,
    domain_environment=n8n_environment.domain_environment,
    domain_misfits=n8n_environment.domain_misfits,
    hole=_hole,
    secrets=n8n_environment.SECRETS,
    adopting="n8n's encryption key is taken from its own file on {data}",
    # /healthz says nothing but that it listens, which it does before it migrates its database (n8n's sources,
    # packages/cli/src/abstract-server.ts); releases without the other path have only that.
    readiness={"kind": "http", "path": "/healthz/readiness", "fallback": "/healthz", "json": True},
    readiness_also=n8n_environment.readiness_also,
    compatibility=_compatibility,
    restore_check=_restore_check,
    restore_notice=_restore_notice,
    listed="workflows",
    # n8n 3 renames the one folder to the other, so only the last one's end is loss.
    files="the files of its executions (binaryData, storage)",
    tables=Tables(
        schema=n8n_tables.SCHEMA,
        own=n8n_tables.OWN,
        kept=n8n_tables.KEPT,
        kept_prefix=n8n_tables.DATA_TABLE,
        pruned=n8n_tables.PRUNED,
        dropped=n8n_tables.DROPPED,
        listed=frozenset({"workflow_entity"}),
    ),
    known_to_work=_known_to_work,
    may_migrate=_may_migrate,
    closes="migrates its database",
    rehearsed=n8n_environment.REHEARSED,
    works=n8n_environment.login,
    is_all_or_nothing=_is_all_or_nothing,
)
