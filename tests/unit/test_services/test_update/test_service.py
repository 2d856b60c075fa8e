"""UpdateService."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Barrier
from threading import Event as ThreadEvent
from typing import Any

import pytest

from geusemaker.catalog import SERVICES
from geusemaker.errors import (
    ChangeFailedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    EngineError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.history import Intent, LockOwner
from geusemaker.models.image import ImageReference
from geusemaker.models.machine_image import MachineImage
from geusemaker.models.plan import Plan, ResourceOperation
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import TAKEN_BY_ITSELF
from geusemaker.services import configure
from geusemaker.services.journal import FileJournal
from tests.unit.fakes import HOST_NAME, INSTANCE, Killed, Shown, World


def test_only_what_was_asked_for_changes(deployed: World) -> None:
    before = dict(deployed.machine.services)

    result = deployed.n8n("1.101.0", reason="new nodes")

    assert result.success and result.version == 2 and len(result.changes) == 1
    changed = {name for name, image in deployed.machine.services.items() if image != before[name]}
    assert changed == {"n8n"}
    active = deployed.state().active
    assert active is not None and active.provenance.reason == "new nodes"


def test_the_order_of_things(deployed: World) -> None:
    """Nothing stops before everything needed is on disk, and all of it under the lease."""
    deployed.update(instance_type="t3.xlarge")

    order = ["host.begin", "engine.set_intent:begun", "host.prefetch", "engine.up", "host.hold", "host.gc", "host.end"]
    assert [call for call in deployed.calls if call in order] == order
    assert deployed.calls.index("engine.up") < deployed.calls.index("engine.set_intent:done")


def test_an_image_change_does_not_stop_the_instance(deployed: World) -> None:
    deployed.n8n("1.101.0")
    assert "host.hold" not in deployed.calls


def test_a_version_keeps_its_rendering_and_an_update_leaves_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(configure, "NEWEST_RENDERING", 1)
        world.deploy(DeployRequest(environment={"n8n": {"A": "x$y"}}))
    shown = Shown()
    assert world.n8n("1.101.0", confirm=shown).success
    plan = shown.plans[0]
    assert {change.path: change.new for change in plan.changes}["rendering"] == str(TAKEN_BY_ITSELF)
    assert plan.downtime.startswith("All services restart") and "geusemaker itself" in plan.downtime
    assert set(plan.replaced or ()) == set(plan.config.services)
    assert world.machine.definitions["n8n"][0]["environment"]["A"] == "x$$y"

    world.n8n("1.102.0", confirm=shown)
    assert shown.plans[1].replaced == ("n8n",) and shown.plans[1].downtime.startswith("n8n: a few seconds")

    assert world.rollback(to_version=1, confirm=shown).success
    assert "logging" not in world.machine.definitions["n8n"][0], "v1 is what it was, its compose file, too"
    assert world.machine.definitions["n8n"][0]["environment"]["A"] == "x$y"


def test_walls_go_up_when_they_are_asked_for_and_come_down_with_a_rollback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(configure, "NEWEST_RENDERING", 2)
        world.deploy()
    world.engine.secrets = world.engine.load_secrets().model_copy(update={"qdrant_key": ""})
    world.machine.mentions = ["Ask the docs"]
    shown = Shown()
    assert world.n8n("1.101.0", confirm=shown).success
    assert shown.plans[0].config.rendering == 2 and not world.engine.load_secrets().qdrant_key
    assert "networks" not in world.machine.definitions["n8n"][0]

    assert world.update(rendering="newest", confirm=shown).success
    plan = shown.plans[1]
    told = {check.name: check.detail for check in plan.checks}
    changes = [str(change) for change in plan.changes]
    assert {"rendering: 2 -> 3", "qdrant.secrets: (secret) -> (secret), changed"} <= set(changes)
    assert "'Ask the docs' name it" in told["Qdrant key"] and "qdrant by n8n" in told["walls"]
    key = world.engine.load_secrets().qdrant_key
    definition, environment = world.machine.definitions["qdrant"]
    assert definition["networks"] == ["qdrant"] and environment == {"QDRANT__SERVICE__API_KEY": key}
    assert world.n8n("1.102.0", confirm=shown).success and shown.plans[2].replaced == ("n8n",)

    assert world.rollback(to_version=2, confirm=shown).success
    assert "networks" not in world.machine.definitions["n8n"][0]
    assert {check.name for check in shown.plans[3].checks} & {"walls", "Qdrant key"} == {"walls"}
    assert world.update(rendering="newest", confirm=shown).success
    assert world.engine.load_secrets().qdrant_key == key, "never generated over"


def test_a_secret_that_is_another_is_shown_and_replaces_containers(deployed: World) -> None:
    """By whatever way it came to be another: what lies on the instance is what counts."""
    secrets = deployed.engine.load_secrets()
    deployed.engine.secrets = secrets.model_copy(update={"postgresql_password": "word-of-another-day"})
    shown = Shown()
    deployed.update(environment={"qdrant": {"A": "b"}}, confirm=shown)
    assert shown.plans[0].replaced == ("postgresql", "n8n", "qdrant")
    text = [str(change) for change in shown.plans[0].changes]
    assert [line for line in text if "secret" in line] == [
        "postgresql.secrets: (secret) -> (secret), changed",
        "n8n.secrets: (secret) -> (secret), changed",
    ]
    assert "n8n, postgresql, qdrant: a few seconds" in shown.plans[0].downtime
    assert "word-of-another-day" not in shown.plans[0].model_dump_json()


def test_services_come_and_go(deployed: World) -> None:
    shown = Shown()
    deployed.update(without=("crawl4ai",), confirm=shown)
    assert "crawl4ai" not in deployed.machine.services and "crawl4ai: no longer runs" in shown.plans[0].downtime

    deployed.update(services=("crawl4ai",))
    assert "crawl4ai" in deployed.machine.services
    with pytest.raises(InvalidInputError, match="qdrant is not enabled"):
        deployed.update(without=("qdrant",))
        deployed.update(images={"qdrant": "qdrant/qdrant:v1.15.0"})
    with pytest.raises(InvalidInputError, match="not enabled, so it cannot be taken out"):
        deployed.update(without=("qdrant",))


def test_nothing_to_change(deployed: World) -> None:
    result = deployed.update()
    assert result.success and result.version == 1 and "engine.up" not in deployed.calls
    assert deployed.messages("note") == ["v1 of prod is that already."]


def test_a_tag_that_moved_is_a_change(deployed: World) -> None:
    deployed.registry.move("n8nio/n8n:1.100.1")
    assert deployed.update().version == 1, "only when it is asked for again"
    assert deployed.n8n("1.100.1").version == 2


def test_a_registry_that_is_away_hinders_only_new_images(deployed: World) -> None:
    deployed.registry.reachable = False
    assert deployed.update(instance_type="t3.xlarge").success
    with pytest.raises(ValidationFailedError, match="cannot be reached") as refused:
        deployed.n8n("1.101.0")
    assert refused.value.next_step == "Run the command again once the registry answers."


@pytest.mark.parametrize("setting", [True, False])
def test_automatic_rollback_is_a_setting_and_an_option_overrides_it(deployed: World, setting: bool) -> None:
    deployed.update(auto_rollback_on_failure=setting)
    assert deployed.n8n("1.101.0-crash").exit_code == (3 if setting else 4)
    deployed.rollback(to_version=2) if not setting else None

    assert deployed.n8n("1.101.0-crash", auto_rollback=not setting).exit_code == (4 if setting else 3)


def test_without_automatic_rollback_it_says_what_to_type(deployed: World) -> None:
    result = deployed.n8n("1.101.0-unhealthy", auto_rollback=False)

    assert result.version == 1 and "geusemaker rollback prod" in result.next_step
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert deployed.update(images={"n8n": "n8nio/n8n:1.100.1"}).success, "the last healthy config can be asked for"


def test_what_was_unhealthy_before_triggers_no_return(deployed: World) -> None:
    deployed.machine.ill.add("qdrant")
    result = deployed.n8n("1.101.0")
    assert result.exit_code == 4 and "qdrant was unhealthy before the change already" in result.next_step
    assert deployed.engine.numbers == [1, 2]


def test_a_settings_change_is_never_rolled_back_to_the_identical_system(deployed: World) -> None:
    deployed.engine.outcomes.append("timeout")
    result = deployed.update(retention=3)
    assert result.exit_code == 4 and deployed.engine.numbers == [1, 2]


def test_the_deadline_names_itself(deployed: World) -> None:
    deployed.engine.outcomes.append("timeout")
    result = deployed.n8n("1.101.0", deadline_minutes=7)
    assert result.exit_code == 3 and "deadline of 7 minutes" in str(result.error_message)
    (record,) = deployed.inspect().rollbacks
    assert record.trigger == "timeout"
    with pytest.raises(InvalidInputError, match=r"rollback\.deadline_minutes"):
        deployed.update(deadline_minutes=61)


def test_going_back_that_fails_keeps_the_first_reason(deployed: World) -> None:
    deployed.machine.after_apply = lambda: deployed.machine.ill.add("postgresql")
    result = deployed.n8n("1.101.0-crash")
    assert result.exit_code == 4 and "n8n: exited" in str(result.error_message)
    assert deployed.state().last_failed


@pytest.mark.parametrize("verb", ["prefetch", "manifest"])
def test_trouble_before_the_change_changes_nothing(deployed: World, verb: str) -> None:
    def confirm(plan: Plan) -> bool:
        deployed.host_failures[verb] = HostError("No space left.", code="no_space")
        return True

    with pytest.raises(HostError, match=r"No space left\. Nothing was changed; v1 stays active"):
        deployed.n8n("1.101.0", confirm=confirm)

    deployed.host_failures.clear()
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert not deployed.state().unsettled
    assert deployed.n8n("1.101.0").version == 3


@pytest.mark.parametrize("part", ["set_intent", "history", "preview"])
def test_any_part_of_the_check_that_fails_abandons_the_operation(
    deployed: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """They run side by side; the failure of one may not hide behind the success of the others."""
    whole = getattr(deployed.engine, part)
    failures = iter([EngineError("The backend does not answer.")])

    def fails_once(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return whole(*arguments)

    def confirm(plan: Plan) -> bool:
        monkeypatch.setattr(deployed.engine, part, fails_once)
        return True

    with pytest.raises(EngineError, match=r"does not answer\. Nothing was changed; v1 stays active"):
        deployed.n8n("1.101.0", confirm=confirm)

    phases = [(event.name, event.state) for event in deployed.events if event.kind == "phase"]
    assert phases[-1] == ("check", "failed")
    lease = deployed.machine.lease
    assert lease is not None and (lease["operation"], lease["state"]) == ("op-002", "released")
    intent = deployed.state().intent
    assert intent is not None and (intent.operation_id, intent.outcome) == ("op-002", "abandoned")
    assert not {"host.prefetch", "engine.up"} & set(deployed.calls) and not deployed.state().unsettled
    assert deployed.n8n("1.101.0").version == 3


def test_a_slow_intent_is_written_before_the_operation_is_abandoned(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the one that says "begun" came last, and an operation that changed nothing looked killed."""
    write, planned = deployed.engine.set_intent, ThreadEvent()

    def slow(intent: Intent) -> None:
        if not intent.outcome:
            assert planned.wait(10)
            time.sleep(0.05)
        write(intent)

    def broken(operations: list[ResourceOperation]) -> list[ResourceOperation]:
        planned.set()
        raise EngineError("The engine was killed.")

    def confirm(plan: Plan) -> bool:
        monkeypatch.setattr(deployed.engine, "set_intent", slow)
        deployed.engine.on_preview = broken
        return True

    with pytest.raises(EngineError, match="The engine was killed"):
        deployed.n8n("1.101.0", confirm=confirm)
    assert not deployed.state().interrupted


