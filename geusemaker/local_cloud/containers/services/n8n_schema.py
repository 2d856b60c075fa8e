"""n8n's tables and migrations by their real names: those that are told apart when a database is compared or moved.

Columns are few, and of the hundreds of migrations only those are here that take something away or cannot be undone;
each came with the version of n8n that it stands with.
"""

from __future__ import annotations

import re

from geusemaker.local_cloud.containers.services.database import Database

_PLAIN = (
    *("shared_workflow", "folder", "tag_entity", "workflows_tags", "folder_tag", "shared_credentials", "project"),
    *("project_relation", "role", "user_api_keys", "auth_identity", "settings", "variables", "webhook_entity"),
    *("installed_packages", "installed_nodes", "execution_data", "workflow_statistics", "insights_raw"),
    *("test_definition", "test_metric"),
)
"""Tables of 1.100 that nothing here reads."""

MIGRATIONS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    (
        (0,),
        "InitialMigration1587669153312",
        "CREATE TABLE workflow_entity (id VARCHAR(36) PRIMARY KEY, name VARCHAR(128) NOT NULL, "
        "active BOOLEAN NOT NULL, nodes JSON NOT NULL);"
        "CREATE TABLE credentials_entity (id VARCHAR(36) PRIMARY KEY, name VARCHAR(128) NOT NULL, data TEXT NOT NULL);"
        'CREATE TABLE "user" (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), email VARCHAR(255), role TEXT);'
        "CREATE TABLE execution_entity (id SERIAL PRIMARY KEY, finished BOOLEAN NOT NULL, "
        '"workflowId" VARCHAR(36) NOT NULL);'
        'CREATE TABLE workflow_history ("versionId" VARCHAR(36) PRIMARY KEY, "workflowId" VARCHAR(36) NOT NULL);'
        + "".join(f'CREATE TABLE "{name}" (id VARCHAR(36) PRIMARY KEY);' for name in _PLAIN),
    ),
    ((1, 110, 1), "RemoveOldRoleColumn1750252139170", 'ALTER TABLE "user" DROP COLUMN role;'),
    (
        (1, 113, 3),
        "AddTimestampsToRoleAndRoleIndexes1756906557570",
        'ALTER TABLE role ADD COLUMN "createdAt" TIMESTAMPTZ NOT NULL DEFAULT now();'
        "DROP TABLE test_definition; DROP TABLE test_metric;",
    ),
    ((1, 116), "ChangeValueTypesForInsights1759399811000", "ALTER TABLE insights_raw ADD COLUMN value BIGINT;"),
    (
        (1, 122),
        "BackfillMissingWorkflowHistoryRecords1762763704614",
        "INSERT INTO workflow_history SELECT id, id FROM workflow_entity ON CONFLICT DO NOTHING;",
    ),
    (
        (2, 0),
        "ChangeDefaultForIdInUserTable1762771264000",
        'ALTER TABLE "user" ALTER COLUMN id SET DEFAULT gen_random_uuid();'
        + "".join(
            f"CREATE TABLE {name} (id VARCHAR(36) PRIMARY KEY);"
            for name in ("data_table", "binary_data", "deployment_key", "instance_version_history", "scope")
        ),
    ),
    ((2, 22), "AddInsightsRawTimestampIdIndex1784000000004", "CREATE INDEX ON insights_raw (id);"),
)
"""(first version, name, what it does), oldest first."""


IN_ONE_TRANSACTION = (2, 41)
"""From here on all that is pending is one transaction, under a lock; before, each migration is one of its own."""
_LOCK = 1850


_ROLE_UNTIL = (1, 110, 1)


def user_columns(tag: str) -> str:
    """The columns of the table ``user`` that a release asks for at each login: an older one fails where one is gone."""
    return "id, email, role" if version_of(tag) < _ROLE_UNTIL else "id, email"


def version_of(tag: str) -> tuple[int, ...]:
    """``(1, 100, 1)`` for ``1.100.1-slow``; a tag without a version is the newest."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    return tuple(int(part) for part in match[1].split(".")) if match else (9999,)


def migrate(database: Database, tag: str) -> list[str]:
    """Run the migrations that this version has and the database has not; their names.

    Pending is what was not run by name, as with the real one: others that the database knows are left alone.

    Raises:
        DatabaseError: the database refuses, or is not there.
    """
    database.run(
        "CREATE TABLE IF NOT EXISTS migrations (id SERIAL PRIMARY KEY, timestamp BIGINT NOT NULL, "
        "name VARCHAR NOT NULL);"
    )
    whole = version_of(tag) >= IN_ONE_TRANSACTION
    known = {row["name"] for row in database.rows("SELECT name FROM migrations")}
    pending = [
        (name, f"{statements} INSERT INTO migrations (timestamp, name) VALUES ({name[-13:]}, '{name}');")
        for first, name, statements in MIGRATIONS
        if first <= version_of(tag) and name not in known
    ]
    if whole and pending:
        statements = " ".join(script for _, script in pending)
        database.run(f"SELECT pg_advisory_xact_lock({_LOCK}); {statements}")
    elif not whole:
        for _, script in pending:
            database.run(script)
    return [name for name, _ in pending]
