"""The data manifest: what each service holds, before and after a change. Loss is loud."""

from __future__ import annotations

from typing import Any

from geusemaker.services.collaborators import Host

# Service → the kinds of things whose disappearance is loss. Counts and sizes decide nothing: n8n prunes its own rows.
_LISTED = {"qdrant": "collections", "ollama": "models", "n8n": "workflows"}


def read(host: Host) -> dict[str, Any]:
    """What the data is now, as the agent reads it."""
    answer = host.run("manifest", {}, timeout=60.0)
    return {key: answer[key] for key in ("file_system_id", "sentinel", "services") if key in answer}


def losses(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """What was there before and is gone now, one sentence each. What could not be read is no loss."""
    if not before or not after:
        return []
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
    databases_before = _part(old, "postgresql", "databases")
    databases_after = _part(new, "postgresql", "databases")
    if isinstance(databases_before, dict) and isinstance(databases_after, dict):
        for database, tables in databases_before.items():
            if database not in databases_after:
                gone.append(f"postgresql lost database {database}")
                continue
            gone += [
                f"postgresql lost table {database}.{table}" for table in _missing(tables, databases_after[database])
            ]
    return gone


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
