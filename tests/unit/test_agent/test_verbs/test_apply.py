"""prefetch, hold and apply."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import descendants
from geusemaker.agent.pulls import pull_images
from geusemaker.models.history import ApplyOutcome
from geusemaker.services.notices import failure
from tests.unit.samples import config
from tests.unit.test_agent.fakes import Machine, by_digest
from tests.unit.test_agent.support import N8N, POSTGRES, QDRANT, DirectAgent, apply_document, compose_of, do

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def told(error: AgentError) -> str:
    """What the operator reads when this ended the engine's run."""
    agent_error = {"code": error.code, "message": error.message, "detail": error.detail}
    return failure(ApplyOutcome(succeeded=False, agent_error=agent_error), config())


def change(agent: DirectAgent, operation: str, images: dict[str, str], **changes: Any) -> dict[str, Any]:
    do(agent, "begin", operation=operation)
    try:
        return do(agent, "apply", **apply_document(operation, images, **changes))
    finally:
        do(agent, "end", operation=operation, outcome="done")


@pytest.fixture
def ready(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(*IMAGES.values(), "qdrant/qdrant:v1.15.0")
    return mounted


def test_a_first_apply_pulls_and_starts_everything(ready: DirectAgent, machine: Machine) -> None:
    answer = do(ready, "apply", **apply_document("op-1", IMAGES))
    assert answer["changed"] == ["n8n", "postgresql", "qdrant"]
    assert ready.reporter.states("qdrant") == ["pulling", "pulling", "pulled", "running"]
    assert ready.store.lease() is not None
    assert (machine.root / "mnt/efs/qdrant").stat().st_mode & 0o777 == 0o750


def test_only_what_differs_is_changed(ready: DirectAgent) -> None:
    change(ready, "op-1", IMAGES)
    answer = change(ready, "op-2", {**IMAGES, "qdrant": "qdrant/qdrant:v1.15.0"})
    assert (answer["changed"], answer["unchanged"]) == (["qdrant"], ["n8n", "postgresql"])
    assert json.loads((ready.home / "compose.previous.json").read_text())["services"]["qdrant"]["image"] == by_digest(
        QDRANT
    )


def test_applying_what_runs_already_pulls_writes_and_restarts_nothing(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    written = {path.name: path.stat().st_mtime_ns for path in ready.home.iterdir()}
    answer = change(ready, "op-2", IMAGES)
    assert (answer["changed"], len(answer["unchanged"])) == ([], 3)
    assert {path.name: path.stat().st_mtime_ns for path in ready.home.iterdir()} == written
    assert len(machine.calls("docker", "pull")) == 3


def test_a_service_left_out_goes_with_its_env_file(ready: DirectAgent) -> None:
    change(ready, "op-1", IMAGES)
    answer = change(ready, "op-2", {"postgresql": POSTGRES, "n8n": N8N}, environment={})
    assert answer["removed"] == ["qdrant"]
    assert not (ready.home / "qdrant.env").exists()


def test_secrets_go_into_env_files_only_root_can_read(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    env_file = ready.home / "qdrant.env"
    assert env_file.read_text() == "API_KEY=a-very-secret-word\n"
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert "a-very-secret-word" not in json.dumps(machine.calls())
    assert "a-very-secret-word" not in "".join(ready.reporter.text)


def test_the_registry_is_not_needed_for_images_that_are_there(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    machine.update(registry=[])
    assert change(ready, "op-2", {**IMAGES})["changed"] == []
    do(ready, "begin", operation="op-3")
    images = {"a": by_digest(N8N), "b": f"docker.io/{N8N}@{by_digest(N8N)[10:]}"}
    answer = do(ready, "prefetch", operation="op-3", compose=compose_of(images))
    assert answer == {"pulled": [], "present": ["a", "b"]}


def test_a_new_instance_gets_its_images_before_there_is_a_lease(ready: DirectAgent, machine: Machine) -> None:
    with pytest.raises(AgentError, match="does not hold the deployment"):
        do(ready, "prefetch", operation="op-1", compose=compose_of({"a": by_digest(N8N)}))
    answer = do(ready, "prefetch", operation="op-1", compose=compose_of({"a": by_digest(N8N)}), new_instance=True)
    assert answer["pulled"] == ["a"]
    assert "n8n" in change(ready, "op-1", IMAGES)["changed"], "`apply` takes the lease"


def test_nothing_is_touched_before_every_image_is_there(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    before = machine.state["containers"]
    error = refused(lambda: change(ready, "op-2", {**IMAGES, "qdrant": "qdrant/qdrant:v9-missing"}))
    assert (error.code, error.detail["wanted_by"]) == ("image_missing", ["qdrant"])
    assert machine.state["containers"] == before
    assert by_digest(QDRANT) in ready.compose_file.read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "no_space"),
        ("Error response from daemon: manifest unknown", "image_missing"),
        ("Get https://registry-1.docker.io/v2/: dial tcp: connect: connection refused", "pull_failed"),
        ("toomanyrequests: You have reached your pull rate limit", "pull_failed"),
    ],
)
def test_a_failed_pull_says_why(ready: DirectAgent, machine: Machine, words: str, code: str) -> None:
    machine.fail("docker pull", words)
    do(ready, "begin", operation="op-1")
    compose = compose_of({"qdrant": by_digest(QDRANT)})
    error = refused(lambda: do(ready, "prefetch", operation="op-1", compose=compose))
    assert error.code == code
    assert told(error).startswith(error.message.rstrip("."))


def test_pulls_that_take_too_long_are_ended(ready: DirectAgent, machine: Machine) -> None:
    machine.update(hang={"docker pull": 60})
    do(ready, "begin", operation="op-1")
    compose = compose_of({name: by_digest(tagged) for name, tagged in IMAGES.items()})
    error = refused(lambda: do(ready, "prefetch", operation="op-1", compose=compose, deadline_seconds=4))
    assert (error.code, len(machine.calls("docker", "pull"))) == ("pull_failed", 2)
    assert descendants(os.getpid()) == set()


def test_a_pull_without_news_says_that_it_goes_on(
    ready: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.agent.pulls.PULL_NEWS", 0.1)
    machine.update(hang={"docker pull": 60})
    do(ready, "begin", operation="op-1")
    compose = compose_of({"qdrant": by_digest(QDRANT)})
    refused(lambda: do(ready, "prefetch", operation="op-1", compose=compose, deadline_seconds=0.5))
    assert '"state": "pulling", "detail": "0 of 0 layers after 0 s"' in "".join(ready.reporter.text)


def test_two_services_of_one_image_pull_it_once(ready: DirectAgent, machine: Machine) -> None:
    do(ready, "begin", operation="op-1")
    compose = compose_of({"a": by_digest(QDRANT), "b": by_digest(QDRANT)})
    answer = do(ready, "prefetch", operation="op-1", compose=compose)
    assert (answer["pulled"], len(machine.calls("docker", "pull"))) == (["a", "b"], 1)


def test_what_a_boot_could_not_mount_is_mounted_before_anything_is_started(
    ready: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.agent.verbs.apply.MOUNT_PATIENCE", 0)
    machine.unmount()
    machine.fail("systemctl enable --now mnt-efs.mount", "mount.nfs4: Failed to resolve server")
    for verb, document in (("begin", {"operation": "op-1"}), ("apply", apply_document("op-1", IMAGES))):
        error = refused(partial(do, ready, verb, **document))
        assert (error.code, told(error)) == (
            "mount_failed",
            "/mnt/efs could not be mounted: mount.nfs4: Failed to resolve server.",
        )
    assert not machine.calls("docker", "compose")
    machine.update(fail={})
    do(ready, "begin", operation="op-1")
    assert ready.mount() is not None
    assert machine.calls()[-1] == ["systemctl", "start", "docker.service"]
    machine.unmount()
    assert len(do(ready, "apply", **apply_document("op-1", IMAGES))["changed"]) == len(IMAGES)


def test_the_mount_is_checked_before_anything_is_started(ready: DirectAgent, machine: Machine) -> None:
    machine.unmount()
    machine.mount("fs-other")
    assert refused(lambda: do(ready, "apply", **apply_document("op-1", IMAGES))).code == "wrong_file_system"
    assert not machine.calls("docker", "compose")


def test_without_its_sentinel_nothing_is_started_on_the_data(ready: DirectAgent, machine: Machine) -> None:
    ready.store.sentinel_file.unlink()
    assert refused(lambda: do(ready, "apply", **apply_document("op-1", IMAGES))).code == "data_loss"
    assert not machine.calls("docker", "compose")


def test_no_empty_database_is_started_where_there_was_one(ready: DirectAgent, machine: Machine) -> None:
    data = machine.root / "mnt/efs/postgresql/pgdata"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    ready.store.mark_database()
    change(ready, "op-1", IMAGES)
    (data / "PG_VERSION").unlink()
    assert refused(lambda: change(ready, "op-2", IMAGES)).code == "data_loss"
    assert change(ready, "op-3", {"qdrant": QDRANT})["unchanged"] == ["qdrant"]


def test_data_that_another_instance_serves_is_left_alone_until_that_one_is_gone(ready: DirectAgent) -> None:
    change(ready, "op-1", IMAGES)
    do(ready, "begin", operation="op-2")
    document = {**apply_document("op-2", IMAGES), "instance_id": "i-2"}
    error = refused(lambda: do(ready, "apply", **{**document, "other_instances": ["i-1", "i-7"]}))
    assert (error.code, error.detail["serving"]) == ("other_instance", "i-1")
    do(ready, "apply", **{**document, "other_instances": ["i-7"]})
    assert (ready.store.lease() or {})["serving"] == "i-2"


def test_an_operation_without_the_lease_applies_nothing(ready: DirectAgent, machine: Machine) -> None:
    do(ready, "begin", operation="op-1")
    assert refused(lambda: do(ready, "apply", **apply_document("op-2", IMAGES))).code == "lease_lost"
    assert not machine.calls("docker", "pull")


def test_a_lease_that_is_lost_during_the_pull_stops_the_change(
    ready: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(ready, "begin", operation="op-1")
    pull = pull_images

    def slow(*arguments: Any) -> Any:
        ready.store.begin("op-2", None, "op-1", {})
        return pull(*arguments)

    monkeypatch.setattr("geusemaker.agent.verbs.apply.pull_images", slow)
    assert refused(lambda: do(ready, "apply", **apply_document("op-1", IMAGES))).code == "lease_lost"
    assert not [call for call in machine.calls("docker", "compose") if "up" in call]


def test_a_compose_file_that_compose_refuses_replaces_nothing(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    before = ready.compose_file.read_text()
    fails_to_check(ready, machine)
    error = refused(lambda: change(ready, "op-2", {"qdrant": QDRANT}))
    assert (error.code, "invalid proto" in error.message) == ("apply_failed", True)
    assert ready.compose_file.read_text() == before
    assert [path.name for path in ready.home.glob("compose.*")] == ["compose.json"]


def fails_to_check(agent: DirectAgent, machine: Machine) -> None:
    prefix = f"docker compose -p geusemaker --project-directory {agent.home} -f {agent.home}/compose.candidate.json"
    machine.fail(f"{prefix} config", "services.n8n.ports.0 invalid proto: xyz")


def checks(machine: Machine) -> int:
    """How often Compose was asked whether it accepts a file."""
    return len([call for call in machine.calls("docker", "compose") if "config" in call])


def test_a_compose_file_is_checked_before_anything_stops(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", {"qdrant": QDRANT})
    project = apply_document("op-2", IMAGES)["compose"]
    project["services"]["n8n"]["env_file"] = ["./n8n.env"]
    do(ready, "begin", operation="op-2")
    fails_to_check(ready, machine)
    assert refused(lambda: do(ready, "prefetch", operation="op-2", compose=project)).code == "apply_failed"
    machine.update(fail={})
    already = checks(machine)
    do(ready, "prefetch", operation="op-2", compose=project)
    do(ready, "prefetch", operation="op-2", compose=project)
    # Compose reads env files as well: that of a new service has to be there, which nobody but root may read.
    assert (ready.home / "n8n.env").stat().st_mode & 0o777 == 0o600
    environment = {"n8n": {"KEY": "of n8n"}}
    do(ready, "apply", **apply_document("op-2", IMAGES, compose=project, environment=environment))
    assert (ready.home / "n8n.env").read_text() == "KEY='of n8n'\n"
    assert checks(machine) == already + 1
    do(ready, "end", operation="op-2", outcome="failed")
    # Nor is what one goes back to.
    change(ready, "op-3", {"qdrant": QDRANT})
    assert checks(machine) == already + 1
    assert json.loads(ready.compose_file.read_text()) == apply_document("op-3", {"qdrant": QDRANT})["compose"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Bind for 127.0.0.1:5678 failed: port is already allocated", "apply_failed"),
        ("Error response from daemon: No such image: qdrant/qdrant", "image_missing"),
        ("failed to create task: no space left on device", "no_space"),
    ],
)
def test_a_compose_up_that_fails_says_why(ready: DirectAgent, machine: Machine, words: str, code: str) -> None:
    machine.fail(f"docker compose -p geusemaker --project-directory {ready.home} -f {ready.compose_file} up", words)
    error = refused(lambda: change(ready, "op-1", IMAGES))
    assert error.code == code
    assert told(error).startswith(error.message.rstrip("."))


@pytest.mark.parametrize(
    "changes",
    [
        {"compose": {}},
        {"compose": {"services": {"../x": {}}}},
        {"environment": {"n8n": {"A": 1}}},
        {"environment": {"../../etc/cron.d/x": {"A": "b"}}},
        {"directories": [{"path": "../outside"}]},
        {"directories": [{"path": "/etc"}]},
        {"directories": [{"path": "a//b"}]},
        {"directories": ["a"]},
        {"operation": "a/b"},
    ],
)
def test_input_that_reaches_outside_is_refused_before_anything_happens(
    ready: DirectAgent, machine: Machine, changes: Any
) -> None:
    before = len(machine.calls())
    assert refused(lambda: do(ready, "apply", **{**apply_document("op-1", IMAGES), **changes})).code == "bad_input"
    assert machine.calls()[before:] == []
    assert ready.store.lease() is None


def test_data_keeps_its_owner_and_mode(ready: DirectAgent, machine: Machine) -> None:
    folder = machine.root / "mnt/efs/qdrant"
    folder.mkdir()
    (folder / "raft_state.json").write_text("{}")
    folder.chmod(0o700)
    change(ready, "op-1", IMAGES)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_docker_that_is_down_is_started(ready: DirectAgent, machine: Machine) -> None:
    machine.fail("docker version", "Cannot connect to the Docker daemon")
    error = refused(lambda: change(ready, "op-1", IMAGES))
    assert (error.code, "Cannot connect" in error.message) == ("docker_failed", True)
    assert machine.calls("systemctl", "start", "docker.service")
    machine.fail("systemctl start docker.service", "A dependency job for docker.service failed.")
    assert "dependency job" in refused(lambda: change(ready, "op-2", IMAGES)).message


# hold


def test_hold_stops_everything_and_apply_starts_it_again(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    do(ready, "begin", operation="op-2")
    assert do(ready, "hold", operation="op-2") == {"stopped": ["n8n", "postgresql", "qdrant"]}
    assert {one["status"] for one in machine.state["containers"].values()} == {"exited"}
    assert (ready.store.lease() or {})["serving"] is None
    assert do(ready, "hold", operation="op-2") == {"stopped": []}
    assert len(do(ready, "apply", **apply_document("op-2", IMAGES))["changed"]) == 3


def held(agent: DirectAgent, operation: str, images: dict[str, str]) -> dict[str, Any]:
    """Do what comes before the instance is stopped; returns what ``apply`` is told then."""
    document = apply_document(operation, images)
    do(agent, "begin", operation=operation)
    do(agent, "prefetch", operation=operation, compose=document["compose"])
    do(agent, "hold", operation=operation)
    return document


def test_after_a_hold_docker_is_asked_nothing_that_is_known(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    document = held(ready, "op-2", {"postgresql": POSTGRES, "qdrant": "qdrant/qdrant:v1.15.0"})
    already = len(machine.calls("docker"))
    answer = do(ready, "apply", **document)
    assert next(call[-5:] for call in machine.calls("docker")[already:]) == [
        "up", "-d", "--remove-orphans", "--pull", "never",
    ]  # fmt: skip
    assert (answer["changed"], answer["unchanged"], answer["removed"]) == (["postgresql", "qdrant"], [], ["n8n"])
    # Done once more, as a plain `pulumi up` may, it looks.
    again = do(ready, "apply", **document)
    assert (again["changed"], again["unchanged"], again["removed"]) == ([], ["postgresql", "qdrant"], [])


def test_after_a_hold_a_start_that_fails_is_tried_again_with_a_look_at_docker(
    ready: DirectAgent, machine: Machine
) -> None:
    change(ready, "op-1", IMAGES)
    document = held(ready, "op-2", {**IMAGES, "qdrant": "qdrant/qdrant:v1.15.0"})
    newer = by_digest("qdrant/qdrant:v1.15.0")
    machine.update(images={name: image for name, image in machine.state["images"].items() if name != newer})
    assert do(ready, "apply", **document)["changed"] == ["n8n", "postgresql", "qdrant"]
    assert "Once more, with a look at Docker first" in ready.reporter.notes()[0]
    assert len([call for call in machine.calls("docker", "compose") if "up" in call]) == 3


@pytest.mark.parametrize("other", ["another operation", "another image"])
def test_what_was_held_for_something_else_does_not_count(ready: DirectAgent, machine: Machine, other: str) -> None:
    change(ready, "op-1", IMAGES)
    document = held(ready, "op-2", IMAGES)
    if other == "another operation":
        do(ready, "begin", operation="op-3", takeover="op-2")
        document = apply_document("op-3", IMAGES)
    else:
        document = apply_document("op-2", {**IMAGES, "qdrant": "qdrant/qdrant:v1.15.0"})
    already = len(machine.calls("docker", "image", "inspect"))
    assert len(do(ready, "apply", **document)["changed"]) == 3
    assert len(machine.calls("docker", "image", "inspect")) == already + 1


def test_hold_stops_what_the_compose_file_no_longer_names(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    ready.compose_file.write_text(json.dumps({"services": {"n8n": {}}}))
    do(ready, "begin", operation="op-2")
    do(ready, "hold", operation="op-2")
    assert {one["status"] for one in machine.state["containers"].values()} == {"exited"}


def test_hold_says_when_something_keeps_running(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    ready.compose_file.unlink()
    machine.fail("docker stop", "cannot stop container: permission denied")
    do(ready, "begin", operation="op-2")
    assert "permission denied" in refused(lambda: do(ready, "hold", operation="op-2")).message


def test_hold_needs_the_lease(ready: DirectAgent, machine: Machine) -> None:
    change(ready, "op-1", IMAGES)
    assert refused(lambda: do(ready, "hold", operation="op-1")).code == "lease_lost"
