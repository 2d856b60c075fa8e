"""DestroyService."""

from __future__ import annotations

import pytest

from geusemaker.agent.protocol.documents import BeginDocument
from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    DeploymentBusyError,
    EnvironmentProblemError,
    HostError,
    InterruptedOperationError,
    WorkspaceError,
)
from geusemaker.models.history import ApplyOutcome, LockOwner
from geusemaker.models.ownership import Tagged, own_tags
from tests.unit.fakes import ADDRESS, FILE_SYSTEM, HOST_NAME, INSTANCE, Killed, Shown, World, no, urn


def test_data_history_and_secrets_stay(deployed: World) -> None:
    secrets = deployed.engine.secrets
    shown = Shown()

    result = deployed.destroy(confirm=shown)

    assert (result.success, result.kind, result.version) == (True, "destroy", None)
    assert [call for call in deployed.calls if call.startswith("host.")] == ["host.begin", "host.hold", "host.end"]
    assert deployed.cloud.instance is None and deployed.cloud.file_system is not None
    assert deployed.engine.secrets == secrets and len(deployed.state().versions) == 1
    assert deployed.state().destroyed and not deployed.state().unsettled
    kept = {operation.type for operation in shown.plans[0].operations if operation.op == "same"}
    assert FILE_SYSTEM in kept and "are kept" in shown.plans[0].data_notice
    record = deployed.records.records[-1]
    assert (record.kind, record.success, record.from_version) == ("destroy", True, 1)
    assert deployed.inspect().status == "destroyed"


def test_with_the_data_nothing_is_left(deployed: World) -> None:
    shown = Shown()
    deployed.destroy(delete_data=True, confirm=shown)

    assert deployed.cloud.file_system is None and not deployed.engine.exists()
    assert {operation.op for operation in shown.plans[0].operations} == {"delete"}
    assert "ALL DATA IS DELETED" in shown.plans[0].data_notice
    assert deployed.deploy().version == 1, "the name is free again"


def test_declined(deployed: World) -> None:
    with pytest.raises(DeclinedError):
        deployed.destroy(confirm=no)
    assert deployed.inspect().status == "healthy"


def test_a_dry_run(deployed: World) -> None:
    assert deployed.destroy(dry_run=True).dry_run
    assert deployed.cloud.instance is not None and [event.plan for event in deployed.events if event.plan]


def test_destroyed_already(deployed: World) -> None:
    deployed.destroy()
    assert deployed.destroy().success and "engine.destroy" not in deployed.calls
    assert deployed.deploy().success


@pytest.mark.parametrize("delete_data", [True, False])
def test_what_cannot_be_deleted_is_said_and_can_be_tried_again(deployed: World, delete_data: bool) -> None:
    deployed.engine.destroy_failure = "DependencyViolation"
    with pytest.raises(ChangeFailedError, match="DependencyViolation") as failed:
        deployed.destroy(delete_data=delete_data)

    assert failed.value.exit_code == 4 and "destroy prod" in failed.value.next_step
    state = deployed.state()
    assert state.last_failed and not state.interrupted and [version.number for version in state.versions] == [1]
    assert state.target is not None and state.target.protect, "a later deploy protects the data again"
    assert not deployed.records.records[-1].success
    deployed.engine.destroy_failure = ""
    assert deployed.destroy(delete_data=delete_data).success


def test_data_that_cannot_be_unprotected_is_not_touched(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        deployed.engine, "up", lambda *arguments, **options: ApplyOutcome(succeeded=False, failure="no permission")
    )
    with pytest.raises(ChangeFailedError, match="could not be unprotected: no permission") as failed:
        deployed.destroy(delete_data=True)
    assert deployed.cloud.file_system is not None and "engine.destroy" not in deployed.calls
    assert failed.value.state == "No service was stopped by this; the data is untouched."
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"


