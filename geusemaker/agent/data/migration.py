"""n8n's migrations, watched in its database."""

from __future__ import annotations

from typing import Final, NamedTuple

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.containers import Container
from geusemaker.agent.data.n8n import n8n_database
from geusemaker.agent.data.postgresql import ask_each


class Session(NamedTuple):
    """One client's session with PostgreSQL (its docs, "pg_stat_activity")."""

    pid: str
    state: str
    wait: str
    """Type of what it waits for: Lock, IO, Client …; empty where it waits for nothing."""
    transaction: str
    """When its transaction began, and …"""
    query: str
    """… its newest statement; as texts that can be compared."""
    seconds: float
    """How long that statement has been running, or is done."""
    blockers: str
    """The sessions that hold the lock it waits for."""


class MigrationLook(NamedTuple):
    """n8n's database at one moment, while n8n says that it is not ready."""

    done: int | None
    """How many migrations are recorded; None: the table is not there yet."""
    sessions: tuple[Session, ...]

    @property
    def blocked(self) -> Session | None:
        return next((session for session in self.sessions if session.wait == "Lock"), None)


def migration_state(before: MigrationLook | None, now: MigrationLook) -> str:
    """``working``, ``waiting`` (for a lock: that is hanging), or ``idle``.

    n8n asks its database for ``SELECT 1`` every other second, so a session that was just used tells nothing: what
    counts is one more migration, a statement that goes on, or the next one of the same transaction.
    """
    if before is not None and now.done != before.done:
        return "working"
    if now.blocked is not None:
        return "waiting"
    known = {(session.pid, session.transaction): session.query for session in before.sessions} if before else {}
    for session in now.sessions:
        if session.state == "active" and session.wait != "Timeout" and session.seconds >= 1:
            return "working"
        if session.transaction and known.get((session.pid, session.transaction), session.query) != session.query:
            return "working"
    return "idle"


_SESSIONS: Final = (
    "SELECT pid, coalesce(state, ''), coalesce(wait_event_type, ''), coalesce(extract(epoch FROM xact_start), 0), "
    "coalesce(extract(epoch FROM query_start), 0), coalesce(extract(epoch FROM clock_timestamp() - query_start), 0), "
    "array_to_string(pg_blocking_pids(pid), ' ') FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY pid"
)


def look_at_migration(agent: Agent, postgresql: Container | None) -> MigrationLook | None:
    """What happens in n8n's database; None where it cannot be asked."""
    if postgresql is None or not postgresql.running:
        return None
    database = n8n_database(agent)
    # The second fails while there is no such table, which is so before the first migration.
    asked = (_SESSIONS, "SELECT count(*) FROM migrations")
    answers, _ = or_problem(lambda: ask_each(agent, postgresql, database, asked, seconds=2, timeout=10))
    if answers is None or isinstance(answers[0], str):
        return None
    rows, done = answers
    sessions = []
    for row in rows:
        fields = row.split("|")
        if len(fields) == 7:
            pid, state, wait, transaction, query, seconds, blockers = fields
            begun = "" if transaction == "0" else transaction
            sessions.append(Session(pid, state, wait, begun, query, _number(seconds), blockers))
    return MigrationLook(int(done[0]) if done and done[0].isdigit() else None, tuple(sessions))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def migration_detail(state: str, look: MigrationLook) -> str:
    """In few words, for a person."""
    done = f"{look.done or 0} migrations are done"
    if state == "working":
        return f"migrating its database: {done}"
    if state == "starting":  # one look tells no progress
        return f"starting: {done}"
    if state == "waiting" and look.blocked is not None:
        holders = f" that session {look.blocked.blockers} holds" if look.blocked.blockers else ""
        return f"its migration waits for a lock{holders}: {done}"
    return f"not ready, and nothing happens in its database: {done}"
