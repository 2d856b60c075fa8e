"""A rehearsal runs beside what runs, changes nothing of it, and leaves nothing behind, whatever it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.agent.data.dumps import load_dump
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.rehearsal import REHEARSAL, sweep_rehearsal
from geusemaker.agent.verbs import rehearse as rehearsing
from tests.unit.test_agent.fakes import Machine, by_digest, pinned
from tests.unit.test_agent.support import N8N, POSTGRES, DirectAgent, apply_document, do

FIRST, SECOND, THIRD = (f"op-2026080{day}120000-0a1b2c" for day in (1, 2, 3))
NEWER = "n8nio/n8n:2.41.1"
IMAGES = {"postgresql": POSTGRES, "n8n": N8N}
PROBES: Json = {"postgresql": {"kind": "postgresql", "port": 5432}, "n8n": {"kind": "http", "path": "/", "port": 5678}}
MEMINFO = "MemTotal: 8000000 kB\nMemAvailable: {} kB\n"
LOGIN = {"method": "POST", "path": "/rest/login", "port": 5678, "body": "{}"}


@pytest.fixture
def agent(mounted: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> DirectAgent:
    """PostgreSQL and n8n; a second operation holds the lease."""
    monkeypatch.setattr(rehearsing, "LOOK_SECONDS", 0.01)
    (machine.root / "proc/meminfo").write_text(MEMINFO.format(4_000_000))
    machine.publish(*IMAGES.values(), NEWER)
    do(mounted, "begin", operation=FIRST)
    document = apply_document(FIRST, IMAGES)
    for name, service in document["compose"]["services"].items():
        service |= {"ports": ["1:1"], "volumes": [f"/mnt/efs/{name}:/data"], "env_file": [f"./{name}.env"]}
    environment = {"postgresql": {"POSTGRES_PASSWORD": "a-secret-word"}, "n8n": {"N8N_ENCRYPTION_KEY": "another-word"}}
    do(mounted, "apply", **document | {"environment": environment})
    home = machine.root / "mnt/efs/n8n"
    home.mkdir()
    (home / "config").write_text("{}")
    size = {"SELECT pg_database_size": ["1000"]}
    machine.update(
        rows={"n8n": size, "postgres": {"SELECT datname": ["n8n", "postgres"]}},
        rehearsal_rows={
            "postgres": {"SHOW listen_addresses": ["*"], "SELECT datname": ["n8n", "postgres"]},
            "n8n": {
                "SELECT table_name": ["workflow_entity|active"],
                "UPDATE public.workflow_entity": [],
                "SELECT name FROM migrations": ["One1"],
            },
        },
        dumps={"n8n": "THE DUMP"},
    )
    do(mounted, "end", operation=FIRST, outcome="done")
    do(mounted, "begin", operation=SECOND, kind="rehearse")
    return mounted


def rehearse(agent: DirectAgent, **changes: Any) -> Json:
    def watched(images: dict[str, str]) -> Json:
        return {name: {"image": pinned(one), "probe": PROBES[name]} for name, one in images.items()}

    document = {
        "operation": SECOND,
        "before": watched(IMAGES),
        "target": watched({**IMAGES, "n8n": NEWER}),
        "environment": {"n8n": {"EXECUTIONS_MODE": "regular"}},
        "works": {"n8n": LOGIN},
        "memory_mib": 700,
        "deadline_seconds": 0,
    }
    return do(agent, "rehearse", **document | changes)


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def live(machine: Machine) -> dict[str, Any]:
    return {name: one for name, one in machine.state["containers"].items() if one["project"] == "geusemaker"}


def left(agent: DirectAgent, machine: Machine) -> bool:
    """Whether anything of a rehearsal is there."""
    return agent.rehearsal.exists() or live(machine) != machine.state["containers"]


def test_the_new_images_start_on_a_copy_and_then_the_old_ones_on_what_they_left(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = live(machine), []

    def look() -> None:
        files = {path.name: path.stat().st_mode & 0o777 for path in agent.rehearsal.glob("*.env")}
        copied = agent.rehearsal / "data/n8n/config"
        seen.append((json.loads((agent.rehearsal / "compose.json").read_text()), files, copied.read_text()))

        sweep_rehearsal(agent)

    monkeypatch.setattr(rehearsing, "sweep_rehearsal", lambda agent: look())
    answer = rehearse(agent)
    assert answer["ahead"]["n8n"]["ready"] and answer["ahead"]["n8n"]["works"] and answer["back"]["n8n"]["works"]
    assert (answer["isolated"], answer["copied_bytes"], answer["migrations"]) == (False, 1002, [])
    assert answer["images"]["n8n"] == pinned(NEWER) and answer["before"]["n8n"] == pinned(N8N)
    [(project, files, copied)] = seen
    assert project["services"]["n8n"]["image"] == by_digest(N8N), "the old ones came last"
    assert project["services"]["n8n"]["environment"] == {"EXECUTIONS_MODE": "regular"} and copied == "{}"
    assert files == {"postgresql.env": 0o600, "n8n.env": 0o600}
    assert machine.state["loaded"] == {"n8n": "THE DUMP\n"}
    quiet = [call for call in machine.calls("docker", "exec") if "UPDATE public.workflow_entity" in call[-1]]
    assert quiet and quiet[0][2] not in before
    assert live(machine) == before and not left(agent, machine)
    assert "a-secret-word" not in json.dumps(machine.calls()) + "".join(agent.reporter.text)
    [note] = agent.store.rehearsals()
    assert note == answer and do(agent, "health", services={})["rehearsals"] == [note]


def test_an_old_release_that_is_ready_and_lets_nobody_in_does_not_work(agent: DirectAgent, machine: Machine) -> None:
    machine.update(node={by_digest(N8N): {"POST /rest/login": "HTTP/1.1 500 -\r\n\r\n{}"}})
    answer = rehearse(agent)
    assert answer["ahead"]["n8n"]["works"]
    assert (answer["back"]["n8n"]["ready"], answer["back"]["n8n"]["works"]) == (True, False)
    assert answer["back"]["n8n"]["problem"] == "POST /rest/login: HTTP 500"


def test_one_that_ends_or_never_becomes_ready_is_told_of_and_the_way_back_is_measured_all_the_same(
    agent: DirectAgent, machine: Machine
) -> None:
    machine.update(starts={by_digest(NEWER): {"status": "exited", "exit_code": 1, "logs": ["it broke"]}})
    answer = rehearse(agent)
    assert not answer["ahead"]["n8n"]["ready"] and answer["ahead"]["n8n"]["logs"] == ["it broke"]
    assert answer["back"]["n8n"]["works"] and not left(agent, machine)
    machine.update(starts={}, node={by_digest(NEWER): {"GET /": "HTTP/1.1 503 -\r\n\r\nno"}})
    assert rehearse(agent)["ahead"]["n8n"]["reason"] == "not ready within 0 s: HTTP 503 no"
    machine.update(node={by_digest(NEWER): {"POST /rest/login": "what"}})
    assert rehearse(agent)["ahead"]["n8n"]["problem"] == "POST /rest/login: no answer"
    machine.update(starts={by_digest(POSTGRES): {"status": "exited", "exit_code": 3}})
    assert refused(lambda: rehearse(agent)).code == "rehearsal_failed" and not left(agent, machine)


def test_without_room_it_is_refused_and_without_memory_it_ends(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = machine.root / "proc/meminfo"
    meminfo.write_text(MEMINFO.format(1_500_000))
    error = refused(lambda: rehearse(agent))
    assert (error.code, "has 1465 MiB of memory available" in error.message) == ("no_room", True)
    assert not machine.calls("docker", "pull", by_digest(NEWER)) and not left(agent, machine)
    meminfo.write_text(MEMINFO.format(4_000_000))
    load = load_dump

    def fills(*arguments: Any) -> None:
        load(*arguments)
        meminfo.write_text(MEMINFO.format(1_000_000))

    monkeypatch.setattr(rehearsing, "load_dump", fills)
    error = refused(lambda: rehearse(agent))
    assert error.code == "rehearsal_stopped" and "977 of 7812 MiB" in error.message and "below 15%" in error.message
    assert not left(agent, machine) and not agent.store.rehearsals()


@pytest.mark.parametrize("verb", ["begin", "end", "gc", "rehearse"])
def test_what_a_killed_one_left_goes_with_the_next_that_has_the_lease(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rehearsing, "load_dump", die)
        patch.setattr(rehearsing, "sweep_rehearsal", lambda agent: None)
        with pytest.raises(Killed):
            rehearse(agent)
    before = live(machine)
    assert left(agent, machine) and (agent.rehearsal / "n8n.env").exists()
    if verb == "begin":
        do(agent, "begin", operation=THIRD, kind="rollback", takeover=SECOND)
    elif verb == "end":
        do(agent, "end", operation=SECOND, outcome="abandoned")
    elif verb == "gc":
        do(agent, "gc", operation=SECOND, keep=[])
    else:
        rehearse(agent)
    assert not left(agent, machine) and live(machine) == before
    assert machine.calls("docker", "network", "prune")[-1][-1].endswith(f"project={REHEARSAL}") or verb == "gc"


def test_what_cannot_be_removed_stands_in_nobodys_way(agent: DirectAgent, machine: Machine) -> None:
    agent.rehearsal.mkdir()
    machine.fail("docker network prune", "it is in use")
    do(agent, "begin", operation=THIRD, kind="rollback", takeover=SECOND)
    assert "What a rehearsal left is still there: " in agent.reporter.notes()[-1]
    machine.update(fail={"docker ps": ["no daemon", 1]})
    do(agent, "end", operation=THIRD, outcome="done")
    assert agent.rehearsal.exists()


def test_a_document_without_one_of_them_is_refused(agent: DirectAgent) -> None:
    assert refused(lambda: rehearse(agent, target={})).code == "bad_input"
    assert refused(lambda: rehearse(agent, operation=THIRD)).code == "lease_lost"


def test_the_latest_of_each_change_are_remembered(agent: DirectAgent) -> None:
    for number in range(7):
        agent.store.note_rehearsal({"images": {"n8n": str(number)}, "before": {}, "at": "1"})
    agent.store.note_rehearsal({"images": {"n8n": "5"}, "before": {}, "at": "2"})
    found = [(one["images"]["n8n"], one["at"]) for one in agent.store.rehearsals()]
    assert found == [("2", "1"), ("3", "1"), ("4", "1"), ("6", "1"), ("5", "2")]
    agent.store.rehearsals_file.write_text("[")
    assert agent.store.rehearsals() == []
