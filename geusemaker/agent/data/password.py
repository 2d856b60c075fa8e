"""The database's password, changed while it runs."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Collection
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import POLL_INTERVAL
from geusemaker.agent.containers import find_failure
from geusemaker.agent.data.postgresql import database_user, quote_identifier
from geusemaker.agent.env_files import parse_env_value
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text
from geusemaker.agent.processes import Finished
from geusemaker.agent.project import compose_up

PASSWORD_PATIENCE: Final = 300.0  # seconds for a database that has to recover before it takes a password


def put_password(agent: Agent, there: Collection[str]) -> None:
    """Have PostgreSQL run, and take the password of its env file, over the container's own socket.

    Raises:
        AgentError: apply_failed, docker_failed
    """
    prefix = "POSTGRES_PASSWORD="
    lines = (read_text(agent.home / "postgresql.env") or "").splitlines()
    value = next((parse_env_value(line[len(prefix) :]) for line in lines if line.startswith(prefix)), "")
    if not value:
        raise AgentError("apply_failed", "The database's password is to be changed, and its env file has none.")
    agent.reporter.phase("password", "started", "The database gets its new password")
    compose_up(agent, there, ["postgresql"])
    verifier = scram_verifier(value)
    agent.reporter.hide([value, verifier])
    statement = f"ALTER ROLE {quote_identifier(database_user(agent))} WITH PASSWORD '{verifier}';\n"
    deadline = time.monotonic() + PASSWORD_PATIENCE
    while True:
        container = agent.containers().get("postgresql")
        said = _tell_database(agent, container.id, statement) if container is not None else "it has no container"
        if not said:
            break
        restarts = container.restarts if container is not None else 0
        if time.monotonic() > deadline or find_failure(container, restarts, excused=False) is not None:
            raise AgentError("apply_failed", f"The database did not take its new password: {said}")
        time.sleep(POLL_INTERVAL)
    agent.reporter.phase("password", "done", "The database has its new password")


def _tell_database(agent: Agent, container: str, statement: str) -> str:
    """Have psql run what it is given on its stdin, as the local user; what went wrong, empty where nothing did."""
    login = ("-U", database_user(agent), "-d", "postgres")
    try:
        done = subprocess.run(
            ("docker", "exec", "-i", container, "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", *login),
            env=agent.command_environment("docker"),
            input=statement.encode(),
            capture_output=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "psql did not end within 60 seconds"
    return Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason() if done.returncode else ""


def scram_verifier(value: str) -> str:
    """What PostgreSQL keeps of a password (its docs, "pg_authid"; RFC 5803), for an ALTER ROLE that may be logged."""
    import hashlib
    import hmac

    salt, rounds = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", value.encode(), salt, rounds)
    client, server = (hmac.digest(salted, text, "sha256") for text in (b"Client Key", b"Server Key"))
    kept, salt_text, server_text = (
        base64.b64encode(data).decode() for data in (hashlib.sha256(client).digest(), salt, server)
    )
    return f"SCRAM-SHA-256${rounds}:{salt_text}${kept}:{server_text}"
