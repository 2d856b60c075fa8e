"""Backups: all of it or nothing, read once more, ended by whoever takes the lease, and removed by no change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from tests.unit.qdrant_server import QdrantServer
from tests.unit.test_agent.conftest import Program
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import POSTGRES, QDRANT, DirectAgent, Json, apply_document, do
from tests.unit.test_agent.test_verbs.test_checkpoint import ROWS, folder, make, names, refused

IMAGES = {"postgresql": POSTGRES, "qdrant": QDRANT}
ASKED: Json = {"operation": "op-2", "number": 3, "by": "ann"}


def serve(agent: DirectAgent, machine: Machine, images: dict[str, str]) -> DirectAgent:
    """These services run, and no operation has the deployment."""
    machine.publish(*images.values())
    do(agent, "begin", operation="op-1")
    do(agent, "apply", **apply_document("op-1", images))
    do(agent, "end", operation="op-1", outcome="done")
    machine.update(rows=ROWS)
    return agent


@pytest.fixture
def idle(mounted: DirectAgent, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectAgent:
    """PostgreSQL with two databases, Qdrant with a collection."""
    server = QdrantServer(tmp_path / "qdrant", "v1.14.1", tmp_path / "storage")
    monkeypatch.setattr("geusemaker.agent.data.qdrant.QDRANT_PORT", server.port)
    assert server("PUT", "/collections/docs", {"vectors": {"size": 1}})[0] == 200
    return serve(mounted, machine, IMAGES)


def back_up(agent: DirectAgent, **changes: Any) -> Json:
    taken: Json = do(agent, "backup", **{**ASKED, **changes})["checkpoint"]
    return taken


def test_all_of_it_is_one_copy_and_no_lease_is_taken(idle: DirectAgent) -> None:
    lease = do(idle, "lease")["lease"]
    binary = idle.efs / "n8n/binaryData/a"
    binary.parent.mkdir(parents=True)
    binary.write_text("a file")
    taken = back_up(idle)
    assert (taken["checkpoint"], taken["kind"], taken["by"], taken["version"]) == ("v3/op-2", "backup", "ann", 3)
    assert [held["name"] for held in taken["holds"]] == ["n8n", "odd/name", "docs"]
    assert taken["n8n_files"]["files"] == 1 and taken["verified_at"] >= taken["taken_at"]
    assert json.loads((folder(idle) / "v3/op-2/checkpoint.json").read_text()) == taken
    assert do(idle, "checkpoints")["checkpoints"] == [taken]
    assert do(idle, "lease")["lease"] == lease and idle.running_operations() == []


def test_none_is_made_while_an_operation_has_the_deployment(idle: DirectAgent) -> None:
    do(idle, "begin", operation="op-3", kind="update", actor="bob")
    error = refused(lambda: back_up(idle))
    assert error.code == "lease_held" and error.detail["holder"]["actor"] == "bob"
    assert names(idle) == set()


def test_one_at_a_time(idle: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"operation": "op-9", "verb": "backup", "pid": 1}
    monkeypatch.setattr(idle, "running_operations", lambda: [other])
    assert refused(lambda: back_up(idle)).code == "backup_runs"
    monkeypatch.setattr(idle, "running_operations", lambda: [other | {"verb": "logs"}])
    assert back_up(idle)["verified_at"]


def test_whoever_takes_the_lease_ends_it_at_once(
    mounted: DirectAgent, machine: Machine, run: Program, until: Callable[[Callable[[], Any]], None]
) -> None:
    serve(mounted, machine, {"postgresql": POSTGRES})
    [postgresql] = machine.state["containers"]
    machine.update(hang={f"docker exec {postgresql} pg_dump": 600})
    running = run.start("backup", ASKED)
    until(lambda: machine.calls("docker", "exec", postgresql, "pg_dump"))
    assert run("begin", {"operation": "op-3"})[0] == 0
    code, lines = run.finish(running)
    assert (code, lines[-1]["code"]) == (1, "cancelled")
    assert do(mounted, "checkpoints") == {"checkpoints": []}
    do(mounted, "end", operation="op-3", outcome="done")
    machine.update(hang={})
    assert back_up(mounted, operation="op-4")["checkpoint"] == "v3/op-4"
    assert {path.name for path in (folder(mounted) / "v3").iterdir()} == {"op-4"}, "what was left is gone"


def test_a_copy_that_is_not_whole_is_none(idle: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str, services: Any) -> Json:
        raise AgentError("checkpoint_damaged", f"docs.snapshot of checkpoint {name} is not what was written.")

    monkeypatch.setattr(idle.store, "open_checkpoint", damaged)
    assert refused(lambda: back_up(idle)).code == "checkpoint_damaged"
    [left] = do(idle, "checkpoints")["checkpoints"]
    assert "verified_at" not in left


@pytest.mark.parametrize("flipped", ["n8n.dump", "docs.snapshot", "n8n-files/binaryData/a"])
def test_a_flipped_byte_is_found_and_named(idle: DirectAgent, flipped: str) -> None:
    binary = idle.efs / "n8n/binaryData/a"
    binary.parent.mkdir(parents=True)
    binary.write_text("a file")
    back_up(idle)
    file = folder(idle) / "v3/op-2" / flipped
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()  # n8n's files are links
    file.write_bytes(data)
    do(idle, "begin", operation="op-3")
    wanted = {"operation": "op-3", "number": 3, "checkpoint": "v3/op-2", "services": ["postgresql", "qdrant"]}
    error = refused(lambda: do(idle, "restore", **wanted))
    assert error.code == "checkpoint_damaged" and flipped.rpartition("n8n-files/")[2] in error.message
    assert not do(idle, "lease")["lease"]["changed"]


def test_what_there_is_nothing_of_or_does_not_run_makes_none(
    mounted: DirectAgent, machine: Machine, idle: DirectAgent
) -> None:
    machine.container("qdrant", status="exited")
    assert refused(lambda: back_up(idle)).code == "not_running"
    assert refused(lambda: back_up(idle, number=0)).code == "bad_input"
    idle.compose_file.write_text(json.dumps({"services": {"ollama": {}}}))
    assert refused(lambda: back_up(idle)).code == "nothing_to_copy"
    assert names(idle) == set()


def test_no_change_removes_one_nor_counts_it(idle: DirectAgent) -> None:
    do(idle, "begin", operation="op-3")
    for name, age, kind in (("v1/op-a", 50, "backup"), ("v2/op-b", 40, "update"), ("v2/op-c", 30, "backup")):
        make(idle, name, age, kind)
    assert do(idle, "gc", operation="op-3", keep=[], checkpoints=[2])["checkpoints_removed"] == []
    assert do(idle, "gc", operation="op-3", keep=[], checkpoints=[])["checkpoints_removed"] == []
    assert names(idle) == {"v1/op-a", "v2/op-b", "v2/op-c"}