def test_an_engine_that_ends_before_services_were_stopped_leaves_no_lease_held(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = ApplyOutcome(succeeded=False, timed_out=True, failure="after 15 minutes it was still at work")
    monkeypatch.setattr(deployed.engine, "destroy", lambda *arguments, **options: failed)
    with pytest.raises(ChangeFailedError, match="still at work"):
        deployed.destroy()
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"


@pytest.mark.parametrize("there", [True, False])
def test_one_that_the_engine_did_not_begin_changed_nothing(deployed: World, there: bool) -> None:
    if not there:
        deployed.cloud.instance = None
    deployed.fail_at("engine.destroy", WorkspaceError("The passphrase is wrong."))
    with pytest.raises(WorkspaceError) as refused:
        deployed.destroy()
    assert (refused.value.exit_code, refused.value.state) == (1, "Nothing was changed.")
    assert deployed.destroy().success


@pytest.mark.parametrize(
    ("delete_data", "state"),
    [
        (False, "Services are stopped; the data is untouched."),
        (True, "Services are stopped; a part may be gone, the data included."),
    ],
)
def test_what_it_says_of_the_data_where_aws_cannot_be_asked_afterwards(
    deployed: World, delete_data: bool, state: str
) -> None:
    deployed.fail_at("cloud.find_state", EnvironmentProblemError("AWS is out of reach."))
    with pytest.raises(ChangeFailedError, match="AWS is out of reach") as failed:
        deployed.destroy(delete_data=delete_data)
    assert failed.value.state == state


def test_data_of_a_killed_first_deploy_is_named(world: World) -> None:
    world.kill_at = "up.gate"
    with pytest.raises(Killed):
        world.deploy()
    with pytest.raises(ChangeFailedError, match="FileSystem fs-1"):
        world.destroy(delete_data=True)
    assert world.engine.exists() and world.cloud.file_system is not None


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("begin", "Services are not stopped one by one beforehand: docker hangs."),
        ("hold", "Services were not stopped one by one beforehand: docker hangs."),
        ("end", "The lease was not given back: docker hangs."),
    ],
)
def test_a_broken_instance_can_be_got_rid_of(deployed: World, verb: str, said: str) -> None:
    deployed.host_failures[verb] = HostError("docker hangs.", code="docker_failed")
    assert deployed.destroy().success
    assert deployed.messages("warning") == [said]
    deployed.host_failures.clear()
    if verb != "end":
        assert deployed.deploy().success


def test_services_stop_when_the_engine_has_its_lock_and_after_the_intent(deployed: World) -> None:
    deployed.destroy()
    order = [call for call in deployed.calls if call.startswith(("host.", "engine.set_intent", "engine.destroy"))]
    assert order == [
        "host.begin",
        "engine.set_intent:begun",
        "engine.destroy",
        "host.hold",
        "host.end",
        "engine.set_intent:done",
    ]


def test_refused_by_a_lock_everything_runs_on_and_nothing_is_held(deployed: World) -> None:
    """The backend does not show its locks beforehand: it is the engine that is refused."""
    running = dict(deployed.machine.services)
    deployed.engine.shows_lock = False
    deployed.engine.lock = LockOwner(pid=77, user="bob", host="elsewhere", since="2025-01-21T02:00:00Z")
    deployed.alive.add(77)
    with pytest.raises(DeploymentBusyError) as refused:
        deployed.destroy()
    assert refused.value.exit_code == 6 and refused.value.state.startswith("Nothing was changed")
    assert deployed.machine.services == running and deployed.machine.lease is not None
    assert deployed.machine.lease["state"] == "released"
    deployed.engine.lock = None
    assert deployed.inspect().status == "healthy" and deployed.n8n("1.101.0").success


