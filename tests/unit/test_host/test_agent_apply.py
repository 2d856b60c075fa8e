from __future__ import annotations

from geusemaker.host import agent as program

from tests.unit.test_host.conftest import RecordingReporter, Run, apply_document, mount_document
from tests.unit.test_host.fakes import Machine


def test_a_first_deploy_mounts_pulls_and_starts(machine: Machine, run: Run) -> None:
    machine.publish("qdrant/qdrant:v1.14.1")
    assert run("mount", mount_document())[1][-1] == {
        "event": "result",
        "ok": True,
        "mounted": True,
        "first": True,
        "unchanged": False,
    }
    status, lines = run("apply", apply_document("op-1", {"qdrant": "qdrant/qdrant:v1.14.1"}))
    assert (status, lines[-1]["changed"]) == (0, ["qdrant"]), lines
    print(lines)
