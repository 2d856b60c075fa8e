"""A client of PostgreSQL for the stand-ins of other services: each question is one run of the real ``psql``."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from geusemaker.local_cloud.containers.services import pgbinaries
from geusemaker.local_cloud.containers.services.container import Container


class DatabaseError(Exception):
    """The question was not answered.

    Attributes:
        is_passing: the server is not there, or starts, or stops: asking again may help.
    """

    def __init__(self, message: str, is_passing: bool) -> None:
        super().__init__(message)
        self.is_passing = is_passing


class Database:
    """n8n's database, by n8n's own variables (``DB_POSTGRESDB_…``)."""

    def __init__(self, container: Container) -> None:
        given = container.environment
        self._psql = f"{pgbinaries.ask()[0].folder}/psql"
        self._container = container
        self._host = given.get("DB_POSTGRESDB_HOST", "localhost")
        self._port = int(given.get("DB_POSTGRESDB_PORT", "5432"))
        self._environment = {
            "PGUSER": given.get("DB_POSTGRESDB_USER", "postgres"),
            "PGPASSWORD": given.get("DB_POSTGRESDB_PASSWORD", ""),
            "PGDATABASE": given.get("DB_POSTGRESDB_DATABASE", "n8n"),
            "PGCONNECT_TIMEOUT": "5",
            "PGCLIENTENCODING": "UTF8",
        }

    def run(self, script: str, **values: str) -> str:
        """Run statements in one transaction; what psql prints of their rows.

        Args:
            values: what ``:'name'`` stands for in the statements.

        Raises:
            DatabaseError: it refuses, or is not there.
        """
        try:
            address, port = self._container.find(self._host, self._port)
        except OSError as error:
            raise DatabaseError(f"could not connect to {self._host!r}: {error.strerror}", True) from None
        command = [self._psql, "-XqAt1", "-v", "ON_ERROR_STOP=1"]
        for key, value in values.items():
            command += ["-v", f"{key}={value}"]
        done = subprocess.run(
            command,
            input=script,
            env=self._environment | {"PGHOST": address, "PGPORT": str(port)},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        if done.returncode != 0:
            said = done.stderr.strip()
            refused = ("authentication failed", "does not exist", "no pg_hba.conf entry")
            # 2: there is no connection (psql's manual, "Exit Status")
            raise DatabaseError(said, done.returncode == 2 and not any(words in said for words in refused))
        return done.stdout

    def rows(self, query: str, **values: str) -> list[dict[str, Any]]:
        """The rows of one SELECT.

        Raises:
            DatabaseError: it refuses, or is not there.
        """
        answer = self.run(f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found", **values)
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows
