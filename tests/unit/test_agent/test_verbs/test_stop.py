"""Services that are stopped on purpose: noted on the file system, and left alone by whatever starts others."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, QDRANT, DirectAgent, apply_document, do, mount_document

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}
NEWER = {**IMAGES, "qdrant": "qdrant/qdrant:v1.15.0"}


def change(agent: DirectAgent, of: str, verb: str, **document: Any) -> dict[str, Any]:
    do(agent, "begin", operation=of)
    try:
        return do(agent, verb, **{"operation": of, **document})
    finally:
        do(agent, "end", operation=of, outcome="done")


def running(agent: DirectAgent) -> list[str]:
    return sorted(name for name, one in agent.containers().items() if one.running)


@pytest.fixture
def rests(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """Three services, of which Qdrant is stopped on purpose."""
    machine.publish(*IMAGES.values(), NEWER["qdrant"])
    change(mounted, "op-1", "apply", **apply_document("op-1", IMAGES))
    change(mounted, "op-2", "stop", services=["qdrant"], by="ann", reason="disk work")
    return mounted


def test_it_is_noted_and_stopped(rests: DirectAgent) -> None:
    assert running(rests) == ["n8n", "postgresql"]
    note = do(rests, "health", services={})["stopped"]["qdrant"]
    assert (note["by"], note["reason"]) == ("ann", "disk work") and note["since"]
    change(rests, "op-3", "stop", services=["qdrant"], by="bob", reason="")
    assert do(rests, "health", services={})["stopped"]["qdrant"] == note, "the first note stays"


def test_a_change_leaves_it_stopped_and_start_brings_it_up_as_it_is_wanted_by_then(
    rests: DirectAgent, machine: Machine
) -> None:
    answer = change(rests, "op-3", "apply", **apply_document("op-3", NEWER, kind="update"))
    assert answer["stopped"] == ["qdrant"] and "qdrant" not in answer["changed"]
    assert running(rests) == ["n8n", "postgresql"]
    assert change(rests, "op-4", "start", services=["qdrant"])["stopped"] == {}
    assert running(rests) == sorted(IMAGES)
    assert rests.containers()["qdrant"].wanted_image().tag == "v1.15.0"


def test_where_all_rest_nothing_is_started(rests: DirectAgent) -> None:
    change(rests, "op-3", "stop", services=["n8n", "postgresql"], by="ann", reason="")
    change(rests, "op-4", "apply", **apply_document("op-4", NEWER, kind="update"))
    assert running(rests) == [], "to Compose, no name would mean every service"


def test_a_note_goes_with_its_service_and_a_deploy_forgets_all(rests: DirectAgent) -> None:
    without = {name: image for name, image in IMAGES.items() if name != "qdrant"}
    change(rests, "op-3", "apply", **apply_document("op-3", without, kind="update"))
    assert rests.store.stopped() == {}
    change(rests, "op-4", "stop", services=["n8n"], by="ann", reason="")
    change(rests, "op-5", "apply", **apply_document("op-5", IMAGES, kind="deploy"))
    assert rests.store.stopped() == {} and running(rests) == sorted(IMAGES)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"qdrant": "ann"}'])
def test_notes_that_cannot_be_read_do_not_stop_what_brings_services_back(rests: DirectAgent, damage: bytes) -> None:
    rests.store.stopped_file.write_bytes(damage)
    assert do(rests, "health", services={})["sentinel_known"] is True
    change(rests, "op-3", "apply", **apply_document("op-3", IMAGES, kind="rollback"))
    assert running(rests) == sorted(IMAGES)
    assert [note for note in rests.reporter.notes() if "stopped on purpose cannot be read" in note]
    change(rests, "op-4", "stop", services=["n8n"], by="ann", reason="")
    assert rests.store.stopped().keys() == {"n8n"}


@pytest.mark.parametrize("file", ["prepared_file", "applied_file", "probes_file", "compose_file"])
def test_an_own_file_that_is_damaged_does_not_stop_the_way_back(rests: DirectAgent, file: str) -> None:
    getattr(rests, file).write_bytes(b"\xff{")
    change(rests, "op-3", "apply", **apply_document("op-3", IMAGES, kind="rollback"))
    assert running(rests) == ["n8n", "postgresql"]


def test_the_facts_of_the_instance_are_written_anew_where_they_are_damaged(rests: DirectAgent) -> None:
    rests.host_file.write_bytes(b"\xff{")
    do(rests, "mount", **mount_document())
    assert rests.host()["instance_id"] == "i-1"


def test_only_under_the_lease_and_only_what_is_named(rests: DirectAgent) -> None:
    for verb in ("stop", "start", "restart"):
        with pytest.raises(AgentError) as lost:
            do(rests, verb, operation="op-9", services=["n8n"], by="eve")
        assert lost.value.code == "lease_lost"
        with pytest.raises(AgentError) as empty:
            change(rests, "op-8", verb, services=[], by="ann")
        assert empty.value.code == "bad_input"
    assert running(rests) == ["n8n", "postgresql"]


def test_nothing_is_started_on_data_that_is_gone(rests: DirectAgent) -> None:
    rests.store.sentinel_file.unlink()
    found = do(rests, "health", services={})
    assert (found["sentinel"], found["sentinel_known"]) == (None, True)
    with pytest.raises(AgentError) as gone:
        change(rests, "op-3", "start", services=["qdrant"])
    assert gone.value.code == "data_loss" and "qdrant" in rests.store.stopped()


def test_what_hangs_is_started_once_more(rests: DirectAgent, machine: Machine) -> None:
    assert change(rests, "op-3", "restart", services=["n8n", "qdrant"])["restarted"] == ["n8n"]
    assert len(machine.calls("docker", "restart")) == 1 and running(rests) == ["n8n", "postgresql"]
