"""Backups: all of it or nothing, read once more, ended by whoever takes the lease, and removed by no change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.store.backups import version_of
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
    assert names(idle) == set() and do(idle, "health")["backups"]["done"] is None


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


# ---- as planned


def plan(agent: DirectAgent, every: float = 86_400, keep: int = 2) -> Json:
    backups: Json = do(agent, "schedule", operation="op-5", by="ann", every_seconds=every, keep=keep)["backups"]
    return backups


def tick(agent: DirectAgent, monkeypatch: pytest.MonkeyPatch, days: float = 0) -> Json:
    """What the timer runs, so many days from now."""
    late = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="milliseconds")
    with monkeypatch.context() as patch:
        for module in ("verbs.backup", "verbs.checkpoint", "store.backups", "store.checkpoints"):
            patch.setattr(f"geusemaker.agent.{module}.now", lambda: late)
        return do(agent, "backup")


def test_the_timer_comes_with_a_plan_and_goes_with_it(idle: DirectAgent, machine: Machine) -> None:
    files = [idle.units / "geusemaker-backup.timer", idle.units / "geusemaker-backup.service", idle.home / "backup.py"]
    assert do(idle, "backup") == {"skipped": "none is planned"}
    assert plan(idle)["plan"] | {"since": ""} == {"every_seconds": 86_400, "keep": 2, "by": "ann", "since": ""}
    assert all(file.exists() for file in files) and "OnUnitActiveSec=900" in files[0].read_text()
    assert machine.calls("systemctl", "enable", "geusemaker-backup.timer")
    assert plan(idle, 0)["plan"] is None and not any(file.exists() for file in files)
    assert machine.calls("systemctl", "disable", "--now", "geusemaker-backup.timer")


def test_another_instance_goes_on_with_the_plan(idle: DirectAgent, machine: Machine) -> None:
    plan(idle)
    timer = idle.units / "geusemaker-backup.timer"
    timer.unlink()
    machine.fail("systemctl enable geusemaker-backup.timer", "Access denied")
    do(idle, "begin", operation="op-6")
    do(idle, "apply", **apply_document("op-6", IMAGES))
    assert any("Access denied" in note for note in idle.reporter.notes()), "it keeps no change from being made"
    timer.unlink()
    machine.update(fail={})
    do(idle, "apply", **apply_document("op-6", IMAGES))
    assert timer.exists()


def test_one_is_taken_when_it_is_due_and_only_those_of_the_plan_go(
    idle: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"operation_id": "op-1", "kind": "update", "number": 7, "success": True}
    do(idle, "journal", append=record)
    do(idle, "journal", append={**record, "kind": "mark", "number": 2})
    do(idle, "journal", append={**record, "number": 8, "success": False})
    asked = back_up(idle)["checkpoint"]
    plan(idle)
    assert tick(idle, monkeypatch)["skipped"] == "none is due", "somebody has just made one"
    taken = [tick(idle, monkeypatch, days) for days in (1, 2, 2.5, 3)]
    assert taken[2] == {"skipped": "none is due"}
    made = [one["checkpoint"]["checkpoint"] for one in taken if "checkpoint" in one]
    assert taken[0]["checkpoint"]["version"] == 7 and taken[0]["checkpoint"]["planned"] and taken[0]["removed"] == []
    assert taken[3]["removed"] == made[:1] and names(idle) == {asked, *made[1:]}
    done = do(idle, "health")["backups"]["done"]
    assert (done["checkpoint"], done["planned"]) == (made[-1], True)
    assert list((folder(idle) / "v7").glob(".*")) == []


def test_one_that_fails_is_noted_and_removes_none(
    idle: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(idle, keep=1)
    good = tick(idle, monkeypatch)["checkpoint"]["checkpoint"]
    machine.update(dumps={"odd/name": "CREATE TABLE a"})
    assert refused(lambda: tick(idle, monkeypatch, 1)).code == "checkpoint_failed"
    state = do(idle, "health")["backups"]
    assert names(idle) == {good} == {state["done"]["checkpoint"]} and "odd/name" in state["failed"]["detail"]
    assert tick(idle, monkeypatch, 1.01) == {"skipped": "none is due"}, "it is tried again after an hour"
    machine.update(dumps={})
    assert tick(idle, monkeypatch, 1.1)["removed"] == [good]
    assert do(idle, "health")["backups"]["failed"] is None


def test_while_an_operation_has_the_deployment_none_is_taken_nor_planned(
    idle: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(idle)
    do(idle, "begin", operation="op-6")
    assert refused(lambda: tick(idle, monkeypatch)).code == "lease_held"
    assert refused(lambda: plan(idle, 0)).code == "lease_held"
    assert do(idle, "health")["backups"]["failed"] is None, "the next run tries again"
    do(idle, "end", operation="op-6", outcome="done")
    assert tick(idle, monkeypatch)["checkpoint"]["planned"]


def test_what_somebody_removed_is_not_the_last_one(idle: DirectAgent) -> None:
    first, second = back_up(idle)["checkpoint"], back_up(idle, operation="op-3")["checkpoint"]
    shutil.rmtree(folder(idle) / second)
    assert do(idle, "health")["backups"]["done"]["checkpoint"] == first
    shutil.rmtree(folder(idle) / first)
    assert do(idle, "health")["backups"]["done"] is None


def test_a_plan_has_to_make_sense(idle: DirectAgent) -> None:
    for every, keep in ((60, 7), (86_400, 0)):
        assert refused(partial(plan, idle, every, keep)).code == "bad_input"
    assert do(idle, "health")["backups"] == {"plan": None, "done": None, "failed": None}


@pytest.mark.parametrize(
    ("entries", "lease", "number"),
    [([], {}, 1), ([], {"number": 4}, 4), ([{"kind": "deploy", "success": True, "number": 2}], {"number": 4}, 2)],
)
def test_whose_data_it_is(entries: list[Json], lease: Json, number: int) -> None:
    assert version_of(entries, lease) == number
