"""n8n's workflows and rows, which lie in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.containers import Container
from geusemaker.agent.data.n8n import n8n_database
from geusemaker.agent.data.postgresql import ask_each, ask_quickly, quote_identifier, rows_of
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError

ROWS_HAVE_IDS: Final = (
    "SELECT c.relname, EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'id' "
    "AND NOT a.attisdropped) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND c.relname IN ({}) ORDER BY 1"
)
LINKED: Final = (
    "SELECT DISTINCT c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    "JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_namespace m ON m.oid = f.relnamespace WHERE k.contype = 'f' AND n.nspname = 'public' "
    "AND m.nspname = 'public' AND f.relname IN ({}) ORDER BY 1"
)


def workflow_manifest(agent: Agent, container: Container | None, tables: Sequence[Any]) -> Json:
    """n8n's workflows and migrations, and the rows of those ``tables`` of its own that must never be lost."""
    if container is None:
        return {"workflows": None, "reason": "postgresql is not running"}
    database = n8n_database(agent)
    # By id: a workflow that was renamed is not lost. n8n's schema is what its migrations made it: the same list means
    # an older image can run on it.
    asked = ("SELECT id FROM workflow_entity ORDER BY 1", "SELECT name FROM migrations ORDER BY 1")
    answers, problem = or_problem(lambda: ask_each(agent, container, database, asked))
    if answers is None:
        return {"workflows": None, "migrations": None, "reason": problem}
    workflows, migrations = answers
    if isinstance(workflows, str):
        return {"workflows": None, "migrations": None, "reason": f"PostgreSQL could not be asked: {workflows}"}
    found: Json = {"workflows": workflows, "migrations": None, "database": database}
    if not isinstance(migrations, str):
        found["migrations"] = migrations
    if not tables:
        return found
    rows, problem = or_problem(lambda: kept_rows(agent, container, database, [str(table) for table in tables]))
    return {**found, **(rows or {"rows": None, "linked": None, "reason": problem})}


def mentions(agent: Agent, container: Container | None, word: str | None) -> Json:
    """The names of the workflows that have a word in their nodes; nothing without a word, None where none can be asked.

    Raises:
        AgentError: bad_input
    """
    if word is None:
        return {}
    if not re.fullmatch(r"[a-z0-9]+", word):
        raise AgentError("bad_input", "'n8n_mentions' has to be a word.")
    if container is None:
        return {"mentions": None}
    statement = f"SELECT name FROM workflow_entity WHERE nodes::text ILIKE '%{word}%' ORDER BY 1"
    found, _ = or_problem(lambda: ask_quickly(agent, container, n8n_database(agent), statement))
    return {"mentions": found}


def kept_rows(agent: Agent, container: Container, database: str, tables: Sequence[str]) -> Json:
    """What is in tables of the schema ``public``, and which other tables of it refer to them.

    ``rows``: table → ``{"ids": [...]}``, or ``{"any": whether there is a row}`` where rows have no ``id``. A table that
    is not there is left out.

    Raises:
        AgentError: docker_failed, bad_input
    """
    if not all(re.fullmatch(r"[a-z_]+", table) for table in tables):
        raise AgentError("bad_input", "'n8n_tables' has to be names of tables.")
    names = ", ".join(f"'{table}'" for table in tables)
    asked = (ROWS_HAVE_IDS.format(names), LINKED.format(names))
    with_ids, linked = map(rows_of, ask_each(agent, container, database, asked))
    has_id = dict(line.rsplit("|", 1) for line in with_ids)
    questions = [
        f"SELECT '{table}', id::text FROM public.{quote_identifier(table)}"
        if has_id[table] == "t"
        else f"SELECT '{table}', '' FROM (SELECT 1 FROM public.{quote_identifier(table)} LIMIT 1) AS one"
        for table in sorted(has_id)
    ]
    rows: Json = {table: {"ids": []} if has_id[table] == "t" else {"any": False} for table in sorted(has_id)}
    union = f"{' UNION ALL '.join(questions)} ORDER BY 1, 2"
    for line in ask_quickly(agent, container, database, union) if questions else ():
        table, _, identity = line.partition("|")
        if has_id.get(table) == "t":
            rows[table]["ids"].append(identity)
        elif table in has_id:  # else the rest of an id with a line break in it
            rows[table]["any"] = True
    return {"rows": rows, "linked": linked}
