"""What the agent does for a deployment that takes up data of before: adoption, and apply with ``adopt``."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, DirectAgent, apply_document, do

IMAGES = {"postgresql": POSTGRES, "n8n": N8N}
PASSWORD = "it's-a-new-password"
ENVIRONMENT = {"postgresql": {"POSTGRES_PASSWORD": PASSWORD}, "n8n": {"DB_POSTGRESDB_PASSWORD": PASSWORD}}


def adopting(operation: str, **changes: Any) -> dict[str, Any]:
    return apply_document(operation, IMAGES, environment=ENVIRONMENT, adopt=True, **changes)


@pytest.fixture
def used(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """Data that somebody else made: a database, n8n's key, a checkpoint, and their last lease."""
    machine.publish(*IMAGES.values())
    efs = machine.root / "mnt/efs"
    (efs / "n8n").mkdir()
    (efs / "n8n/config").write_text(json.dumps({"encryptionKey": "kept key"}))
    (efs / "postgresql/pgdata").mkdir(parents=True)
    (efs / "postgresql/pgdata/PG_VERSION").write_text("16\n")
    do(mounted, "begin", operation="op-old", instance_id="i-old")
    do(mounted, "end", operation="op-old", outcome="done")
    return mounted


def test_what_the_data_tells(used: DirectAgent, machine: Machine) -> None:
    found = do(used, "adoption")
    assert found["n8n_key"] == "kept key" and found["n8n_was_here"] is True
    assert found["sentinel"]["deployment"] == "prod" and found["lease"]["instance_id"] == "i-old"
    assert "kept key" not in "".join(used.reporter.text), "it is in the answer and in no event"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"encryptionKey": 5}', '{"encryptionKey": ""}', "{}"])
def test_a_file_without_a_key_is_no_key(used: DirectAgent, machine: Machine, text: str) -> None:
    (machine.root / "mnt/efs/n8n/config").write_text(text)
    found = do(used, "adoption")
    assert found["n8n_key"] is None and found["n8n_was_here"] is True


def test_where_n8n_never_was_no_key_is_missed(mounted: DirectAgent) -> None:
    found = do(mounted, "adoption")
    assert found["n8n_key"] is None and found["n8n_was_here"] is False


def test_the_database_gets_its_password_before_anybody_else_starts(
    used: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[set[str]] = []

    def tell(agent: Any, container: str, statement: str) -> str:
        assert "WITH PASSWORD 'SCRAM-SHA-256$" in statement and PASSWORD not in statement
        running.append({name for name, one in agent.containers().items() if one.running})
        return "" if len(running) > 1 else "the database system is starting up"

    monkeypatch.setattr("geusemaker.agent.data.password._tell_database", tell)
    do(used, "apply", **adopting("op-1", expects="op-old"))
    assert running == [{"postgresql"}, {"postgresql"}]
    assert {name for name, one in used.containers().items() if one.running} == {"postgresql", "n8n"}
    assert not used.store.password_changes()
    sentinel = used.store.sentinel()
    assert sentinel is not None and sentinel["adopted"]["operation"] == "op-1"


def test_a_database_that_takes_no_password_ends_it_and_nothing_else_starts(
    used: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "geusemaker.agent.data.password._tell_database", lambda agent, container, statement: "role does not exist"
    )
    monkeypatch.setattr("geusemaker.agent.data.password.PASSWORD_PATIENCE", 0.0)
    with pytest.raises(AgentError, match="did not take its new password: role does not exist"):
        do(used, "apply", **adopting("op-1", expects="op-old"))
    assert {name for name, one in used.containers().items() if one.running} == {"postgresql"}
    assert used.store.password_changes(), "the next one does it"


def test_a_database_that_is_not_there_yet_is_made_with_its_password(
    mounted: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.publish(*IMAGES.values())
    monkeypatch.setattr("geusemaker.agent.data.password._tell_database", lambda *words: pytest.fail("nobody is asked"))
    assert do(mounted, "apply", **adopting("op-1"))["changed"] == ["n8n", "postgresql"]


def test_copies_from_before_the_adoption_are_never_collected(used: DirectAgent) -> None:
    def make(name: str, age: float) -> None:
        path = used.store.checkpoints / name
        path.mkdir(parents=True)
        (path / "checkpoint.json").write_text(json.dumps({"kind": "update"}))
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))

    make("v3/op-a", 1000)
    make("v4/op-b", 900)
    do(used, "begin", operation="op-1")
    used.store.note_adopted("op-1")
    make("v1/op-c", -50)
    make("v2/op-d", -100)
    assert do(used, "gc", operation="op-1", keep=[], checkpoints=[2])["checkpoints_removed"] == ["v1/op-c"]
    assert {path.name for path in used.store.checkpoints.glob("v*/*")} == {"op-a", "op-b", "op-d"}
