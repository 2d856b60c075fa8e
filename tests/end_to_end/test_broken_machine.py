"""A machine where something is missing or broken: one clear sentence, a next step, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.world import World


@pytest.fixture
def machine(tmp_path: Path) -> World:
    return World.at(tmp_path)


def refused(machine: World, *arguments: str, says: str) -> None:
    answer = machine.run(*arguments, "--output", "json", code=1)
    assert answer.document["success"] is False
    assert says in answer.document["error_message"]
    assert answer.document["next_step"]
    assert "Traceback" not in answer.stderr


def test_a_corrupted_project_file(machine: World) -> None:
    machine.home.mkdir()
    (machine.home / "Pulumi.yaml").write_text("name: [geusemaker\n")
    refused(machine, "deploy", "shop", "--yes", says="Pulumi.yaml")
    refused(machine, "status", "shop", says="Pulumi.yaml")
    assert sorted(path.name for path in machine.home.iterdir()) == ["Pulumi.yaml"]
    assert not machine.cloud.exists()


def test_somebody_elses_project_file(machine: World) -> None:
    machine.home.mkdir()
    (machine.home / "Pulumi.yaml").write_text("name: website\nruntime: yaml\n")
    refused(machine, "deploy", "shop", "--yes", says="another Pulumi project")
    assert sorted(path.name for path in machine.home.iterdir()) == ["Pulumi.yaml"]


def test_an_engine_that_is_not_there(machine: World) -> None:
    machine.extra["GEUSEMAKER_PULUMI"] = str(machine.folder / "no-such-pulumi")
    refused(machine, "deploy", "shop", "--yes", says="no-such-pulumi")
    doctor = machine.json("doctor", code=1)
    assert doctor["ok"] is False
    assert doctor["engine"] is None
    assert any("no-such-pulumi" in problem for problem in doctor["problems"])


def test_a_local_cloud_that_cannot_start(machine: World) -> None:
    machine.cloud.write_text("a file where the folder should be")
    refused(machine, "deploy", "shop", "--yes", says="local cloud")


@pytest.mark.slow
def test_a_lost_passphrase(machine: World) -> None:
    try:
        machine.run("deploy", "shop", "--service", "qdrant", "--yes")
        passphrase = machine.home / ".state" / "passphrase"
        kept = passphrase.read_text()
        passphrase.unlink()
        refused(machine, "update", "shop", "--instance-type", "t3.xlarge", "--yes", says="passphrase")
        refused(machine, "deploy", "other", "--yes", says="passphrase")
        assert not passphrase.exists()
        machine.extra["PULUMI_CONFIG_PASSPHRASE"] = "a wrong one"
        refused(machine, "update", "shop", "--instance-type", "t3.xlarge", "--yes", says="passphrase")
        machine.extra["PULUMI_CONFIG_PASSPHRASE"] = kept
        assert machine.json("update", "shop", "--instance-type", "t3.xlarge", "--yes")["version"] == 2
        machine.run("update", "shop", "--service", "ollama", "--yes")
        assert set(machine.inspect("shop")["services"]) == {"qdrant", "ollama"}
        machine.run("update", "shop", "--without", "qdrant", "--yes")
        assert set(machine.inspect("shop")["services"]) == {"ollama"}
        machine.run("update", "shop", "--service", "n8n", "--yes", code=2)
    finally:
        machine.run("local", "reset", "--yes")
