"""The data manifest: what each service holds, before and after a change. Loss is loud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from geusemaker.services import n8n_tables
from geusemaker.services.collaborators import Host

# Service → the kinds of things whose disappearance is loss. Counts and sizes decide nothing: n8n prunes its own rows.
_LISTED = {"qdrant": "collections", "ollama": "models", "n8n": "workflows"}
_SECONDS: Final = 60.0
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
    answer = host.run("manifest", {"n8n_tables": sorted(n8n_tables.KEPT)}, timeout=_SECONDS)
    return {key: answer[key] for key in ("file_system_id", "sentinel", "services") if key in answer}


def compare(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Comparison:
    """What was there before and is gone now. What could not be read is no loss.

    A table is the user's, and its disappearance a loss, unless it is n8n's own: then it is a loss if it must never be
    lost, a note if n8n's migrations are known to drop it, and a warning else. Without a migration n8n drops none.
    """
    if not before or not after:
        return Comparison()
    gone = []
    for key, name in (("file_system_id", "the file system"), ("sentinel", "the sentinel file")):
        was, now = _identity(before.get(key)), _identity(after.get(key))
        if was and was != now:
            gone.append(f"{name} is another one ({was} before, {now} now)")
    old, new = before.get("services") or {}, after.get("services") or {}
    for service, key in _LISTED.items():
        gone += [
            f"{service} lost {key[:-1]} {item}" for item in _missing(_part(old, service, key), _part(new, service, key))
        ]
    # n8n 3 renames the one folder to the other, so only the last one's end is loss.
    if _part(old, "n8n", "file_folders") and _part(new, "n8n", "file_folders") == []:
        gone.append("n8n lost the files of its executions (binaryData, storage)")
    tables = _tables(old, new)
    rows = _rows(_part(old, "n8n", "rows"), _part(new, "n8n", "rows"))
    return Comparison((*gone, *tables.losses, *rows.losses), (*tables.warnings, *rows.warnings), tables.notes)


def told(found: Comparison, checkpoint: str) -> list[str]:
    """The warnings, with the checkpoint that was taken before the change; empty: none was."""
    where = f"; checkpoint {checkpoint} holds it" if checkpoint else "; no checkpoint was taken before this change"
    return [f"{text}{where}." for text in found.warnings]


def _tables(old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    before, after = _part(old, "postgresql", "databases"), _part(new, "postgresql", "databases")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return Comparison()
    gone, warnings, notes = [], [], []
    migrated = bool(_missing(_part(new, "n8n", "migrations"), _part(old, "n8n", "migrations")))
    for database, tables in before.items():
        if database not in after:
            gone.append(f"postgresql lost database {database}")
            continue
        is_n8n = database == (_part(old, "n8n", "database") or _part(new, "n8n", "database"))
        for table in _missing(tables, after[database]):
            schema, _, name = table.partition(".")
            own = is_n8n and migrated and schema == n8n_tables.SCHEMA
            if own and name in n8n_tables.DROPPED:
                notes.append(f"n8n's migrations removed its table {name}")
            elif own and not n8n_tables.is_kept(name) and _is_n8ns(name, old):
                warnings.append(f"n8n's table {name} is gone, which its migrations are not known to remove")
            else:
                gone.append(f"postgresql lost table {database}.{table}")
    return Comparison(tuple(gone), tuple(warnings), tuple(notes))


def _is_n8ns(table: str, old: dict[str, Any]) -> bool:
    """Whether a table is n8n's own: known as such, or, of a release not known here, bound to those that are."""
    return table in n8n_tables.OWN or table in (_part(old, "n8n", "linked") or ())


def _rows(before: Any, after: Any) -> Comparison:
    """Rows of n8n's kept tables, by their id where they have one. Workflows are told of by their own list."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return Comparison()
    gone: list[str] = []
    warnings: list[str] = []
    for table, was in before.items():
        now = after.get(table)
        if now is None or table == "workflow_entity":
            continue  # a table that is gone is told of already
        if missing := _missing(was.get("ids"), now.get("ids")):
            named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if missing[_NAMED:] else "")
            gone.append(f"n8n lost {_rows_of(len(missing), table)}: {named}")
        elif was.get("any") and now.get("any") is False:
            text = f"n8n's table {table} is empty and was not before"
            (warnings if table in n8n_tables.PRUNED else gone).append(text)
    return Comparison(tuple(gone), tuple(warnings))


def _rows_of(count: int, table: str) -> str:
    return f"{count} {'row' if count == 1 else 'rows'} of {table}"


def _identity(value: Any) -> Any:
    """What makes the sentinel this one; the agent adds what it learns later, such as that there is a database."""
    if not isinstance(value, dict):
        return value
    return {key: value[key] for key in ("deployment", "file_system_id", "created") if key in value}


def _part(services: dict[str, Any], service: str, key: str) -> Any:
    return (services.get(service) or {}).get(key)


def _missing(before: Any, after: Any) -> list[str]:
    if not isinstance(before, list) or not isinstance(after, list):
        return []
    return sorted({str(item) for item in before} - {str(item) for item in after})
