"""Restoring: nothing of what is there is lost, and a failure before anything shows changes nothing."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data import postgresql
from geusemaker.agent.data.dumps import knows_restrict
from geusemaker.agent.data.n8n import copy_n8n_files, link_tree
from geusemaker.agent.data.postgresql import OWN_DATABASE, own_name, quote_identifier, to_connect
from geusemaker.agent.errors import AgentError
from geusemaker.local_cloud.containers.services import qdrant as stand_in
from tests.unit.qdrant_server import QdrantServer
from tests.unit.test_agent.conftest import Program
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, QDRANT, DirectAgent, apply_document, do

FIRST, SECOND, THIRD = (f"op-2026080{day}120000-0a1b2c" for day in (1, 2, 3))
KEPT, BESIDE = "n8n_before_20260802120000_0a1b2c", "n8n_restoring_20260802120000_0a1b2c"
CHECKPOINT = f"v1/{FIRST}"
BOTH = ("postgresql", "qdrant")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QdrantServer:
    """A Qdrant with a collection of two points, which has an alias."""
    made = QdrantServer(tmp_path / "qdrant", "v1.14.1", tmp_path / "storage")
    monkeypatch.setattr("geusemaker.agent.data.qdrant.QDRANT_PORT", made.port)
    make(made, 1)
    made.add("docs", 1, 2)
    return made


def make(server: QdrantServer, size: int) -> None:
    assert server("PUT", "/collections/docs", {"vectors": {"size": size}})[0] == 200
    alias = {"create_alias": {"alias_name": "current", "collection_name": "docs"}}
    assert server("POST", "/collections/aliases", {"actions": [alias]})[0] == 200


@pytest.fixture
def agent(mounted: DirectAgent, machine: Machine, server: QdrantServer) -> DirectAgent:
    """PostgreSQL, n8n and Qdrant, of which there is a checkpoint; a second operation holds the lease."""
    images = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}
    machine.publish(*images.values())
    do(mounted, "begin", operation=FIRST)
    do(mounted, "apply", **apply_document(FIRST, images))
    counts = {"SELECT quote_ident": ["public.t"], "SELECT sum(n)": ["1"]}
    machine.update(
        rows={
            "postgres": {"SELECT datname": ["n8n", "postgres"], "SELECT pg_terminate_backend": ["t"]} | counts,
            "n8n": counts,
        },
        dumps={"n8n": "THE DUMP\n-- PostgreSQL database dump complete"},
    )
    do(mounted, "checkpoint", operation=FIRST, number=1, kind="update", services=list(BOTH))
    do(mounted, "end", operation=FIRST, outcome="done")
    do(mounted, "begin", operation=SECOND)
    return mounted


def restore(agent: DirectAgent, *services: str, **changes: Any) -> Any:
    document = {"operation": SECOND, "number": 2, "checkpoint": CHECKPOINT, "services": list(services or BOTH)}
    return do(agent, "restore", **{**document, **changes})


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def databases(machine: Machine) -> set[str]:
    return set(machine.state["rows"]["postgres"]["SELECT datname"])


def n8n_runs(machine: Machine) -> bool:
    [n8n] = [one for one in machine.state["containers"].values() if one["service"] == "n8n"]
    return bool(n8n["status"] == "running")


def has_changed(agent: DirectAgent) -> bool:
    return bool((agent.store.lease() or {})["changed"])


def test_everything_is_as_in_the_checkpoint_and_nothing_is_lost(
    agent: DirectAgent, machine: Machine, server: QdrantServer
) -> None:
    server.add("docs", 3)
    answer = restore(agent)
    assert machine.state["loaded"] == {BESIDE: "THE DUMP\n-- PostgreSQL database dump complete\n"}
    assert databases(machine) == {"n8n", KEPT, "postgres"} and answer["kept"] == {"n8n": KEPT}
    assert server.points("docs") == 2
    fresh = answer["checkpoint"]
    assert (fresh["checkpoint"], fresh["kind"]) == (f"v2/{SECOND}", "restore")
    assert [held["points"] for held in fresh["holds"] if held["service"] == "qdrant"] == [3]
    assert n8n_runs(machine) and has_changed(agent)
    assert server("GET", "/collections/docs/snapshots") == (200, []), "nothing is left on the instance's disk"


def test_the_order_of_things(agent: DirectAgent, machine: Machine) -> None:
    """n8n writes nothing that neither the new checkpoint nor the kept database has; the swap is the last thing."""
    before = len(machine.calls())
    restore(agent)
    steps = [call[1:] for call in machine.calls()[before:] if call[1] in ("stop", "start", "exec")]
    lines = [" ".join(step) for step in steps]
    order = ["stop ", "pg_dump", "CREATE DATABASE", "--exit-on-error", "pg_terminate_backend", "RENAME TO", "start "]
    positions = [next(index for index, line in enumerate(lines) if word in line) for word in order]
    assert positions == sorted(positions) and positions[-1] == len(lines) - 1
    [swap] = [line for line in lines if "RENAME" in line]
    assert f'ALTER DATABASE "n8n" RENAME TO "{KEPT}"; ALTER DATABASE "{BESIDE}" RENAME TO "n8n"' in swap


def test_one_service_alone(agent: DirectAgent, machine: Machine, server: QdrantServer) -> None:
    server.add("docs", 3)
    restore(agent, "postgresql")
    assert KEPT in databases(machine) and server.points("docs") == 3


def test_what_is_gone_is_made_again(agent: DirectAgent, machine: Machine, server: QdrantServer) -> None:
    server("DELETE", "/collections/docs")
    state = machine.state
    state["rows"]["postgres"]["SELECT datname"] = ["postgres"]
    machine.state = state
    assert restore(agent)["kept"] == {}
    assert databases(machine) == {"n8n", "postgres"} and server.points("docs") == 2
    assert server("GET", "/aliases")[1]["aliases"] == [{"alias_name": "current", "collection_name": "docs"}]


def test_a_collection_with_other_vectors_makes_way_and_keeps_its_alias(
    agent: DirectAgent, server: QdrantServer
) -> None:
    server("DELETE", "/collections/docs")
    make(server, 7)
    restore(agent, "qdrant")
    assert server.points("docs") == 2
    assert server("GET", "/collections/docs")[1]["config"]["params"]["vectors"] == {"size": 1}
    assert len(server("GET", "/aliases")[1]["aliases"]) == 1


def test_what_the_checkpoint_does_not_have_stays(agent: DirectAgent, machine: Machine, server: QdrantServer) -> None:
    server("PUT", "/collections/later", {"vectors": {"size": 1}})
    state = machine.state
    state["rows"] |= {"later": state["rows"]["n8n"]}
    state["rows"]["postgres"]["SELECT datname"].append("later")
    machine.state = state
    restore(agent)
    assert "later" in databases(machine)
    assert server("GET", "/collections")[1]["collections"] == [{"name": "docs"}, {"name": "later"}]


def test_a_dump_that_cannot_be_loaded_changes_nothing(agent: DirectAgent, machine: Machine) -> None:
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.fail(f"docker exec -i {postgresql} pg_restore --exit-on-error", "ERROR:  type vector does not exist")
    error = refused(lambda: restore(agent))
    assert error.code == "restore_failed" and "dump of n8n could not be loaded: ERROR:  type vector" in error.message
    assert not has_changed(agent) and KEPT not in databases(machine) and n8n_runs(machine)


def test_a_checkpoint_that_fails_changes_nothing(agent: DirectAgent, machine: Machine) -> None:
    machine.update(dumps={"n8n": "cut short"})
    assert refused(lambda: restore(agent)).code == "checkpoint_failed"
    assert not has_changed(agent) and databases(machine) == {"n8n", "postgres"} and n8n_runs(machine)


def test_a_snapshot_that_qdrant_refuses_leaves_the_databases(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs_then_its_own = iter([(2, 0), (1, 0)])
    monkeypatch.setattr(stand_in, "_minor", lambda version: next(theirs_then_its_own))
    error = refused(lambda: restore(agent))
    assert error.code == "qdrant_failed" and "is newer than application version" in error.message
    assert has_changed(agent), "a collection may be another one"
    assert databases(machine) == {"n8n", BESIDE, "postgres"} and n8n_runs(machine)


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_damaged_checkpoint_is_not_restored(agent: DirectAgent, machine: Machine, how: str) -> None:
    file = agent.store.checkpoints / CHECKPOINT / "docs.snapshot"
    file.write_bytes(b"?") if how == "changed" else file.unlink()
    assert refused(lambda: restore(agent)).code == "checkpoint_damaged"
    assert not machine.calls("docker", "stop"), "n8n was not even stopped"


def test_what_cannot_be_restored(agent: DirectAgent) -> None:
    assert refused(lambda: restore(agent, checkpoint="v9/op-9")).code == "no_checkpoint"
    assert refused(lambda: restore(agent, operation=THIRD)).code == "lease_lost"
    about = agent.store.checkpoints / CHECKPOINT / "checkpoint.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "holds": []}))
    assert "has nothing of qdrant" in refused(lambda: restore(agent, "qdrant")).message
    wrong: list[dict[str, Any]] = [
        {"number": 0},
        {"services": ["n8n"]},
        {"checkpoint": "../op"},
        {"checkpoint": "v1/.."},
        {"checkpoint": "v1"},
    ]
    for changes in wrong:
        assert refused(partial(restore, agent, **changes)).code == "bad_input"


def test_a_killed_one_is_repeated_by_another(agent: DirectAgent, machine: Machine) -> None:
    """The database beside is dropped, the checkpoint that the killed one took stays."""
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.fail(f"docker exec -i {postgresql} pg_restore --exit-on-error", "killed")
    refused(lambda: restore(agent))
    machine.update(fail={})
    assert BESIDE in databases(machine)
    do(agent, "begin", operation=THIRD, takeover=SECOND)
    assert restore(agent, operation=THIRD)["kept"] == {"n8n": "n8n_before_20260803120000_0a1b2c"}
    assert BESIDE not in databases(machine)
    assert do(agent, "gc", operation=THIRD, keep=[], checkpoints=[1, 2])["checkpoints_removed"] == []


def test_again_under_the_same_operation_swaps_nothing_twice(agent: DirectAgent, machine: Machine) -> None:
    first = restore(agent)
    assert restore(agent) == first
    assert databases(machine) == {"n8n", KEPT, "postgres"}


def test_a_client_that_comes_back_is_sent_away_until_the_swap_is_done(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, refusals = postgresql.query_database, ["is being accessed by other users"] * 2

    def crowded(agent: Agent, container: Container, database: str, statement: str, **words: Any) -> list[str]:
        if "RENAME" in statement and refusals:
            raise AgentError("docker_failed", refusals.pop())
        return ask(agent, container, database, statement, **words)

    monkeypatch.setattr(postgresql, "query_database", crowded)
    restore(agent, "postgresql")
    assert KEPT in databases(machine) and not refusals
    assert len([call for call in machine.calls("docker", "exec") if "pg_terminate_backend" in call[-1]]) == 3


def test_whoever_ends_the_operation_does_not_end_the_start_of_n8n(
    agent: DirectAgent, machine: Machine, run: Program, until: Callable[[Callable[[], Any]], None]
) -> None:
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.update(hang={f"docker exec -i {postgresql} pg_restore --exit-on-error": 60, "docker start": 1})
    document = {"operation": SECOND, "number": 2, "checkpoint": CHECKPOINT, "services": ["postgresql"]}
    process = run.start("restore", document)
    until(lambda: any("--exit-on-error" in call for call in machine.calls("docker", "exec", "-i")))
    assert run("cancel", {"operation": SECOND})[0] == 0
    status, lines = run.finish(process)
    assert (status, lines[-1]["code"]) == (1, "cancelled")
    until(lambda: n8n_runs(machine))
    assert not has_changed(agent) and databases(machine) == {"n8n", BESIDE, "postgres"}


def test_what_the_running_postgresql_cannot_read_is_refused_before_anything_stops(
    agent: DirectAgent, machine: Machine
) -> None:
    machine.fail("docker exec -i", "pg_restore: error: unsupported version (1.99) in file header")
    error = refused(lambda: restore(agent))
    assert error.code == "checkpoint_unreadable" and "unsupported version" in error.message
    assert not machine.calls("docker", "stop") and not has_changed(agent) and n8n_runs(machine)


PLAIN = "\\restrict aZ09\n\\unrestrict other\nSELECT 1;\n-- PostgreSQL database dump complete\n\\unrestrict aZ09\n"


@pytest.mark.parametrize(("psql", "knows"), [("16.10", True), ("16.9", False)])
def test_a_plain_dump_of_an_earlier_geusemaker_is_loaded_as_the_psql_there_reads_it(
    agent: DirectAgent, machine: Machine, psql: str, knows: bool
) -> None:
    folder = agent.store.checkpoints / CHECKPOINT
    about = json.loads((folder / "checkpoint.json").read_text())
    old = gzip.compress(PLAIN.encode())
    (folder / "n8n.sql.gz").write_bytes(old)
    for held in about["holds"]:
        if held["name"] == "n8n":
            held.update(file="n8n.sql.gz", sha256=hashlib.sha256(old).hexdigest())
    (folder / "checkpoint.json").write_text(json.dumps(about))
    machine.update(psql=psql)
    restore(agent, "postgresql")
    cleaned = "\\unrestrict other\nSELECT 1;\n-- PostgreSQL database dump complete\n"
    assert machine.state["loaded"] == {BESIDE: PLAIN if knows else cleaned}


@pytest.mark.parametrize(
    ("version", "knows"),
    [
        *(("18.0", True), ("19beta1", True), ("17.6", True), ("17.5", False), ("16.10", True), ("16.9", False)),
        *(("15.14", True), ("14.18", False), ("13.22", True), ("12.22", False), ("17", False)),
    ],
)
def test_which_psql_knows_restrict(version: str, knows: bool) -> None:
    assert knows_restrict(version) is knows


def test_names_fit_and_are_quoted() -> None:
    assert own_name("n8n", "before", SECOND) == KEPT
    assert len(own_name("ü" * 60, "restoring", SECOND).encode()) <= 63
    assert OWN_DATABASE.fullmatch(own_name("ü" * 60, "restoring", SECOND))
    assert quote_identifier('a"b') == '"a""b"'
    first, second = (own_name(f"chat_histories_of_the_tenant_called_{name}", "before", SECOND) for name in "ab")
    assert first != second and OWN_DATABASE.fullmatch(first) and len(first) <= 63
    assert to_connect("my db's") == "my db's"
    assert to_connect("a=b'c\\d") == "dbname='a=b\\'c\\\\d'"


@pytest.fixture
def files(machine: Machine) -> Path:
    """n8n's folder with two executions' files in it (before ``agent``, whose checkpoint has them)."""
    home = machine.root / "mnt/efs/n8n"
    for name, text in (("1/a", "one"), ("2/b", "two")):
        path = home / "binaryData/workflows/w/executions" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (home / "config").write_text("{}")
    return home


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_files_of_n8n_go_with_its_database_and_later_ones_are_set_aside(files: Path, agent: DirectAgent) -> None:
    then = tree(files / "binaryData")
    about = json.loads((agent.store.checkpoints / CHECKPOINT / "checkpoint.json").read_text())["n8n_files"]
    assert (about["folders"], about["files"], about["bytes"]) == (["binaryData"], 2, 6)
    executions = files / "binaryData/workflows/w/executions"
    assert (executions / "1/a").stat().st_nlink == 2, "a link takes no room"
    (executions / "1/a").unlink()  # n8n removes what it pruned,
    (executions / "3").mkdir()  # and makes anew
    (executions / "3/c").write_text("later")
    (files / "storage").mkdir()
    (files / "storage/d").write_text("of a newer n8n")
    now = tree(files / "binaryData")

    answer = restore(agent, "postgresql")
    assert answer["set_aside"] == [f"n8n/{name}_before_20260802120000_0a1b2c" for name in ("binaryData", "storage")]
    assert tree(files / "binaryData") == then and not (files / "storage").exists() and (files / "config").exists()
    aside, storage = (agent.efs / name for name in answer["set_aside"])
    assert (tree(aside), tree(storage)) == (now, {"d": "of a newer n8n"})
    assert answer["checkpoint"]["n8n_files"]["files"] == 3
    assert restore(agent, "postgresql")["set_aside"] == answer["set_aside"]
    assert (tree(files / "binaryData"), tree(aside)) == (then, now), "again under the same operation"


def test_the_files_stay_where_only_qdrant_is_restored(files: Path, agent: DirectAgent) -> None:
    assert restore(agent, "qdrant")["set_aside"] == []
    assert len(tree(files / "binaryData")) == 2


def test_a_checkpoint_of_before_leaves_the_files_as_they_are(files: Path, agent: DirectAgent) -> None:
    about = agent.store.checkpoints / CHECKPOINT / "checkpoint.json"
    document = json.loads(about.read_text())
    del document["n8n_files"]
    about.write_text(json.dumps(document))
    assert restore(agent, "postgresql")["set_aside"] == []
    assert len(tree(files / "binaryData")) == 2


@pytest.mark.parametrize("how", ["", "changed", "gone"])
def test_more_files_than_there_is_time_to_read_are_told_by_their_size(
    files: Path, agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("geusemaker.agent.data.n8n.SUMMED_SECONDS", 0.0)
    folder = agent.store.checkpoints / CHECKPOINT
    about = json.loads((folder / "checkpoint.json").read_text())
    shutil.rmtree(folder / "n8n-files")
    about["n8n_files"] = copy_n8n_files(agent, folder)
    (folder / "checkpoint.json").write_text(json.dumps(about))
    copied = folder / "n8n-files/binaryData/workflows/w/executions/1/a"
    if how == "changed":
        copied.write_text("tampered")
    elif how == "gone":
        copied.unlink()
    if how:
        assert refused(lambda: restore(agent, "postgresql")).code == "checkpoint_damaged"
    else:
        then = tree(files / "binaryData")
        restore(agent, "postgresql")
        assert tree(files / "binaryData") == then


@pytest.mark.parametrize("how", ["changed", "gone", "list"])
def test_files_that_are_not_what_was_copied_are_not_restored(
    files: Path, agent: DirectAgent, machine: Machine, how: str
) -> None:
    copied = agent.store.checkpoints / CHECKPOINT / "n8n-files/binaryData/workflows/w/executions/1/a"
    if how == "changed":
        copied.write_text("tampered")
    elif how == "gone":
        copied.unlink()
    else:
        (agent.store.checkpoints / CHECKPOINT / "n8n-files.json").unlink()
    assert refused(lambda: restore(agent, "postgresql")).code == "checkpoint_damaged"
    assert not machine.calls("docker", "stop")


def test_a_file_that_cannot_be_linked_is_copied_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a").write_text("one")

    def full(source: str, target: Path) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr("os.link", full)
    link_tree(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path / "to") == {"a": "one"} and (tmp_path / "to/a").stat().st_nlink == 1
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2))
    with pytest.raises(AgentError, match="no room for a copy"):
        link_tree(tmp_path / "from", tmp_path / "again")