def test_the_lease_is_given_back_also_where_the_intent_cannot_be_settled(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(intent: Intent) -> None:
        raise EngineError("The backend is read-only.")

    monkeypatch.setattr(deployed.engine, "set_intent", fails)
    with pytest.raises(EngineError, match="read-only"):
        deployed.n8n("1.101.0")
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert not deployed.state().unsettled, "nothing says that anything was begun"


def test_the_preview_waits_for_nobody_and_nobody_for_the_preview(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {name: ThreadEvent() for name in ("AWS", "a registry", "the instance")}
    call, observe, architectures = deployed.call, deployed.cloud.observe, deployed.registry.architectures

    def calling(name: str) -> None:
        call(name)
        if name == "host.health":
            asked["the instance"].set()

    def observing(name: str) -> dict[str, str]:
        asked["AWS"].set()
        return observe(name)

    def looking(image: ImageReference) -> set[str]:
        asked["a registry"].set()
        return architectures(image)

    def planned(operations: list[ResourceOperation]) -> list[ResourceOperation]:
        assert all(one.wait(10) for one in asked.values()), asked
        return operations

    monkeypatch.setattr(deployed, "call", calling)
    monkeypatch.setattr(deployed.cloud, "observe", observing)
    monkeypatch.setattr(deployed.registry, "architectures", looking)
    deployed.engine.on_preview = planned
    assert deployed.n8n("1.101.0").success


def test_what_can_be_asked_while_the_engine_plans_is(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four parts of the check are under way at once: none ends before each has begun."""
    parts, together = {"engine.set_intent:begun", "engine.history", "engine.preview", "host.manifest"}, Barrier(4)
    call = deployed.call

    def joining(name: str) -> None:
        call(name)
        if name in parts:
            parts.remove(name)
            together.wait(10)

    def confirm(plan: Plan) -> bool:
        monkeypatch.setattr(deployed, "call", joining)
        return True

    assert deployed.n8n("1.101.0", confirm=confirm).success and not parts


def test_a_hold_that_fails_half_way_is_gone_back_from(deployed: World) -> None:
    deployed.host_failures["hold"] = HostError("docker hangs.", code="docker_failed")

    result = deployed.update(instance_type="t3.xlarge")

    assert (result.exit_code, result.rolled_back_to) == (3, 1) and "docker hangs" in str(result.error_message)
    assert deployed.cloud.instance is not None and deployed.cloud.instance.type == "t3.large"
    assert not deployed.state().unsettled


def test_nothing_stops_when_another_run_of_the_engine_holds_the_stack(deployed: World) -> None:
    deployed.engine.lock = LockOwner(pid=77, user="bob", host=HOST_NAME, since="2026-01-01T00:00:00Z", lives=True)
    deployed.alive.add(77)
    running = dict(deployed.machine.services)

    with pytest.raises(DeploymentBusyError):
        deployed.update(instance_type="t3.xlarge")

    assert deployed.machine.services == running and "host.hold" not in deployed.calls


def test_replacing_the_instance_needs_its_flag(deployed: World) -> None:
    deployed.engine.on_preview = lambda operations: [
        operation.model_copy(update={"op": "replace", "replaces": ("ami",)})
        if operation.type == INSTANCE
        else operation
        for operation in operations
    ]
    with pytest.raises(PlanRefusedError, match="would replace the instance i-1, because ami changed"):
        deployed.n8n("1.101.0")
    shown = Shown()
    assert deployed.n8n("1.101.0", confirm=shown, allow_replace=True).success
    assert shown.plans[0].downtime.startswith("All services stop until another instance is made")
    # Whoever allowed it for the way there allowed it for the way back.
    failed = deployed.n8n("1.101.1-crash", allow_replace=True)
    assert (failed.exit_code, failed.rolled_back_to) == (3, 2), failed.error_message
    # The images that the instance keeps go with it.
    deployed.registry.withdrawn.add("n8nio/n8n:1.101.0")
    with pytest.raises(ValidationFailedError, match="another instance has to pull every image anew"):
        deployed.update(instance_type="t3.xlarge", allow_replace=True)


DEEP_LEARNING = MachineImage(
    id="ami-gpu", name="Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260918", owner="1", least_gib=75
)


def test_a_gpu_needs_an_image_that_drives_it_and_that_stays_when_the_gpu_goes(deployed: World) -> None:
    cloud = deployed.cloud
    with pytest.raises(ValidationFailedError, match="There is no Deep Learning AMI of AWS"):
        deployed.update(instance_type="g5.xlarge", allow_replace=True)
    cloud.gpu_images["amd64"] = DEEP_LEARNING.id
    cloud.images = {DEEP_LEARNING.id: "amd64", **cloud.images}
    cloud.machine_images[DEEP_LEARNING.id] = DEEP_LEARNING
    with pytest.raises(ValidationFailedError, match="disk of 75 GiB, and the instance is to have one of 40"):
        deployed.update(instance_type="g5.xlarge", allow_replace=True)
    shown = Shown()
    assert deployed.update(
        instance_type="g5.xlarge", allow_replace=True, root_volume_gib=100, confirm=shown
    ).undo.endswith("rollback prod v1 --allow-replace")
    gpu = deployed.state().active
    assert gpu is not None and (gpu.config.ami, gpu.config.image_login) == (DEEP_LEARNING.id, "ubuntu")
    driven, back, fits = shown.plans[0].machine
    assert "has NVIDIA's driver and container toolkit" in driven and "--allow-replace" in back and "Ollama has" in fits

    assert deployed.update(instance_type="t3.large", confirm=shown).success, "the same image, so in place"
    cpu = deployed.state().active
    assert cpu is not None and cpu.config.ami == DEEP_LEARNING.id and shown.plans[1].machine[0].startswith("Ollama has")
    assert deployed.update(instance_type="g5.xlarge").success, "and once more"
    assert deployed.rollback(to_version=1, allow_replace=True).success
    first = deployed.state().active
    assert first is not None and first.config.ami == "ami-amd64" and not first.config.image_login


def test_the_newest_image_of_the_machine_is_taken_when_it_is_asked_for(deployed: World) -> None:
    first = deployed.state().active
    assert first is not None
    deployed.cloud.images["ami-newer"] = "amd64"
    assert deployed.n8n("1.101.0").success
    kept = deployed.state().active
    assert deployed.update(ami="newest", allow_replace=True).success
    moved = deployed.state().active
    assert kept is not None and moved is not None
    assert (kept.config.ami, moved.config.ami) == (first.config.ami, "ami-newer")
    with pytest.raises(ValidationFailedError, match="ami-none does not exist"):
        deployed.update(ami="ami-none", allow_replace=True)


@pytest.mark.parametrize(
    "variables",
    [{"n8n": {"DB_TYPE": "sqlite"}}, {"n8n": {"N8N_ENCRYPTION_KEY": "x"}}, {"postgres": {"PGDATA": "/tmp"}}],
)
def test_environment_that_would_move_the_data_is_refused(deployed: World, variables: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="is set by geusemaker"):
        deployed.update(environment=variables)


def test_a_reserved_variable_of_before_can_be_taken_out(deployed: World) -> None:
    with pytest.raises(InvalidInputError, match=r"n8n\.DB_TABLE_PREFIX is set by geusemaker"):
        deployed.update(environment={"n8n": {"DB_TABLE_PREFIX": "x_"}})
    assert deployed.update(environment={"n8n": {"DB_TABLE_PREFIX": "", "N8N_LOG_LEVEL": "debug"}}).success


def test_environment_is_set_and_taken_back(deployed: World) -> None:
    deployed.update(environment={"n8n": {"TZ": "Europe/Berlin", "N8N_LOG_LEVEL": "debug"}})
    deployed.update(environment={"n8n": {"TZ": ""}})
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].environment == {
        "N8N_LOG_LEVEL": "debug",
        "GENERIC_TIMEZONE": "UTC",
        "TZ": "UTC",
    }


def test_ctrl_c_while_it_is_applied_says_what_to_type(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def up(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployed.engine, "up", up)
    with pytest.raises(InterruptedOperationError, match="recover prod") as interrupted:
        deployed.n8n("1.101.0")
    assert interrupted.value.exit_code == 130


def test_ctrl_c_before_it_leaves_everything(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("geusemaker.services.manifest.read", read)
    with pytest.raises(InterruptedOperationError, match="Nothing was changed; v1 stays active"):
        deployed.n8n("1.101.0")
    assert not deployed.state().unsettled


def test_another_run_of_the_engine_is_respected(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def up(*arguments: Any, **options: Any) -> Any:
        raise DeploymentBusyError("Another run of the engine holds prod.")

    monkeypatch.setattr(deployed.engine, "up", up)
    with pytest.raises(DeploymentBusyError):
        deployed.n8n("1.101.0")
    assert not deployed.state().unsettled and deployed.machine.lease is not None
    assert deployed.machine.lease["state"] == "released"


def test_a_stopped_instance_is_started_first(deployed: World) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    assert deployed.n8n("1.101.0", no_way_back=True).success and deployed.cloud.started == ["i-1"]


def test_images_that_nothing_needs_are_removed_and_those_of_kept_versions_stay(deployed: World) -> None:
    deployed.update(retention=2)
    for tag in ("1.101.0", "1.102.0", "1.103.0-crash", "1.104.0"):
        deployed.n8n(tag)
    tags = ("1.100.1", "1.101.0", "1.102.0", "1.103.0-crash", "1.104.0")
    images = {tag: deployed.registry.digest(ImageReference.parse(f"n8nio/n8n:{tag}")) for tag in tags}
    left = [tag for tag in tags if f"n8nio/n8n@{images[tag]}" in deployed.machine.images]
    assert left == ["1.101.0", "1.102.0", "1.104.0"], "the active one and what was kept when it was made"


def test_no_such_deployment(world: World) -> None:
    world.engine.create()
    with pytest.raises(DeploymentNotFoundError):
        world.update()


def test_nothing_healthy_to_change(world: World) -> None:
    world.machine.ill.add("n8n")
    world.deploy()
    with pytest.raises(RefusedError, match=r"no healthy version to change\."):
        world.update()


def test_destroyed(deployed: World) -> None:
    deployed.destroy()
    with pytest.raises(RefusedError, match="it was destroyed"):
        deployed.update()


def test_a_killed_one_has_to_be_recovered_first(deployed: World) -> None:
    deployed.kill_at = "host.prefetch"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    with pytest.raises(RefusedError, match="recover prod"):
        deployed.n8n("1.101.0")


def test_an_operation_of_another_machine_is_respected(deployed: World) -> None:
    deployed.kill_at = "host.prefetch"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.engine.intent_tag = deployed.engine.intent_tag.replace('"box"', '"elsewhere"')
    with pytest.raises(DeploymentBusyError, match="on elsewhere"):
        deployed.n8n("1.101.0")


# --- what was unhealthy before -----------------------------------------------------------------------------------


def test_health_is_asked_once_and_before_the_confirmation(deployed: World) -> None:
    deployed.machine.ill.add("qdrant")

    def confirm(plan: Plan) -> bool:
        deployed.machine.ill.add("n8n")
        return True

    result = deployed.n8n("1.101.0", confirm=confirm)

    assert deployed.calls.count("host.health") == 2, "once for each plan: the update's, and that of the way back"
    assert result.exit_code == 4 and "failed as well" in str(result.error_message), (
        "n8n was healthy when it was planned"
    )


def test_what_a_failed_change_left_unhealthy_is_gone_back_from(deployed: World) -> None:
    """Not settled: what is ill is ill by the failed change, and the last healthy version is the cure."""
    assert deployed.n8n("1.101.0-crash", auto_rollback=False).exit_code == 4

    result = deployed.n8n("1.102.0-crash")

    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1@")


# --- a service that is enabled again -------------------------------------------------------------------------------


def test_a_service_comes_back_as_it_last_ran_healthy(deployed: World) -> None:
    assert deployed.update(
        images={"qdrant": "qdrant/qdrant:v1.15.5"}, environment={"qdrant": {"QDRANT__LOG_LEVEL": "DEBUG"}}
    ).success
    before = deployed.state().active
    assert deployed.update(images={"qdrant": "qdrant/qdrant:v1.16.0-crash"}).exit_code == 3
    assert deployed.update(without=("qdrant",)).success
    deployed.registry.move("qdrant/qdrant:v1.15.5")

    assert deployed.update(services=("qdrant",)).success

    after = deployed.state().active
    assert before is not None and after is not None
    assert after.config.services["qdrant"] == before.config.services["qdrant"], "the same bytes, the same environment"


def test_one_that_never_ran_comes_as_the_release_has_it_and_an_image_given_by_hand_wins(world: World) -> None:
    world.deploy(DeployRequest(services=("postgresql",)))
    assert world.update(services=("qdrant",)).success
    active = world.state().active
    assert active is not None and active.config.services["qdrant"].image.tagged == SERVICES["qdrant"].image
    world.update(without=("qdrant",))
    assert world.update(services=("qdrant",), images={"qdrant": "qdrant/qdrant:v1.20.1"}).success
    assert world.machine.services["qdrant"].startswith("qdrant/qdrant:v1.20.1@")


# --- records never stand in front of the repair --------------------------------------------------------------------

FULL = OSError(28, "No space left on device")
AWAY = HostError("The instance cannot be reached.", code="unreachable")
BROKEN = EngineError("`pulumi stack tag` failed.")
NO_TEXT = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("journal.evidence_folder", FULL),
        ("journal.append", FULL),
        ("journal.append#2", FULL),
        ("host.evidence", AWAY),
        ("host.journal", AWAY),
        ("host.journal#2", AWAY),
        ("engine.set_intent:failed", BROKEN),
        ("engine.set_intent:failed", FULL),
        ("engine.set_intent:done", BROKEN),
        ("host.gc", AWAY),
        ("host.gc", FULL),
        ("engine.set_verdicts", BROKEN),
        ("journal.evidence_folder", NO_TEXT),
        ("journal.append", NO_TEXT),
        ("host.journal", NO_TEXT),
        ("engine.set_verdicts", NO_TEXT),
    ],
)
def test_what_cannot_be_written_down_is_a_warning_and_the_way_back_is_taken(
    deployed: World, call: str, error: BaseException
) -> None:
    deployed.fail_at(call, error)
    result = deployed.n8n("1.115.1-crash")
    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert deployed.messages("warning"), "it is said"
    assert deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1@")
    assert deployed.recover().success and deployed.n8n("1.101.0").success


@pytest.mark.parametrize("call", ["engine.history#3", "engine.tags#3"])
def test_a_history_that_cannot_be_read_again_hinders_no_way_back(deployed: World, call: str) -> None:
    deployed.fail_at(call, BROKEN)
    result = deployed.n8n("1.115.1-crash")
    assert (result.exit_code, result.rolled_back_to, result.version) == (3, 1, 3)
    assert any("could not be read again" in text for text in deployed.messages("warning"))
    found = deployed.state()
    assert [(one.number, one.status) for one in found.versions] == [(1, "superseded"), (2, "failed"), (3, "active")]
    assert not found.unsettled and deployed.n8n("1.101.0").success


def test_the_way_back_is_chosen_from_what_is_noted_by_then(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployed.n8n("1.101.0").success
    call = deployed.call

    def mark_meanwhile(name: str) -> None:
        if name == "up.gate":
            deployed.engine.bad = (2,)
        call(name)

    monkeypatch.setattr(deployed, "call", mark_meanwhile)
    result = deployed.n8n("1.115.1-crash")
    assert (result.exit_code, result.rolled_back_to) == (3, 1), "v2 was marked bad while the update ran"


def test_evidence_that_is_a_file_hinders_nothing(deployed: World, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "evidence").touch()
    deployed.journal = FileJournal(tmp_path / "state", "prod")
    result = deployed.n8n("1.115.1-crash")
    assert (result.exit_code, result.rolled_back_to, result.evidence) == (3, 1, None)
    assert "evidence" not in result.next_step
    assert any("There is no folder for the evidence: Not a directory" in text for text in deployed.messages("warning"))


def test_a_return_that_this_machine_cannot_make_is_told_as_one(deployed: World) -> None:
    deployed.fail_at("engine.write_candidate#2", FULL)
    result = deployed.n8n("1.115.1-crash")
    assert result.exit_code == 4 and "Going back to v1 failed as well: No space left on device." in str(
        result.error_message
    )
    assert (deployed.machine.lease or {})["state"] == "released", "another machine can recover it"
    deployed.host_name = "another-machine"
    assert deployed.recover().success


def test_an_engine_that_cannot_be_started_has_changed_nothing(deployed: World) -> None:
    deployed.fail_at("engine.up", EngineError("The config file of prod cannot be written: No space left on device."))
    with pytest.raises(EngineError) as failed:
        deployed.n8n("1.101.0")
    assert failed.value.state.startswith("Nothing was changed") and not deployed.state().unsettled
    assert (deployed.machine.lease or {})["state"] == "released" and deployed.n8n("1.101.0").success


def test_what_nobody_foresaw_after_the_change_is_no_error_that_changed_nothing(deployed: World) -> None:
    deployed.fail_at("cloud.find_instance#2", RuntimeError("a bug"))
    with pytest.raises(ChangeFailedError, match="unforeseen went wrong after v2 was applied: RuntimeError: a bug"):
        deployed.n8n("1.101.0")
    assert deployed.recover().success


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("host.begin", 130, "Nothing was changed"),
        ("host.prefetch", 130, "Nothing was changed"),
        ("up.infrastructure", 130, "may be neither"),
        ("host.manifest#3", 130, "v2 was applied"),
    ],
)
def test_interrupted_it_gives_back_what_it_held(deployed: World, call: str, code: int, said: str) -> None:
    deployed.fail_at(call, KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as stopped:
        deployed.n8n("1.101.0")
    assert stopped.value.exit_code == code and said in stopped.value.state
    assert (deployed.machine.lease or {})["state"] == "released"
    deployed.host_name = "another-machine"
    assert deployed.recover().success and deployed.n8n("1.102.0").success


def test_interrupted_on_the_way_back_it_says_so(deployed: World) -> None:
    deployed.fail_at("engine.preview#3", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError, match="way back to v1") as stopped:
        deployed.n8n("1.101.0-crash")
    assert "recover prod" in stopped.value.next_step and (deployed.machine.lease or {})["state"] == "released"
    assert deployed.recover().success


# --- the instance's own disk only grows ----------------------------------------------------------------------------


def test_a_larger_disk_stays_whatever_is_gone_back_to(deployed: World) -> None:
    shown = Shown()
    result = deployed.n8n("1.115.1-crash", root_volume_gib=70, confirm=shown)

    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert "root_volume_gib: 40 -> 70" in [str(change) for change in shown.plans[0].changes]
    assert "own disk grows while it is used; it stays so large" in shown.plans[0].data_notice
    assert deployed.cloud.root_gib == 70 and deployed.recover().success
    assert deployed.n8n("1.101.0").success and deployed.rollback().success
    assert deployed.cloud.root_gib == 70
    state = deployed.state()
    assert state.target is not None and state.target.root_volume_gib == 70
    deployed.destroy()
    assert deployed.deploy().success and deployed.cloud.root_gib == 70, "the next instance has it, too"


def test_only_a_larger_disk_is_a_change(deployed: World) -> None:
    assert deployed.update(root_volume_gib=40).version == 1
    assert deployed.update(root_volume_gib=50).version == 2 and deployed.cloud.root_gib == 50
    for wanted in (45, 20000):
        with pytest.raises(InvalidInputError, match="has 50 GiB, and it only grows"):
            deployed.update(root_volume_gib=wanted)
    deployed.cloud.root_gib = 60  # by hand
    with pytest.raises(ValidationFailedError, match="own disk has 60 GiB, changed by other means"):
        deployed.n8n("1.101.0")


def test_a_disk_of_before_is_as_the_versions_of_then_tell(deployed: World) -> None:
    """Targets that were stored without a size, and versions that have one each."""
    engine, old = deployed.engine, deployed.state().target
    assert old is not None
    document = old.model_copy(update={"root_volume_gib": 0}).model_dump_json(exclude_defaults=True)
    engine.entries = [{**entry, "target": document} for entry in engine.entries]
    state = deployed.state()
    assert state.target is not None and state.target.root_volume_gib == 0
    shown = Shown()
    assert deployed.n8n("1.101.0", confirm=shown).success
    assert not [one for one in shown.plans[0].operations if one.type == INSTANCE and one.op != "same"]
    after = deployed.state().target
    assert after is not None and after.root_volume_gib == 40
