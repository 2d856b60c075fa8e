"""measure, and how memory is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.memory import memory_of
from geusemaker.agent.verbs import measure
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import (
    AUTHENTICATION,
    N8N,
    POSTGRES,
    QDRANT,
    DirectAgent,
    apply_document,
    do,
    gate_document,
    http_service,
    replying,
)

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1", kind="update")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    return mounted


def test_each_service_is_measured(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", logs=["ERROR: no such row", "all is well, terrorists too", '{"level":"error"}', "Fatal!"])
    machine.container("qdrant", status="exited", exit_code=1, pid=0, logs=["thread panicked", "panic at 7"])
    with http_service(**{"": (200, "ok")}) as good, replying(AUTHENTICATION) as database:
        services = gate_document("op-1", IMAGES, {"n8n": good, "qdrant": good, "postgresql": database})["services"]
        services["postgresql"]["probe"]["kind"] = "tcp"
        told = do(deployed, "measure", services=services, rounds=3, log_seconds=120)["services"]
    n8n, qdrant, postgresql = told["n8n"], told["qdrant"], told["postgresql"]
    assert (n8n["ready"], n8n["error_lines"], n8n["restarts"]) == (True, 3, 0)
    assert 0 < n8n["answer_seconds"] < 2 and n8n["container"] and n8n["log_seconds"] <= 120
    assert (qdrant["ready"], qdrant["error_lines"], qdrant["answer_seconds"]) == (False, 1, None)
    assert qdrant["detail"] == "exited (exit code 1)"
    assert postgresql["answer_seconds"] is None, "a connection that stays tells nothing of the service"
    assert machine.calls("docker", "logs")[-1][1:6] == ["logs", "--since", "120s", "--tail", "10000"]


def test_a_service_without_a_container_and_one_that_is_stopped(deployed: DirectAgent) -> None:
    do(deployed, "stop", operation="op-1", services=["qdrant"], by="ann")
    services = gate_document("op-1", {"qdrant": QDRANT, "ollama": N8N}, {"qdrant": 1, "ollama": 1})["services"]
    told = do(deployed, "measure", services=services)["services"]
    assert {name: (one["ready"], one["detail"], one["log_seconds"]) for name, one in told.items()} == {
        "ollama": (False, "there is no container", 0.0)
    }


def test_it_is_done_for_who_has_the_lease_which_gives_way(deployed: DirectAgent) -> None:
    do(deployed, "measure", services={})
    assert "gives_way" not in do(deployed, "lease")["lease"]
    do(deployed, "measure", services={}, operation="op-1")
    assert do(deployed, "lease")["lease"]["gives_way"] is True
    do(deployed, "begin", operation="op-2", kind="rollback", expects="op-1")
    with pytest.raises(AgentError) as lost:
        do(deployed, "measure", services={}, operation="op-1")
    assert lost.value.code == "lease_lost" and lost.value.detail["holder"]["operation"] == "op-2"


def test_a_log_that_takes_too_long_counts_as_far_as_it_was_read(
    deployed: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LOG_SECONDS", 0.0)
    services = gate_document("op-1", {"qdrant": QDRANT}, {"qdrant": 1})["services"]
    assert do(deployed, "measure", services=services)["services"]["qdrant"]["error_lines"] == 0


def test_memory_is_the_kernels_own_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.memory._group_of", lambda pid: "/system.slice/docker-1.scope")
    assert memory_of(tmp_path, 7) == (None, None), "an instance without cgroup v2"
    group = tmp_path / "system.slice/docker-1.scope"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("1000\n")
    assert memory_of(tmp_path, 7) == (None, 1000)
    (group / "memory.current").write_text("900\n")
    assert memory_of(tmp_path, 7) == (900, 1000)
    (group / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory_of(tmp_path, 7) == (750, 1000)
    (group / "memory.max").write_text("max\n")
    assert memory_of(tmp_path, 7) == (750, None)


def test_of_a_process_that_is_gone_nothing_is_told(tmp_path: Path) -> None:
    assert memory_of(tmp_path, 0) == (None, None)
