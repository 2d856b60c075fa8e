"""A service that is given GPUs is ready when they are seen from within its container."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from geusemaker.agent import watches
from geusemaker.agent.errors import AgentError
from geusemaker.agent.images import Image
from geusemaker.agent.probes import Probe
from geusemaker.agent.processes import Job
from geusemaker.agent.watches import Watch, probe_services
from tests.unit.test_agent.fakes import FILE_SYSTEM, Machine, pinned
from tests.unit.test_agent.support import QDRANT, DirectAgent, apply_document, do

NAME = "NVIDIA A10G"


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(QDRANT)
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", {"models": QDRANT}, environment={}, directories=[]))
    return mounted


def gate(agent: DirectAgent, gpus: int) -> dict[str, Any]:
    service = {"image": pinned(QDRANT), "probe": {"kind": "running", "gpus": gpus}, "deadline_seconds": 1}
    return do(
        agent, "gate", operation="op-1", file_system_id=FILE_SYSTEM, services={"models": service}, settle_seconds=0
    )


def look(agent: DirectAgent, gpus: int) -> tuple[bool, str]:
    image = Image.parse(pinned(QDRANT))
    return probe_services(agent, [Watch("models", image, "a:1", Probe("running", 0, gpus=gpus), 1)], 2.0)["models"][:2]


def test_the_gate_passes_once_all_are_seen(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(gpus=[NAME] * 2)
    assert gate(deployed, 2)["healthy"] is True
    assert look(deployed, 2) == (True, f"its container runs; 2 GPU ({NAME})")


def test_one_that_fell_off_is_told(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(gpus=[NAME])
    assert look(deployed, 2) == (False, "1 of 2 GPUs are seen in its container")


def test_a_driver_that_does_not_answer_fails_the_gate_with_its_words(deployed: DirectAgent) -> None:
    with pytest.raises(AgentError, match="no GPU works in its container: Failed to initialize NVML: Unknown Error"):
        gate(deployed, 1)


def test_a_driver_that_hangs_is_given_up(deployed: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "GPU_TIMEOUT", 0.3)
    monkeypatch.setattr(deployed, "start", lambda *_: Job(["sleep", "30"], os.environ))
    started = time.monotonic()
    assert look(deployed, 1) == (False, "nvidia-smi did not end within 0.3 s in its container")
    assert time.monotonic() - started < 28


def test_a_service_that_is_not_ready_says_why_first(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(gpus=[NAME])
    image = Image.parse(pinned(QDRANT))
    seen = probe_services(deployed, [Watch("models", image, "a:1", Probe("tcp", 1, gpus=1), 1)], 2.0)["models"]
    assert not seen.healthy and "GPU" not in seen.detail
