"""Checkpoints: copied whole or not at all, readable by root only, kept as long as their versions."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.data.qdrant import Qdrant
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import file_name, write_atomic
from geusemaker.local_cloud.containers.services import qdrant as stand_in
from tests.unit.qdrant_server import QdrantServer
from tests.unit.test_agent.fakes import Machine, pinned
from tests.unit.test_agent.support import POSTGRES, QDRANT, DirectAgent, apply_document, do

KEPT = "n8n_before_20260801120000_0a1b2c"
TABLES = ["public.migrations", "public.workflow_entity"]
ROWS: dict[str, dict[str, list[str]]] = {
    "postgres": {"SELECT datname": ["n8n", KEPT, "odd/name"]},
    "n8n": {
        "SELECT quote_ident": TABLES,
        "SELECT sum(n)": ["12"],
        "SELECT count(*) FROM workflow_entity": ["3"],
        "SELECT name FROM migrations": ["First1", "Second2"],
    },
    "odd/name": {"SELECT quote_ident": []},
}


@pytest.fixture
def serving(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """PostgreSQL with two databases (and one that a restore kept), Qdrant; operation op-1 holds the lease."""
    images = {"postgresql": POSTGRES, "qdrant": QDRANT}
    machine.publish(*images.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", images))
    machine.update(rows=ROWS)
    return mounted


@pytest.fixture
def qdrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QdrantServer:
    """A Qdrant with two collections, one of them with two points and an alias."""
    server = QdrantServer(tmp_path / "qdrant", "v1.14.1", tmp_path / "storage")
    monkeypatch.setattr("geusemaker.agent.data.qdrant.QDRANT_PORT", server.port)
    for name in ("docs", "empty"):
        assert server("PUT", f"/collections/{name}", {"vectors": {"size": 1}})[0] == 200
    server.add("docs", 1, 2)
    alias = {"create_alias": {"alias_name": "current", "collection_name": "docs"}}
    assert server("POST", "/collections/aliases", {"actions": [alias]})[0] == 200
    return server


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def copy(agent: DirectAgent, *services: str, **changes: Any) -> Any:
    document = {"operation": "op-1", "number": 3, "kind": "update", "services": list(services or ("postgresql",))}
    return do(agent, "checkpoint", **{**document, **changes})


def folder(agent: DirectAgent) -> Path:
    return agent.store.checkpoints


def names(agent: DirectAgent) -> set[str]:
    return {str(path.relative_to(folder(agent))) for path in folder(agent).glob("*/*")}


def test_every_database_is_dumped(serving: DirectAgent) -> None:
    taken = copy(serving)
    assert (taken["checkpoint"], taken["kind"], taken["version"]) == ("v3/op-1", "update", 3)
    assert taken["images"] == {"postgresql": pinned(POSTGRES), "qdrant": pinned(QDRANT)}
    assert taken["migrations"] == ["First1", "Second2"]
    n8n, odd = taken["holds"]
    assert {key: n8n[key] for key in ("name", "tables", "rows", "workflows")} == {
        "name": "n8n",
        "tables": 2,
        "rows": 12,
        "workflows": 3,
    }
    assert (odd["name"], odd["tables"], odd["rows"], odd["file"]) == ("odd/name", 0, 0, "odd%2Fname.dump")
    for held in taken["holds"]:
        path = folder(serving) / "v3/op-1" / held["file"]
        assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == held["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == held["sha256"]
        assert path.read_bytes().startswith(b"CREATE TABLE a ();")
    about = folder(serving) / "v3/op-1/checkpoint.json"
    assert json.loads(about.read_text()) == taken and about.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (folder(serving), folder(serving) / "v3")} == {0o700}


def test_rows_that_take_long_to_count_are_not_counted(serving: DirectAgent, machine: Machine) -> None:
    quick = {statement: rows for statement, rows in ROWS["n8n"].items() if statement != "SELECT sum(n)"}
    machine.update(rows={**ROWS, "n8n": quick})
    assert copy(serving)["holds"][0]["rows"] is None
    [counted] = [call for call in machine.calls("docker", "exec") if "SET statement_timeout = 5000" in call]
    assert counted[-1].startswith("SELECT sum(n) FROM (SELECT count(*) AS n FROM public.migrations UNION ALL ")


def test_every_collection_is_snapshotted(serving: DirectAgent, qdrant: QdrantServer) -> None:
    taken = copy(serving, "qdrant")
    assert taken["versions"] == {"qdrant": "1.14.1"} and taken["aliases"] == {"current": "docs"}
    assert [(held["service"], held["name"], held["points"]) for held in taken["holds"]] == [
        ("qdrant", "docs", 2),
        ("qdrant", "empty", 0),
    ]
    path = folder(serving) / "v3/op-1/docs.snapshot"
    assert path.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(path.read_bytes()).hexdigest() == taken["holds"][0]["sha256"]
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        assert "config.json" in archive.getnames()
    assert list(qdrant.snapshots.glob("*/*")) == [], "nothing is left on the instance's disk"


def test_both_are_one_checkpoint(serving: DirectAgent, qdrant: QdrantServer) -> None:
    taken = copy(serving, "postgresql", "qdrant")
    assert [held["service"] for held in taken["holds"]] == ["postgresql"] * 2 + ["qdrant"] * 2
    assert taken == copy(serving, "postgresql", "qdrant"), "again is fine"


def test_a_snapshot_that_arrives_otherwise_than_made_leaves_nothing(
    serving: DirectAgent, qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = stand_in._described
    monkeypatch.setattr(stand_in, "_described", lambda path: told(path) | {"checksum": "0" * 64})
    error = refused(lambda: copy(serving, "postgresql", "qdrant"))
    assert error.code == "qdrant_failed" and "docs did not arrive" in error.message
    assert names(serving) == set() and list(qdrant.snapshots.glob("*/*")) == []


def test_an_old_qdrant_without_checksums_is_taken_at_its_word(
    serving: DirectAgent, qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = stand_in._described
    monkeypatch.setattr(stand_in, "_described", lambda path: {key: told(path)[key] for key in ("name", "size")})
    assert len(copy(serving, "qdrant")["holds"]) == 2
    monkeypatch.setattr(stand_in, "_described", lambda path: {"name": path.name, "size": 1})
    assert refused(lambda: copy(serving, "qdrant", operation="op-1", number=4)).code == "qdrant_failed"


def test_a_full_disk_in_qdrant_is_told_in_its_words(
    serving: DirectAgent, qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise stand_in._error(500, "Service internal error: No space left on device (os error 28)")

    monkeypatch.setattr(stand_in._Collections, "_keep", staticmethod(full))
    error = refused(lambda: copy(serving, "qdrant"))
    assert "POST /collections/docs/snapshots: HTTP 500 Service internal error: No space left" in error.message
    assert names(serving) == set()


def test_a_qdrant_that_does_not_answer_is_an_error(serving: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.data.qdrant.QDRANT_PORT", 1)
    error = refused(lambda: copy(serving, "qdrant"))
    assert error.code == "qdrant_failed" and "does not answer (GET /)" in error.message


def test_the_api_key_that_qdrant_was_given_is_used(mounted: DirectAgent) -> None:
    write_atomic(
        mounted.compose_file,
        json.dumps({"services": {"qdrant": {"environment": {"QDRANT__SERVICE__API_KEY": "k3y"}}}}),
    )
    assert Qdrant(mounted, 1)._headers == {"api-key": "k3y"}


def test_a_dump_that_is_cut_short_leaves_nothing(serving: DirectAgent, machine: Machine) -> None:
    machine.update(dumps={"odd/name": "CREATE TABLE a"})
    error = refused(lambda: copy(serving))
    assert error.code == "checkpoint_failed" and "odd/name cannot be read by" in error.message
    assert "end of file" in error.message
    assert names(serving) == set()


def test_pg_dump_that_fails_is_told(serving: DirectAgent, machine: Machine) -> None:
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.fail(f"docker exec {postgresql} pg_dump", "pg_dump: error: permission denied for table x")
    error = refused(lambda: copy(serving))
    assert error.code == "checkpoint_failed" and "permission denied" in error.message
    assert names(serving) == set()


@pytest.mark.parametrize("service", ["postgresql", "qdrant"])
def test_what_does_not_run_cannot_be_copied(serving: DirectAgent, machine: Machine, service: str) -> None:
    machine.container(service, status="exited", exit_code=1)
    assert refused(lambda: copy(serving, service)).code == "not_running"
    assert refused(lambda: do(serving, "checkpoints", now=[service])).code == "not_running"


def test_only_the_holder_of_the_lease_copies(serving: DirectAgent) -> None:
    assert refused(lambda: copy(serving, operation="op-2")).code == "lease_lost"
    wrong: list[dict[str, Any]] = [{"number": 0}, {"services": []}, {"services": ["ollama"]}, {"kind": ""}]
    for changes in wrong:
        assert refused(partial(copy, serving, **changes)).code == "bad_input"


def test_checkpoints_are_listed_with_what_is_there_now(serving: DirectAgent, qdrant: QdrantServer) -> None:
    assert do(serving, "checkpoints") == {"checkpoints": []}
    taken = copy(serving, "postgresql", "qdrant")
    (folder(serving) / "v3/.op-9.new").mkdir()
    qdrant.add("docs", 3)
    answer = do(serving, "checkpoints", now=["postgresql", "qdrant"])
    assert answer["checkpoints"] == [taken]
    now = answer["now"]
    assert (now["versions"], now["migrations"]) == ({"qdrant": "1.14.1"}, ["First1", "Second2"])
    kinds = ("service", "name", "tables", "rows", "workflows", "points")
    then = [{key: held[key] for key in kinds if key in held} for held in taken["holds"]]
    assert now["holds"] == [*then[:2], then[2] | {"points": 3}, then[3]]


def test_any_name_makes_a_file_name() -> None:
    assert file_name("docs", ".snapshot") == "docs.snapshot"
    assert file_name("../x", "") == "%2E.%2Fx"
    long, other = (file_name("ü" * 200 + end, ".dump") for end in "ab")
    assert long != other and len(long) < 255


def make(agent: DirectAgent, name: str, age: int, kind: str = "update") -> None:
    path = folder(agent) / name
    path.mkdir(parents=True)
    (path / "checkpoint.json").write_text(json.dumps({"kind": kind}))
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


def test_gc_keeps_what_a_restore_replaced_as_long_as_its_version(serving: DirectAgent) -> None:
    for name, age, kind in (
        ("v1/op-a", 60, "restore"),
        ("v2/op-b", 50, "update"),
        ("v2/op-c", 40, "restore"),
        ("v2/op-d", 30, "restore"),
        ("v3/op-e", 20, "update"),
    ):
        make(serving, name, age, kind)
    assert do(serving, "gc", operation="op-1", keep=[], checkpoints=[2])["checkpoints_removed"] == ["v1/op-a"]
    assert names(serving) == {"v2/op-b", "v2/op-c", "v2/op-d", "v3/op-e"}


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