@pytest.mark.parametrize(
    ("call", "state"),
    [
        ("host.begin", "Nothing was changed."),
        ("engine.set_intent:begun", "Nothing was changed."),
        ("host.hold", "Services are stopped; a part may be gone."),
    ],
)
def test_interrupted_it_holds_nothing_and_says_how_far_it_came(deployed: World, call: str, state: str) -> None:
    deployed.fail_at(call, KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as stopped:
        deployed.destroy()
    assert stopped.value.state == state
    assert (deployed.machine.lease or {})["state"] == "released"
    deployed.host_name = "another-machine"
    assert deployed.destroy().success


def test_without_an_instance(deployed: World) -> None:
    deployed.cloud.instance = None
    assert deployed.destroy().success
    assert deployed.deploy().success, "the lease is still that of the operation before"


def test_after_a_killed_operation(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.destroy().success and deployed.engine.lock is None


def test_one_that_did_not_begin_repairs_nothing_of_a_killed_operation(deployed: World) -> None:
    deployed.fail_at("up.apply", Killed())
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.fail_at("engine.destroy", WorkspaceError("The passphrase is wrong."))

    with pytest.raises(WorkspaceError, match="Nothing was changed"):
        deployed.destroy()

    assert deployed.state().interrupted and deployed.inspect().status == "interrupted"
    assert deployed.recover().success and not deployed.state().unsettled


def test_a_lease_left_behind_without_an_intent_is_taken_over(deployed: World) -> None:
    deployed.kill_at = "engine.set_intent:begun"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.destroy().success


def test_another_operation_is_respected(deployed: World) -> None:
    deployed.alive.add(77)
    owner = {"host": HOST_NAME, "pid": 77}
    deployed.machine.begin(BeginDocument("op-of-bob", "update", "bob", owner, instance_id="i-1"))
    with pytest.raises(DeploymentBusyError, match="held by an update of bob"):
        deployed.destroy()
    assert deployed.cloud.instance is not None


def test_a_running_operation_is_respected(deployed: World) -> None:
    deployed.kill_at = "host.prefetch"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.alive.add(deployed.pid)
    with pytest.raises(DeploymentBusyError):
        deployed.destroy()


def test_a_killed_destroy_is_said_and_finished(deployed: World) -> None:
    deployed.kill_at = "engine.destroy"
    with pytest.raises(Killed):
        deployed.destroy()
    assert "destroy to v1" in deployed.inspect().summary
    assert deployed.destroy().success


def test_an_empty_stack(world: World) -> None:
    world.engine.create()
    assert world.destroy(delete_data=True).success and not world.engine.exists()


# --- nothing is left, and nothing of others is taken ------------------------------------------------------------------


def test_it_ends_when_aws_has_nothing_left(deployed: World) -> None:
    deployed.cloud.undead["i-1"] = 20
    assert deployed.destroy().success
    assert deployed.cloud.undead["i-1"] == 0
    waits = [message for message in deployed.messages("note") if message.startswith("Waiting for ")]
    assert waits and all("Instance i-1 (shutting-down)" in message for message in waits)
    assert deployed.state().destroyed


def test_what_aws_still_has_at_the_deadline_is_listed(deployed: World) -> None:
    deployed.cloud.undead["i-1"] = 10**6
    with pytest.raises(ChangeFailedError, match=r"AWS still has Instance i-1 \(shutting-down\)") as failed:
        deployed.destroy()
    assert failed.value.exit_code == 4 and "geusemaker destroy prod" in failed.value.next_step
    deployed.cloud.undead.clear()
    assert deployed.destroy().success


def test_what_is_left_after_a_failure_is_listed(deployed: World) -> None:
    deployed.engine.destroy_failure = "DependencyViolation"
    with pytest.raises(ChangeFailedError, match=r"DependencyViolation.* AWS still has Instance i-1"):
        deployed.destroy()


def test_what_a_killed_deploy_was_making_goes_with_the_rest(world: World) -> None:
    world.kill_at = "up.apply"
    with pytest.raises(Killed):
        world.deploy()
    state, made = world.engine.state, urn(INSTANCE, "instance")
    world.engine.creating = {made: INSTANCE, urn(ADDRESS, "address"): ADDRESS}
    world.engine.lost = {name: state.pop(name) for name in world.engine.creating}
    world.cloud.has_address = False
    shown = Shown()

    assert world.destroy(confirm=shown).success

    deleted = {operation.urn: operation.provider_id for operation in shown.plans[0].operations}
    assert deleted[made] == "i-1" and world.engine.adopted == {made: "i-1"}
    assert world.calls.index("engine.clear_pending") < world.calls.index("engine.destroy")
    assert world.cloud.instance is None and made not in world.engine.state


def test_what_only_has_the_same_name_is_named_and_left(deployed: World) -> None:
    stranger = Tagged(type="aws:ec2/securityGroup:SecurityGroup", id="sg-9", tags=own_tags("prod", "b2"))
    deployed.cloud.strangers = [stranger]
    shown = Shown()
    assert deployed.destroy(confirm=shown).success
    [check] = shown.plans[0].checks
    assert check.status == "warn" and "SecurityGroup sg-9 of another stack" in check.detail
    assert deployed.cloud.strangers == [stranger]


def test_where_nothing_else_has_the_name_nothing_is_said(deployed: World) -> None:
    shown = Shown()
    deployed.destroy(confirm=shown)
    assert shown.plans[0].checks == ()
