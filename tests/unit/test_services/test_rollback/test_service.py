"""RollbackService: the story's six test cases, and what else an operator relies on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geusemaker.errors import (
    DeclinedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    HostError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.history import LockOwner
from geusemaker.models.plan import CheckResult, Plan, ResourceOperation
from tests.unit.fakes import FILE_SYSTEM, HOST_NAME, Killed, Shown, World, no


@pytest.fixture
def three(deployed: World) -> World:
    """v1 as deployed, v2 bigger with a newer n8n, v3 with one newer still."""
    assert deployed.update(instance_type="t3.xlarge", images={"n8n": "n8nio/n8n:1.101.0"}).success
    assert deployed.n8n("1.102.0").success
    return deployed


def running(world: World, service: str = "n8n") -> str:
    """The tag that runs."""
    return world.machine.services[service].partition("@")[0].rpartition(":")[2]


def test_an_image_that_was_withdrawn_is_brought_back_as_long_as_the_instance_keeps_it(three: World) -> None:
    three.registry.withdrawn |= {"n8nio/n8n:1.101.0", "n8nio/n8n:1.100.1"}
    shown = Shown()
    assert three.rollback(confirm=shown).success and running(three) == "1.101.0"
    (said,) = [check for check in shown.plans[0].checks if check.name == "images"]
    assert said.status == "warn" and "no image n8nio/n8n:1.101.0; kept on the instance" in said.detail

    three.machine.images.clear()
    with pytest.raises(ValidationFailedError, match=r"no image n8nio/n8n:1.100.1\."):
        three.rollback(to_version=1)


# --- the story's test cases --------------------------------------------------------------------------------------


def test_manual_rollback_restores_previous_state(three: World) -> None:
    result = three.rollback()

    assert (result.success, result.trigger, result.source_version, result.version) == (True, "manual", 2, 4)
    assert running(three) == "1.101.0"
    assert result.health_status == dict.fromkeys(three.machine.services, True)
    assert [change.partition(":")[0] for change in result.changes_reverted] == ["n8n.image"]
    assert result.duration_seconds > 0 and result.error_message is None and result.exit_code == 0
    active = three.state().active
    assert active is not None and active.provenance.source_version == 2


def test_rollback_to_specific_version_restores_instance_type_and_images(three: World) -> None:
    result = three.rollback(to_version=1)

    assert result.success and result.source_version == 1
    assert running(three) == "1.100.1"
    assert three.cloud.instance is not None
    assert (three.cloud.instance.type, three.cloud.instance.state, three.cloud.instance.id) == (
        "t3.large",
        "running",
        "i-1",
    )
    assert "instance_type: t3.xlarge -> t3.large" in result.changes_reverted


def test_data_is_preserved_during_rollback(three: World) -> None:
    data, file_system = dict(three.machine.data), three.cloud.file_system
    shown = Shown()

    assert three.rollback(to_version=1, confirm=shown).success

    assert three.machine.data == data and three.cloud.file_system == file_system
    storage = [operation for operation in shown.plans[0].operations if operation.type.startswith("aws:efs")]
    assert {operation.op for operation in storage} == {"same"} and all(operation.protected for operation in storage)
    assert "The data stays" in shown.plans[0].data_notice
    record = three.records.records[-1]
    assert record.manifest_before == record.manifest_after is not None


def test_rollback_history_is_recorded(three: World) -> None:
    three.rollback(reason="1.102 loses webhooks")

    (record,) = three.inspect().rollbacks
    assert (record.trigger, record.success, record.error_message) == ("manual", True, None)
    assert (record.previous_state_version, record.source_version, record.version) == (3, 2, 4)
    assert (record.actor, record.reason) == ("ann", "1.102 loses webhooks")
    assert len(record.rolled_back_changes) == 1 and record.rolled_back_changes[0].startswith("n8n.image: ")
    assert record.health_status["n8n"] is True and record.resources_deleted == []


def test_automatic_rollback_on_health_failure(deployed: World) -> None:
    result = deployed.n8n("1.101.0-crash")

    assert (result.success, result.exit_code, result.rolled_back_to, result.version) == (False, 3, 1, 3)
    assert result.error_message is not None and "n8n" in result.error_message and "exited" in result.error_message
    assert running(deployed) == "1.100.1" and result.health_status["n8n"] is True
    (record,) = deployed.inspect().rollbacks
    assert (record.trigger, record.success, record.source_version) == ("health_check_failed", True, 1)
    assert record.previous_state_version == 2


def test_an_automatic_rollback_is_announced_and_keeps_evidence(deployed: World) -> None:
    result = deployed.n8n("1.101.0-crash")

    assert [message for message in deployed.messages("warning") if "Going back to v1 by itself" in message]
    assert result.evidence is not None
    folder = Path(result.evidence)
    assert (folder / "n8n.log").read_text() == "n8n said" and (folder / "agent-error.json").exists()
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def _not_offered(world: World) -> None:
    world.cloud.not_offered.add("t3.large")


def _no_file_system(world: World) -> None:
    world.cloud.file_system = None


def _no_mount_target(world: World) -> None:
    world.cloud.mount_target = "deleting"


def _wrong_platform(world: World) -> None:
    world.registry.platforms = {"arm64"}
    world.machine.images.clear()


def _agent_broken(world: World) -> None:
    world.machine.mounted = None
    world.host_failures["health"] = HostError("The agent is broken.", code="docker_failed")


def test_an_ami_that_was_taken_back_keeps_nobody_from_going_back(three: World) -> None:
    """The instance that was made of it is there, and none is to be made."""
    three.cloud.images.clear()
    shown = Shown()
    assert three.rollback(to_version=1, confirm=shown).success
    assert {check.name: check.status for check in shown.plans[0].checks}["AMI"] == "warn"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_not_offered, "t3.large is not offered in us-east-1a"),
        (_no_file_system, "file system is gone"),
        (_no_mount_target, "mount target deleting"),
        (_wrong_platform, "is not published for amd64"),
        (_agent_broken, "The agent is broken."),
    ],
)
def test_validation_catches_invalid_states(three: World, spoil: Any, said: str) -> None:
    spoil(three)

    with pytest.raises(ValidationFailedError, match=said) as refused:
        three.rollback(to_version=1)

    assert "v3 stays active" in refused.value.state and refused.value.exit_code == 5
    shown = {check.name for check in refused.value.checks}
    assert shown >= {"credentials", "network", "instance type", "AMI", "file system", "images"}, "not only what failed"
    assert shown >= ({"instance"} if spoil is _agent_broken else {"EFS mount", "disk space"})
    assert running(three) == "1.102.0" and not [call for call in three.calls if call == "engine.up"]


# --- which version -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"to_version": 9}, "no version 9; there are: v1, v2, v3"),
        ({"to_version": 0}, "no version 0"),
        ({"to_version": 3}, "v3 is the active version"),
    ],
)
def test_unreachable_targets_are_refused(three: World, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        three.rollback(**request_)


def test_two_rollbacks_in_a_row_go_further_back(three: World) -> None:
    assert [three.rollback().source_version, three.rollback().source_version] == [2, 1]

    with pytest.raises(RefusedError, match="no earlier healthy version"):
        three.rollback()
    assert three.rollback(to_version=3).source_version == 3, "forward again is a number"


def test_a_moved_tag_does_not_change_what_comes_back(three: World) -> None:
    before = three.state().versions[0].config.services["n8n"].image
    three.registry.move("n8nio/n8n:1.100.1")

    three.rollback(to_version=1)

    assert three.machine.services["n8n"] == str(before)


def test_an_old_version_beyond_the_first_page_is_found(deployed: World) -> None:
    first = deployed.engine.entries[0]
    assert deployed.n8n("1.101.0").success
    refreshes = [{**deployed.engine.entries[0], "kind": "refresh"}] * 150
    deployed.engine.entries = [*refreshes, deployed.engine.entries[0], first]

    assert deployed.rollback().source_version == 1


# --- what is shown and confirmed ---------------------------------------------------------------------------------


def test_declined_leaves_nothing_behind(three: World, tmp_path: Any) -> None:
    before = (three.engine.intent_tag, len(three.engine.entries), three.machine.lease)

    with pytest.raises(DeclinedError):
        three.rollback(confirm=no)

    assert before == (three.engine.intent_tag, len(three.engine.entries), three.machine.lease)
    assert not list(tmp_path.glob("op-*.json"))


def test_a_dry_run_shows_the_plan_and_changes_nothing(three: World) -> None:
    result = three.rollback(to_version=1, dry_run=True)

    plans = [event.plan for event in three.events if event.plan is not None]
    assert len(plans) == 1 and plans[0].source_version == 1 and plans[0].stops_instance
    assert "stopped, resized and started" in plans[0].downtime
    assert result.dry_run and result.version == 3 and result.changes_reverted
    assert running(three) == "1.102.0" and "engine.up" not in three.calls


def test_aws_that_moves_while_it_is_asked_stops_the_change_and_shows_the_plan_as_it_is_now(three: World) -> None:
    def resize() -> None:
        assert three.cloud.instance is not None
        three.cloud.instance = three.cloud.instance.model_copy(update={"type": "m5.large"})

    def open_up() -> None:
        three.cloud.rules = "in tcp 22-22 0.0.0.0/0"

    for move, told in (
        (open_up, "security group sg-1 was in tcp 22-22 10.0.0.0/8 and is in tcp 22-22 0.0.0.0/0"),
        (resize, "instance i-1 was t3.xlarge and is m5.large"),
    ):

        def confirm(plan: Plan, move: Callable[[], None] = move) -> bool:
            move()
            return True

        with pytest.raises(PlanRefusedError, match="not any more what was shown") as refused:
            three.rollback(confirm=confirm)
        assert told in refused.value.message
        [now] = [event.plan for event in three.events if event.plan is not None]
        assert now.checks[-1] == CheckResult(name="moved", status="fail", detail=told)
        assert "host.prefetch" not in three.calls and "engine.up" not in three.calls
        assert running(three) == "1.102.0"


def test_an_instance_that_was_resized_by_other_means_is_recovered_first(three: World) -> None:
    assert three.cloud.instance is not None
    three.cloud.instance = three.cloud.instance.model_copy(update={"type": "m5.large"})
    with pytest.raises(ValidationFailedError, match=r"i-1 is a m5\.large, changed by other means"):
        three.n8n("1.103.0")


def test_what_is_applied_is_what_was_shown(three: World) -> None:
    def drift(operations: list[ResourceOperation]) -> list[ResourceOperation]:
        if three.calls.count("engine.preview") < 2:
            return operations
        return [operation.model_copy(update={"inputs_digest": "other"}) for operation in operations]

    three.engine.on_preview = drift
    with pytest.raises(PlanRefusedError, match="not any more what was shown"):
        three.rollback()

    assert running(three) == "1.102.0" and three.machine.lease is not None
    assert three.machine.lease["state"] == "released"
    three.engine.on_preview = lambda operations: operations
    assert three.rollback().version == 5, "the number that was given is not given again"


def test_a_plan_that_would_hurt_data_is_refused(three: World) -> None:
    three.engine.on_preview = lambda operations: [
        operation.model_copy(update={"op": "replace"}) if operation.type == FILE_SYSTEM else operation
        for operation in operations
    ]
    with pytest.raises(PlanRefusedError, match="would replace the file system fs-1"):
        three.rollback()


def test_somebody_elses_change_in_between_stops_it(three: World) -> None:
    def confirm(plan: Plan) -> bool:
        assert three.machine.lease is not None
        three.machine.lease.update(operation="op-of-bob", changed=True)
        return True

    with pytest.raises(PlanRefusedError, match="changed by somebody else"):
        three.rollback(confirm=confirm)


def test_a_newer_entry_in_the_history_stops_it_too(three: World) -> None:
    foreign = three.engine.entries[0]["provenance"].replace("op-003", "op-of-bob")

    def confirm(plan: Plan) -> bool:
        three.engine.entries.insert(0, {**three.engine.entries[0], "provenance": foreign})
        return True

    with pytest.raises(PlanRefusedError, match="changed by somebody else"):
        three.rollback(confirm=confirm)
    assert running(three) == "1.102.0"


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_failed_rollback_returns_once_to_where_it_came_from(three: World) -> None:
    three.engine.outcomes.append("timeout")

    result = three.rollback()

    assert (result.success, result.exit_code, result.version) == (False, 3, 5)
    assert running(three) == "1.102.0"
    records = three.inspect().rollbacks
    assert [(record.success, record.trigger, record.source_version) for record in records] == [
        (False, "manual", 2),
        (True, "timeout", 3),
    ]


def test_without_automatic_return_it_stops_where_it_is(three: World) -> None:
    three.engine.outcomes.append("timeout")

    assert three.rollback(auto_rollback=False).exit_code == 4

    assert three.state().unsettled
    assert three.rollback().source_version == 3, "then the last healthy version is the target"


def test_when_going_back_fails_too_a_person_is_needed(three: World) -> None:
    three.engine.outcomes.extend(["timeout", "timeout"])

    result = three.rollback()

    assert result.exit_code == 4 and "goes back to v3" in result.next_step
    assert result.error_message is not None and "failed as well" in result.error_message
    assert three.engine.numbers == [1, 2, 3, 4, 5], "it stops after one attempt"


def test_an_engine_killed_at_its_deadline_is_recovered_from(three: World) -> None:
    three.engine.outcomes.append("deadline-kill")

    result = three.rollback(to_version=1)

    assert result.exit_code == 3 and running(three) == "1.102.0"
    assert not three.engine.pending and three.engine.lock is None


def test_a_resize_without_capacity_goes_back_and_leaves_the_instance_running(three: World) -> None:
    three.engine.outcomes.append("no-capacity")

    result = three.rollback(to_version=1)

    assert result.exit_code == 3 and result.error_message is not None
    assert "InsufficientInstanceCapacity" in result.error_message
    assert three.cloud.instance is not None
    assert (three.cloud.instance.type, three.cloud.instance.state) == ("t3.xlarge", "running")


def test_lost_data_is_loud(three: World) -> None:
    def lose() -> None:
        three.machine.data["qdrant"]["collections"] = []

    three.machine.after_apply = lose
    result = three.rollback()

    assert result.exit_code == 4 and result.error_message is not None
    assert "DATA IS MISSING" in result.error_message and "qdrant lost collection docs" in result.error_message


def test_what_cannot_be_verified_is_not_called_untouched(three: World) -> None:
    def lose() -> None:
        three.host_failures["manifest"] = HostError("EFS does not answer.", code="efs_hung")

    three.machine.after_apply = lose
    result = three.rollback()

    assert result.exit_code == 4 and "could not be verified" in str(result.error_message)
    assert not three.records.records[-1].success


def test_trouble_after_the_work_is_a_warning(three: World) -> None:
    for verb in ("gc", "journal", "end"):
        three.host_failures[verb] = HostError(f"{verb} failed.", code="no_space")

    assert three.rollback().success
    assert len(three.messages("warning")) == 3


# --- who else is there -------------------------------------------------------------------------------------------


def test_no_such_deployment(world: World) -> None:
    world.engine.create()
    with pytest.raises(DeploymentNotFoundError):
        world.rollback()


def test_a_destroyed_deployment_is_deployed_not_rolled_back(three: World) -> None:
    three.destroy()
    with pytest.raises(RefusedError, match="was destroyed; its data is kept"):
        three.rollback()


def test_never_healthy(world: World) -> None:
    world.machine.ill.add("n8n")
    assert not world.deploy().success
    with pytest.raises(RefusedError, match="never had a healthy version"):
        world.rollback()


def test_a_killed_update_is_rolled_back_without_hand_work(three: World) -> None:
    three.kill_at = "up.gate"
    with pytest.raises(Killed):
        three.n8n("1.103.0-unhealthy")
    assert running(three) == "1.103.0-unhealthy"

    result = three.rollback()

    assert result.success and result.source_version == 3 and result.version == 5
    assert running(three) == "1.102.0" and three.cloud.created == 1 and not three.engine.pending


def test_a_living_owner_is_respected_and_named(three: World) -> None:
    three.kill_at = "up.apply"
    with pytest.raises(Killed):
        three.n8n("1.103.0")
    three.alive.add(three.pid)

    with pytest.raises(DeploymentBusyError, match=rf"update \(v4\) of ann: process {three.pid} on box"):
        three.rollback()


def test_an_engine_that_outlived_its_starter_keeps_its_lock(three: World) -> None:
    three.kill_at = "up.apply"
    with pytest.raises(Killed):
        three.n8n("1.103.0")
    three.alive.add(three.engine_pid)

    with pytest.raises(DeploymentBusyError, match=f"process {three.engine_pid} of ann on box"):
        three.rollback()
    assert three.engine.lock is not None


def test_a_lock_of_another_machine_is_not_touched(three: World) -> None:
    three.engine.lock = LockOwner(pid=1, user="bob", host="elsewhere", since="now")
    with pytest.raises(DeploymentBusyError, match="on elsewhere"):
        three.rollback()


def test_a_lease_of_a_living_operation_is_respected(three: World) -> None:
    three.alive.add(77)

    def confirm(plan: Plan) -> bool:
        three.machine.lease = {
            "operation": "op-of-bob",
            "state": "held",
            "changed": False,
            "last_changed": None,
            "kind": "update",
            "actor": "bob",
            "owner": {"host": HOST_NAME, "pid": 77},
            "started_at": "02:00",
        }
        return True

    with pytest.raises(DeploymentBusyError, match="held by an update of bob"):
        three.rollback(confirm=confirm)


def test_a_newer_schema_is_not_overruled(three: World) -> None:
    newest = three.engine.entries[0]
    three.engine.entries.insert(0, {**newest, "deployment": '{"schema_version": 2}'})
    with pytest.raises(RefusedError, match="cannot be read by this geusemaker"):
        three.rollback()


def test_to_an_active_version_that_is_marked_bad_nothing_is_looked_at_or_done(deployed: World) -> None:
    deployed.mark(1, bad=True)
    deployed.calls.clear()
    with pytest.raises(RefusedError, match="v1 is the active version"):
        deployed.rollback(to_version=1)
    assert "engine.up" not in deployed.calls and not any(call.startswith("host.") for call in deployed.calls)
