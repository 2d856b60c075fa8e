"""Whether n8n's encryption key may become another one: only while nothing that it holds was closed with it."""

from __future__ import annotations

from typing import Any, Final

from geusemaker.errors import RefusedError
from geusemaker.services import manifest
from geusemaker.services.collaborators import Host
from geusemaker.services.operation import UNTOUCHED

_TABLE: Final = "credentials_entity"


def require_no_credentials(name: str, host: Host) -> None:
    """Refuse where n8n holds credentials, or where that cannot be told.

    Raises:
        RefusedError
        HostError: the instance does not answer.
    """
    held = credentials(manifest.read(host))
    if held is None:
        raise RefusedError(
            f"Whether n8n of {name} holds credentials cannot be told now, and another key would make them unreadable.",
            state=UNTOUCHED,
            next_step=f"`geusemaker status {name}` says how PostgreSQL and n8n are; both have to run.",
        )
    if held:
        count = "1 credential" if held == 1 else f"{held} credentials"
        raise RefusedError(
            f"n8n of {name} holds {count}, encrypted with the key that it has: nobody could read them with another.",
            state=UNTOUCHED,
            next_step="A key is imported before the first credential is made. To move another n8n in, deploy under "
            "another name.",
        )


def credentials(found: dict[str, Any]) -> int | None:
    """How many credentials n8n holds, by the manifest of the data; None: that cannot be told. Pure.

    A database without the table is one that n8n has not made yet.
    """
    rows = ((found.get("services") or {}).get("n8n") or {}).get("rows")
    if rows is None:
        return None
    table = rows.get(_TABLE)
    if table is None:
        return None if rows else 0
    ids = table.get("ids")
    return len(ids) if ids is not None else int(bool(table.get("any")))
