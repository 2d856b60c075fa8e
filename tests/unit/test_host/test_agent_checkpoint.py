"""Checkpoints: dumped whole or not at all, readable by root only, kept as long as their versions."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geusemaker.host.agent import AgentError
from tests.unit.test_host.fakes import Machine
from tests.unit.test_host.support import POSTGRES, QDRANT, DirectAgent, apply_document, do

ROWS = {"postgres": {"SELECT datname": ["n8n", "odd/name"]}}


@pytest.fixture
def serving(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """PostgreSQL with two databases; operation op-1 holds the lease."""
    images = {"postgresql": POSTGRES, "qdrant": QDRANT}
    machine.publish(*images.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", images))
    machine.update(rows=ROWS)
    return mounted


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def folder(agent: DirectAgent) -> Path:
    return agent.store.checkpoints


def names(agent: DirectAgent) -> set[str]:
    return {str(path.relative_to(folder(agent))) for path in folder(agent).glob("*/*")}


def test_every_database_is_dumped(serving: DirectAgent) -> None:
    answer = do(serving, "checkpoint", operation="op-1", number=3)
    assert answer["folder"] == "/mnt/efs/.geusemaker/checkpoints/v3/op-1"
    assert [file["file"] for file in answer["files"]] == ["n8n.sql.gz", "odd_name.sql.gz"]
    for file in answer["files"]:
        path = folder(serving) / "v3/op-1" / file["file"]
        assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == file["bytes"]
        assert gzip.decompress(path.read_bytes()).startswith(b"CREATE TABLE a ();")
    assert {path.stat().st_mode & 0o777 for path in (folder(serving), folder(serving) / "v3")} == {0o700}


def test_again_is_fine(serving: DirectAgent) -> None:
    assert do(serving, "checkpoint", operation="op-1", number=3) == do(
        serving, "checkpoint", operation="op-1", number=3
    )


def test_a_dump_that_is_cut_short_leaves_nothing(serving: DirectAgent, machine: Machine) -> None:
    machine.update(dumps={"odd/name": "CREATE TABLE a"})
    error = refused(lambda: do(serving, "checkpoint", operation="op-1", number=3))
    assert error.code == "checkpoint_failed" and "odd/name failed: it ended too early" in error.message
    assert names(serving) == set()


def test_pg_dump_that_fails_is_told(serving: DirectAgent, machine: Machine) -> None:
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.fail(f"docker exec {postgresql} pg_dump", "pg_dump: error: permission denied for table x")
    error = refused(lambda: do(serving, "checkpoint", operation="op-1", number=3))
    assert error.code == "checkpoint_failed" and "permission denied" in error.message
    assert names(serving) == set()


def test_without_a_running_postgresql_there_is_none(serving: DirectAgent, machine: Machine) -> None:
    machine.container("postgresql", status="exited", exit_code=1)
    assert refused(lambda: do(serving, "checkpoint", operation="op-1", number=3)).code == "checkpoint_failed"


def test_only_the_holder_of_the_lease_dumps(serving: DirectAgent) -> None:
    assert refused(lambda: do(serving, "checkpoint", operation="op-2", number=3)).code == "lease_lost"
    assert refused(lambda: do(serving, "checkpoint", operation="op-1", number=0)).code == "bad_input"


def make(agent: DirectAgent, name: str, age: int) -> None:
    path = folder(agent) / name
    path.mkdir(parents=True)
    (path / "n8n.sql.gz").touch()
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def test_gc_keeps_one_a_kept_version_and_the_newest_of_all(serving: DirectAgent) -> None:
    for name, age in {
        "v1/op-a": 50,
        "v2/op-b": 40,
        "v3/op-c": 30,
        "v3/op-d": 20,
        "v4/op-e": 10,
        "v2/.op-x.new": 5,
    }.items():
        make(serving, name, age)
    answer = do(serving, "gc", operation="op-1", keep=[], checkpoints=[1, 3, 9])
    assert answer["checkpoints_removed"] == ["v2/op-b", "v3/op-c"]
    assert names(serving) == {"v1/op-a", "v3/op-d", "v4/op-e"}
    assert not (folder(serving) / "v2").exists()
    assert do(serving, "gc", operation="op-1", keep=[], checkpoints=[])["checkpoints_removed"] == ["v1/op-a", "v3/op-d"]
    assert names(serving) == {"v4/op-e"}


def test_gc_that_is_told_nothing_of_checkpoints_leaves_them(serving: DirectAgent) -> None:
    make(serving, "v1/op-a", 50)
    assert "checkpoints_removed" not in do(serving, "gc", operation="op-1", keep=[])
    assert names(serving) == {"v1/op-a"}


def test_the_journal_tells_what_the_data_was_only_by_operation(serving: DirectAgent) -> None:
    for number in (1, 2, 3):
        do(serving, "journal", append={"operation_id": f"op-{number}", "manifest_after": {"services": {}}}, tail=0)
    assert do(serving, "journal", append=None, tail=1)["entries"] == [{"operation_id": "op-3"}]
    found = do(serving, "journal", append=None, operations=["op-1", "op-3", "op-9"])["entries"]
    assert [entry["operation_id"] for entry in found] == ["op-1", "op-3"]
    assert found[0]["manifest_after"] == {"services": {}}
