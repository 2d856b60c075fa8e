"""The data manifest: what each service holds, before and after a change. Loss is loud."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from geusemaker.agent.protocol import reading
from geusemaker.agent.protocol.data import Data, Held
from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.catalog.service import Service
from geusemaker.services.collaborators import Host

_NAMED: Final = 5
"""So many of what is gone are named."""


@dataclass(frozen=True)
class Comparison:
    """What became of what was there, one sentence each."""

    losses: tuple[str, ...] = ()
    """What must never be lost, and is gone."""
    warnings: tuple[str, ...] = ()
    """What an application kept for itself, and is gone for reasons not known here."""
    notes: tuple[str, ...] = ()
    """What an application's own migrations are known to remove."""


def read(host: Host) -> dict[str, Any]:
    """What the data is now, as the agent reads it."""
    tables: dict[str, list[str]] = {
        name: sorted(service.tables.kept) for name, service in SERVICES.items() if service.tables
    }
    return host.manifest(tables).record


def compare(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Comparison:
    """What was there before and is gone now. What could not be read is no loss.

    A table is the user's, and its disappearance a loss, unless it is a service's own (n8n's): then it is a loss if it
    must never be lost, a note if the service's migrations are known to drop it, and a warning else. Without a migration
    none is dropped. Counts and sizes decide nothing: n8n prunes its own rows.
    """
    if not before or not after:
        return Comparison()
    old, new = reading.read(Data, before), reading.read(Data, after)
    identities = (
        ("the file system", old.file_system_id, new.file_system_id),
        ("the sentinel file", _identity(old.sentinel), _identity(new.sentinel)),
    )
    gone = [f"{what} is another one ({was} before, {now} now)" for what, was, now in identities if was and was != now]
    for name in reversed(SERVICE_NAMES):
        service, had, has = SERVICES[name], old.of(name), new.of(name)
        if key := service.listed:
            gone += [f"{name} lost {key[:-1]} {item}" for item in _missing(getattr(had, key), getattr(has, key))]
        if service.files and had.file_folders and has.file_folders == []:
            gone.append(f"{name} lost {service.files}")
    for name in sorted(old.services.keys() - SERVICES.keys()):
        # One of which nothing is said has none any more.
        folders = _missing(old.of(name).folders, new.of(name).folders or ())
        gone += [f"{name} lost its folder {item}" for item in folders]
    kept = [
        _tables(old, new),
        *(_rows(service, old.of(service.name), new.of(service.name)) for service in SERVICES.values()),
    ]
    return Comparison(
        (*gone, *(text for part in kept for text in part.losses)),
        tuple(text for part in kept for text in part.warnings),
        tuple(text for part in kept for text in part.notes),
    )


def told(found: Comparison, checkpoint: str) -> list[str]:
    """The warnings, with the checkpoint that was taken before the change; empty: none was."""
    where = f"; checkpoint {checkpoint} holds it" if checkpoint else "; no checkpoint was taken before this change"
    return [f"{text}{where}." for text in found.warnings]


def _tables(old: Data, new: Data) -> Comparison:
    """The tables of all databases, whoever keeps them."""
    gone, warnings, notes = [], [], []
    for keeper in SERVICES:
        before, after = old.of(keeper).databases, new.of(keeper).databases
        if before is None or after is None:
            continue
        for database, tables in before.items():
            if database not in after:
                gone.append(f"{keeper} lost database {database}")
                continue
            owner = _migrated_in(database, old, new)
            for table in _missing(tables, after[database]):
                kind = _kind(table, owner, old)
                if owner is None or kind == "kept":
                    gone.append(f"{keeper} lost table {database}.{table}")
                elif kind == "dropped":
                    notes.append(f"{owner.title}'s migrations removed its table {table.partition('.')[2]}")
                else:
                    warnings.append(
                        f"{owner.title}'s table {table.partition('.')[2]} is gone, which its migrations are not known "
                        "to remove"
                    )
    return Comparison(tuple(gone), tuple(warnings), tuple(notes))


def _migrated_in(database: str, old: Data, new: Data) -> Service | None:
    """The service that has tables of its own in a database, and has migrated them."""
    for name, service in SERVICES.items():
        had, has = old.of(name), new.of(name)
        own = had.database or has.database
        if service.tables and database == own and _missing(has.migrations, had.migrations):
            return service
    return None


def _kind(table: str, owner: Service | None, old: Data) -> Literal["kept", "dropped", "own"]:
    """What a table is to the service that has migrated the database; the user's are kept."""
    schema, _, name = table.partition(".")
    tables = owner.tables if owner is not None else None
    if owner is None or tables is None or schema != tables.schema:
        return "kept"
    if name in tables.dropped:
        return "dropped"
    # Its own is what is known as such, or, of a release not known here, bound to what is.
    is_own = name in tables.own or name in (old.of(owner.name).linked or ())
    return "own" if is_own and not tables.is_kept(name) else "kept"


def _rows(service: Service, old: Held, new: Held) -> Comparison:
    """Rows of a service's kept tables, by their id where they have one."""
    if service.tables is None or old.rows is None or new.rows is None:
        return Comparison()
    gone: list[str] = []
    warnings: list[str] = []
    for table, was in old.rows.items():
        now = new.rows.get(table)
        if now is None or table in service.tables.listed:
            continue  # a table that is gone is told of already
        if missing := _missing(was.ids, now.ids):
            named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if missing[_NAMED:] else "")
            gone.append(f"{service.name} lost {_rows_of(len(missing), table)}: {named}")
        elif was.any and now.any is False:
            text = f"{service.title}'s table {table} is empty and was not before"
            (warnings if table in service.tables.pruned else gone).append(text)
    return Comparison(tuple(gone), tuple(warnings))


def _rows_of(count: int, table: str) -> str:
    return f"{count} {'row' if count == 1 else 'rows'} of {table}"


def _identity(sentinel: dict[str, Any] | None) -> dict[str, Any]:
    """What makes the sentinel this one; the agent adds what it learns later, such as that there is a database."""
    found = sentinel or {}
    return {key: found[key] for key in ("deployment", "file_system_id", "created") if key in found}


def _missing(before: Iterable[str] | None, after: Iterable[str] | None) -> list[str]:
    return [] if before is None or after is None else sorted({*before} - {*after})
