"""health, manifest, evidence and gc."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.data import ollama
from geusemaker.agent.data.listing import listed, told
from geusemaker.agent.data.postgresql import own_databases
from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.fakes import FILE_SYSTEM, Machine, by_digest, digest, pinned
from tests.unit.test_agent.support import (
    AUTHENTICATION,
    N8N,
    POSTGRES,
    QDRANT,
    DirectAgent,
    apply_document,
    compose_of,
    do,
    gate_document,
    http_service,
    replying,
)

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}
DATABASE_ROWS = {
    "postgres": {"SELECT datname": ["n8n", "postgres"], "SELECT schemaname": [], "SELECT sum": ["8192"]},
    "n8n": {
        "SELECT schemaname": ["public.migrations", "public.workflow_entity"],
        "SELECT id": ["a1", "b2"],
        "SELECT name": ["InitialMigration1588"],
    },
}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    machine.update(rows=DATABASE_ROWS)
    return mounted


def test_health_is_one_look(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", status="exited", exit_code=1, pid=0)
    with http_service(**{"": (503, "no")}) as bad, replying(AUTHENTICATION) as database:
        document = gate_document("op-1", IMAGES, {"n8n": bad, "qdrant": bad, "postgresql": database})
        health = do(deployed, "health", services=document["services"])
    services = health["services"]
    assert {name: service["healthy"] for name, service in services.items()} == {
        "postgresql": True,
        "n8n": False,
        "qdrant": False,
    }
    assert services["n8n"]["detail"] == "exited (exit code 1)"
    assert services["qdrant"]["detail"] == "HTTP 503 no"
    assert services["postgresql"]["image"] == pinned(POSTGRES)
    assert services["postgresql"]["address"] == f"127.0.0.1:{database}"
    assert health["mount"] == {"mounted": True, "file_system_id": FILE_SYSTEM}
    assert health["lease"]["operation"] == "op-1"
    assert health["disk"]["free_bytes"] > 0


def test_health_is_told_when_docker_and_the_file_system_are_away(deployed: DirectAgent, machine: Machine) -> None:
    machine.fail("docker", "Cannot connect to the Docker daemon")
    machine.unmount()
    health = do(deployed, "health", **gate_document("op-1", {"qdrant": QDRANT}, {"qdrant": 1}))
    assert "Cannot connect" in health["problem"]
    assert health["services"]["qdrant"] == {
        **dict.fromkeys(("image", "pid", "started_at", "container", "age_seconds", "migration")),
        **{"state": "missing", "healthy": False, "restarts": 0, "address": "127.0.0.1:1"},
        "detail": health["problem"],
    }
    assert (health["mount"]["mounted"], health["lease"]) == (False, None)


def test_which_images_are_missing(deployed: DirectAgent, machine: Machine) -> None:
    wanted = {"qdrant": pinned(QDRANT), "n8n": pinned("n8nio/n8n:1.999.0")}
    assert do(deployed, "health", services={})["missing_images"] == []
    assert do(deployed, "health", services={}, images=wanted)["missing_images"] == ["n8n"]
    machine.fail("docker", "Cannot connect to the Docker daemon")
    assert do(deployed, "health", services={}, images=wanted)["missing_images"] is None


def test_what_apply_would_replace(deployed: DirectAgent, machine: Machine) -> None:
    document = apply_document("op-1", IMAGES)
    compose, environment = document["compose"], document["environment"]

    def differs(compose: Any = compose, environment: Any = environment) -> Any:
        return do(deployed, "health", services={}, compose=compose, environment=environment)["differs"]

    assert differs() == {} and do(deployed, "health", services={})["differs"] is None
    another = json.loads(json.dumps(compose))
    another["services"]["n8n"]["environment"] = {"A": "b"}
    another["services"]["crawl4ai"] = {"image": by_digest("unclecode/crawl4ai:1")}
    assert differs(another) == {"n8n": ["definition"], "crawl4ai": ["definition"]}
    assert differs(environment={"qdrant": {"API_KEY": "another-secret-word"}}) == {"qdrant": ["secrets"]}
    assert differs(environment={}) == {"qdrant": ["secrets"]}


def test_a_container_nobody_asked_about_is_shown_without_a_judgement(deployed: DirectAgent) -> None:
    services = do(deployed, "health", services={})["services"]
    assert {name: service["healthy"] for name, service in services.items()} == dict.fromkeys(IMAGES)


def test_what_really_runs_is_told_and_not_what_was_asked_for(deployed: DirectAgent, machine: Machine) -> None:
    machine.container(
        "qdrant", labels={"io.geusemaker.image": "qdrant/qdrant:v9"}, image=f"qdrant/qdrant@{digest('x')}"
    )
    assert do(deployed, "health", services={})["services"]["qdrant"]["image"] == f"qdrant/qdrant:v9@{digest(QDRANT)}"
    machine.update(images={})
    assert do(deployed, "health", services={})["services"]["qdrant"]["image"] == "qdrant/qdrant:v9"


def test_of_two_containers_of_a_service_the_running_one_counts(deployed: DirectAgent, machine: Machine) -> None:
    state = machine.state
    (old,) = (one for one in state["containers"].values() if one["service"] == "qdrant")
    state["containers"]["later"] = {
        **old,
        "id": "later",
        "status": "created",
        "created": "2999-01-01T00:00:00Z",
        "pid": 0,
    }
    machine.state = state
    assert deployed.containers()["qdrant"].id == old["id"]


@pytest.mark.parametrize(
    ("command", "text"), [("docker ps", "is the docker daemon running?"), ("docker inspect", "broken pipe")]
)
def test_a_docker_that_fails_is_not_taken_for_one_without_containers(
    deployed: DirectAgent, machine: Machine, command: str, text: str
) -> None:
    machine.fail(command, text)
    with pytest.raises(AgentError, match=text.partition("?")[0]) as caught:
        deployed.containers()
    assert caught.value.code == "docker_failed"


def test_a_container_that_goes_while_it_is_looked_at_is_left_out(deployed: DirectAgent) -> None:
    (known, *_) = (one.id for one in deployed.containers().values())
    assert [value["Id"] for value in deployed.inspect([known, "gone"])] == [known]
    assert deployed.inspect([]) == []


# manifest


def data(machine: Machine) -> None:
    efs = machine.root / "mnt/efs"
    for name in ("qdrant/collections/books", "postgresql/pgdata", "n8n/storage"):
        (efs / name).mkdir(parents=True, exist_ok=True)
    (efs / "postgresql/pgdata/PG_VERSION").write_text("16\n")
    for model in ("registry.ollama.ai/library/llama3/8b", "registry.ollama.ai/ann/own/1", "hf.co/team/big/q4"):
        file = efs / "ollama/models/manifests" / model
        file.parent.mkdir(parents=True)
        file.write_text("{}")


def test_the_manifest_is_what_the_services_hold(
    deployed: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data(machine)
    with ExitStack() as stack:
        collections = json.dumps({"result": {"collections": [{"name": "b"}, {"name": "a"}]}})
        port = stack.enter_context(http_service(collections=(200, collections)))
        for module in ("qdrant", "ollama"):
            monkeypatch.setattr(
                f"geusemaker.agent.data.{module}.listed",
                lambda agent, running, _, *more: listed(agent, running, port, *more),
            )
        manifest = do(deployed, "manifest")
    assert manifest["file_system_id"] == FILE_SYSTEM
    assert manifest["sentinel"]["deployment"] == "prod"
    efs = machine.root / "mnt/efs"
    mine = {name: {"uid": 0, "path": str(efs / name)} for name in ("postgresql", "n8n", "qdrant")}
    assert manifest["owners"] == (mine if os.geteuid() == 0 else {}), "without root it says nothing"
    assert manifest["services"] == {
        "postgresql": {
            "version": "16",
            "databases": {"n8n": ["public.migrations", "public.workflow_entity"], "postgres": []},
            "bytes": 8192,
            "user": "postgres",
            "collations": None,
        },
        "qdrant": {"collections": ["a", "b"], "source": "service"},
        "ollama": {
            "models": ["ann/own:1", "hf.co/team/big:q4", "llama3:8b"],
            "source": "disk: the service is not running",
        },
        "n8n": {
            "ready": False,
            "workflows": ["a1", "b2"],
            "migrations": ["InitialMigration1588"],
            "database": "n8n",
            "file_folders": ["storage"],
        },
    }


def test_models_on_the_data_volume_are_found_by_their_files(tmp_path: Path) -> None:
    file = tmp_path / "data/ollama/models/manifests/registry.ollama.ai/library/llama3/8b"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert ollama.on_disk([tmp_path / "efs", tmp_path / "data"]) == ["llama3:8b"]
    assert ollama.on_disk([tmp_path / "efs"]) is None


@pytest.mark.parametrize(
    ("tags", "sizes"),
    [
        (
            {"models": [{"name": "llama3:8b", "size": 4661224676}, {"name": "own:1"}, 7]},
            {"llama3:8b": 4661224676, "own:1": 0},
        ),
        ({"models": None}, {}),
        ({"error": "none"}, None),
    ],
)
def test_the_sizes_of_models_are_told_where_they_are_asked_for(
    deployed: DirectAgent, monkeypatch: pytest.MonkeyPatch, tags: dict[str, Any], sizes: dict[str, int] | None
) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(http_service(**{"api/tags": (200, json.dumps(tags))}))
        monkeypatch.setattr(ollama, "told", lambda agent, running, _, *more: told(agent, True, port, *more))
        assert do(deployed, "health", models=True)["models"] == sizes
        assert do(deployed, "health")["models"] is None
    assert do(deployed, "health", models=True)["models"] is None, "it is not there"


def test_the_manifest_names_databases_that_another_c_library_sorted(deployed: DirectAgent, machine: Machine) -> None:
    state = machine.state
    state["rows"]["postgres"]["SELECT json_build_array"] = ['["it\'s", "2.36", "2.41"]']
    machine.state = state
    found = do(deployed, "manifest")["services"]["postgresql"]["collations"]
    assert found == [{"database": "it's", "recorded": "2.36", "actual": "2.41"}]


def test_what_others_may_have_locked_is_not_waited_for(deployed: DirectAgent, machine: Machine) -> None:
    """PostgreSQL itself gives up in time: a psql that is only left behind goes on waiting in the container."""
    do(deployed, "manifest", n8n_tables=["user"])
    calls = machine.calls("docker", "exec")
    locked = [call for call in calls if re.search("pg_database_size|workflow_entity|c.relname IN", " ".join(call))]
    assert len(locked) == 3 and all("SET statement_timeout = 10000" in call for call in locked)


def test_a_database_that_nobody_can_connect_to_hides_no_other(deployed: DirectAgent, machine: Machine) -> None:
    state = machine.state
    state["rows"]["postgres"]["SELECT datname"].append("archive")
    state["closed"] = ["template0", "archive"]
    machine.state = state
    databases = do(deployed, "manifest")["services"]["postgresql"]["databases"]
    assert databases["archive"] is None and databases["n8n"]
    container = deployed.containers()["postgresql"]
    assert own_databases(deployed, container) == ["n8n", "postgres"], "a checkpoint cannot hold it"


def test_the_manifest_of_services_that_are_down_is_read_from_disk(deployed: DirectAgent, machine: Machine) -> None:
    data(machine)
    for name in IMAGES:
        machine.container(name, status="exited", pid=0)
    services = do(deployed, "manifest")["services"]
    assert services["postgresql"] == {
        "version": "16",
        "databases": None,
        "bytes": None,
        "reason": "postgresql is not running",
    }
    assert services["qdrant"] == {"collections": ["books"], "source": "disk: the service is not running"}
    assert services["n8n"] == {
        "ready": False,
        "workflows": None,
        "reason": "postgresql is not running",
        "file_folders": ["storage"],
    }


def test_the_manifest_says_what_could_not_be_asked(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(rows={})
    services = do(deployed, "manifest")["services"]
    assert "relation does not exist" in services["postgresql"]["reason"]
    assert services["n8n"]["workflows"] is None
    assert services["qdrant"]["source"].startswith("disk: the service answered")
    machine.fail("docker ps", "gone")
    assert do(deployed, "manifest")["services"] == {}
    assert "gone" in deployed.reporter.notes()[-1]


@pytest.mark.parametrize("body", ["{", "[]", '{"result": null}', '{"result": {"collections": [{}]}}'])
def test_a_list_that_cannot_be_read_is_not_an_empty_one(agent: DirectAgent, body: str) -> None:
    with http_service(collections=(200, body)) as port:
        names, source = listed(agent, True, port, "/collections", ("result", "collections"))
    assert names is None
    assert source.startswith("disk: the service's list cannot be read")


# evidence


def test_evidence_remembers_which_probes_the_gate_used(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", status="restarting", restarts=3, exit_code=1, pid=0)
    with http_service(**{"": (503, "no")}) as bad, replying(AUTHENTICATION) as database:
        document = gate_document("op-1", IMAGES, {"n8n": bad, "qdrant": bad, "postgresql": database})
        with pytest.raises(AgentError):
            do(deployed, "gate", **document)
        services = do(deployed, "evidence", operation="op-1")["services"]
    assert services["qdrant"]["probe"] == {"healthy": False, "detail": "HTTP 503 no"}
    assert services["n8n"]["inspect"]["restarts"] == 3
    assert services["n8n"]["logs"] == ["2026-01-01T00:00:00.000000000Z a line"]
    assert "Env" not in json.dumps(services)


def test_evidence_of_a_container_that_is_not_there(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(containers={})
    document = gate_document("op-1", {"qdrant": QDRANT}, {"qdrant": 1})
    found = do(deployed, "evidence", operation="op-1", services=document["services"])["services"]["qdrant"]
    assert found == {"logs": [], "inspect": None, "probe": {"healthy": None, "detail": "there is no container"}}


# gc


def images_on(machine: Machine) -> set[str]:
    return set(machine.state["images"])


def test_gc_removes_what_neither_runs_nor_is_kept(deployed: DirectAgent, machine: Machine) -> None:
    others = ["qdrant/qdrant:v1.13.0", "n8nio/n8n:1.99.0", "busybox:1"]
    machine.publish(*others)
    compose = compose_of({str(n): by_digest(one) for n, one in enumerate(others)})
    do(deployed, "prefetch", operation="op-1", compose=compose)
    keep = [f"docker.io/{by_digest('n8nio/n8n:1.99.0')}"]
    answer = do(deployed, "gc", operation="op-1", keep=keep, repositories=["qdrant/qdrant"])
    assert answer == {"removed": [by_digest("qdrant/qdrant:v1.13.0")]}
    assert by_digest("busybox:1") in images_on(machine)


def test_an_image_that_docker_will_not_remove_is_no_failure(deployed: DirectAgent, machine: Machine) -> None:
    machine.publish("qdrant/qdrant:v1.13.0")
    do(deployed, "prefetch", operation="op-1", compose=compose_of({"a": by_digest("qdrant/qdrant:v1.13.0")}))
    machine.fail("docker image rm", "conflict: unable to delete (must be forced)")
    assert do(deployed, "gc", operation="op-1", keep=[], repositories=["qdrant/qdrant"]) == {"removed": []}
    assert "must be forced" in deployed.reporter.notes()[-1]
    machine.fail("docker image rm", "No such image: x")
    before = len(deployed.reporter.notes())
    do(deployed, "gc", operation="op-1", keep=[], repositories=["qdrant/qdrant"])
    assert len(deployed.reporter.notes()) == before


@pytest.mark.parametrize("command", ["docker image ls", "docker ps"])
def test_gc_removes_nothing_when_it_cannot_see_what_is_used(
    deployed: DirectAgent, machine: Machine, command: str
) -> None:
    machine.fail(command, "daemon is busy")
    before = images_on(machine)
    with pytest.raises(AgentError, match="daemon is busy"):
        do(deployed, "gc", operation="op-1", keep=[])
    assert images_on(machine) == before


def test_gc_needs_the_lease(deployed: DirectAgent) -> None:
    with pytest.raises(AgentError) as caught:
        do(deployed, "gc", operation="op-2", keep=[])
    assert caught.value.code == "lease_lost"


def test_commands_that_cannot_be_run_or_do_not_end_are_failures(deployed: DirectAgent, machine: Machine) -> None:
    with pytest.raises(AgentError, match="cannot be run"):
        deployed.run(("no-such-program",), 5)
    with pytest.raises(AgentError, match="cannot be run"):
        deployed.start(("no-such-program",), None)
    machine.update(hang={"docker": 60})
    with pytest.raises(AgentError, match=r"docker ps did not end within 0\.3 seconds"):
        deployed.docker("ps", timeout=0.3)
    with pytest.raises(AgentError, match="docker logs did not end"):
        deployed.stream(("docker", "logs"), 0.3)


def test_output_without_line_ends_is_taken_in_pieces(agent: DirectAgent) -> None:
    lines: list[Any] = []
    command = ("sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; printf 'end\\r\\nlast'")
    assert agent.stream(command, 20, lines.append).code == 0
    assert sum(len(line) for line in lines) == 200007
    assert lines[-1] == "last"
