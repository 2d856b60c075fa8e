"""The sentinel tells that this is the deployment's own, original data."""

from __future__ import annotations

import json
import time

from geusemaker.agent.clock import now
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, read_text, write_atomic
from geusemaker.agent.store.folder import Folder


class Sentinel(Folder):
    """What the data is, for as long as it exists."""

    def sentinel(self) -> Json | None:
        return read_json(self.sentinel_file)

    def ensure_sentinel(self, deployment: str, file_system_id: str) -> bool:
        """Write the sentinel on a file system that never had one; True when it did.

        Raises:
            AgentError: foreign_data, data_loss
        """
        with self._locked():
            found = self.sentinel()
            if found is None:
                if self.lease_file.exists() or self.journal_file.exists():
                    raise AgentError(
                        "data_loss",
                        f"File system {file_system_id} was in use by geusemaker, but its sentinel file is gone. "
                        "Data may have been removed or replaced; nothing is started on it.",
                    )
                sentinel = {"deployment": deployment, "file_system_id": file_system_id, "created": now()}
                write_atomic(self.sentinel_file, json.dumps(sentinel), 0o600)
                return True
        check_sentinel(found, deployment, file_system_id)
        return False

    def data_volume(self) -> Json | None:
        """The data volume as it was last left: volume_id, uuid of its file system, formatted."""
        found: Json | None = (self.sentinel() or {}).get("data_volume")
        return found

    def note_data_volume(self, volume: Json) -> None:
        with self._locked():
            found = self.sentinel()
            if found is not None and found.get("data_volume") != volume:
                write_atomic(self.sentinel_file, json.dumps({**found, "data_volume": volume}), 0o600)

    def mark_database(self) -> None:
        """Remember that there is a PostgreSQL database here: a missing one is a loss from now on, no fresh start."""
        with self._locked():
            found = self.sentinel()
            if found is not None and not found.get("postgresql") and self.database_version() is not None:
                write_atomic(self.sentinel_file, json.dumps({**found, "postgresql": True}), 0o600)

    def database_version(self) -> str | None:
        """The major version of the PostgreSQL database on disk."""
        for folder in ("postgresql/pgdata", "postgresql"):
            text = read_text(self.efs / folder / "PG_VERSION")
            if text is not None:
                return text.strip()
        return None

    def note_adopted(self, operation: str) -> None:
        """Remember since when the data is this stack's: what another one copied before is not this one's to remove."""
        with self._locked():
            found = self.sentinel()
            if found is not None:
                adopted = {"operation": operation, "at": now(), "since": time.time()}
                write_atomic(self.sentinel_file, json.dumps({**found, "adopted": adopted}), 0o600)


def check_sentinel(sentinel: Json | None, deployment: str | None, file_system_id: str) -> None:
    """Raise unless the sentinel is that of this deployment and file system.

    Raises:
        AgentError: data_loss (there is none), foreign_data (it is another's)
    """
    if sentinel is None:
        raise AgentError("data_loss", f"The sentinel file on {file_system_id} is gone: data may have been removed.")
    owner = sentinel.get("deployment")
    if deployment is not None and owner != deployment:
        raise AgentError(
            "foreign_data",
            f"File system {file_system_id} holds the data of another deployment, {owner!r}.",
            owner=owner,
        )
    if sentinel.get("file_system_id") != file_system_id:
        raise AgentError(
            "foreign_data",
            f"The data on {file_system_id} was made on file system {sentinel.get('file_system_id')}: it is a copy.",
            sentinel=sentinel,
        )
