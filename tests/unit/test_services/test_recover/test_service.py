"""RecoverService: whatever was killed where, one command gets back to a healthy version."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    GeusemakerError,
    HostError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.history import LockOwner
from tests.unit.fakes import BACKUP_POLICY, FILE_SYSTEM, HOST_NAME, MOUNT_TARGET, Killed, Shown, World, no, urn

PHASES = [
    "host.begin",
    "engine.set_intent:begun",
    "host.prefetch",
    "host.hold",
    "engine.up",
    "up.infrastructure",
    "up.apply",
    "up.gate",
    "host.journal",
    "host.gc",
    "host.end",
    "engine.set_intent:done",
]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("verb", ["update", "rollback"])
def test_killed_anywhere(deployed: World, phase: str, verb: str) -> None:
    deployed.update(instance_type="t3.xlarge", images={"n8n": "n8nio/n8n:1.101.0"})
    data = dict(deployed.machine.data)
    deployed.kill_at = phase
    with pytest.raises(Killed):
        deployed.rollback() if verb == "rollback" else deployed.update(instance_type="m5.large")
    deployed.kill_at = ""

    inspection = deployed.inspect()
    # The engine waits for us while we stop the services, and fails in order when we are gone.
    ends = ("failed",) if phase == "host.hold" else ("interrupted", "healthy")
    assert inspection.status in ends and inspection.summary
    result = deployed.recover()

    assert result.success and result.exit_code == 0
    state = deployed.state()
    assert not state.unsettled and state.active is not None
    assert deployed.machine.services == state.active.config.images
    assert deployed.cloud.created == 1 and deployed.machine.data == data
    assert deployed.engine.lock is None and not deployed.engine.pending
    assert deployed.inspect().status == "healthy"
    assert deployed.n8n("1.102.0").success, "and the next change is an ordinary one"


def test_nothing_to_repair(deployed: World) -> None:
    result = deployed.recover()

    assert result.success and result.version == 1 and "engine.up" not in deployed.calls
    assert deployed.messages("note") == ["Nothing to repair: prod is settled."]


def test_what_a_boot_could_not_mount_is_mounted(deployed: World) -> None:
    deployed.machine.mounted = None
    deployed.machine.services = {}
    found = deployed.inspect()
    assert found.status == "unhealthy" and "fs-1 is not mounted on the instance" in found.summary
    assert deployed.recover().success
    assert deployed.messages("note") == ["Mounting fs-1, which is not mounted yet"]
    assert deployed.inspect().status == "healthy"


def test_a_failed_update_is_taken_back(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    result = deployed.recover(reason="asleep")
    assert result.success and result.version == 3 and deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1")
    active = deployed.state().active
    assert active is not None and (active.provenance.kind, active.provenance.source_version) == ("recover", 1)


def test_recovering_is_itself_recoverable(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0-crash")
    for point in ("engine.clear_pending", "host.prefetch", "up.apply"):
        deployed.kill_at = point
        with pytest.raises(Killed):
            deployed.recover()
    deployed.kill_at = ""
    assert deployed.recover().success and deployed.cloud.created == 1


def test_an_update_is_refused_until_what_was_killed_is_repaired(deployed: World) -> None:
    """Also where an attempt to repair it was given up: that one has an outcome, and repaired nothing."""
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.host_failures["prefetch"] = HostError("No space left.", code="no_space")
    with pytest.raises(HostError, match="No space left"):
        deployed.recover()
    del deployed.host_failures["prefetch"]
    with pytest.raises(RefusedError, match=r"was killed before it was done, and recover v3 of ann did not repair that"):
        deployed.n8n("1.102.0")
    assert deployed.recover().success and deployed.n8n("1.102.0").success


def test_giving_up_a_recovery_forgets_nothing(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0-crash")
    deployed.host_failures["prefetch"] = HostError("The registry is away.", code="pull_failed")
    with pytest.raises(HostError):
        deployed.recover()

    assert deployed.state().unsettled and deployed.inspect().status == "interrupted"
    deployed.host_failures.clear()
    assert deployed.recover().success


def test_giving_up_after_a_deadline_forgets_nothing(deployed: World) -> None:
    deployed.engine.outcomes.append("deadline-kill")
    assert deployed.n8n("1.101.0", auto_rollback=False).exit_code == 4
    assert deployed.state().last_failed and deployed.inspect().status == "failed"

    deployed.host_failures["prefetch"] = HostError("The registry is away.", code="pull_failed")
    with pytest.raises(HostError):
        deployed.recover()
    assert deployed.state().last_failed
    deployed.host_failures.clear()
    assert deployed.recover().success and deployed.engine.lock is None


def test_a_recovery_that_fails_stops(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    deployed.engine.outcomes.append("timeout")
    result = deployed.recover()
    assert result.exit_code == 4 and "`geusemaker rollback prod`: it goes back to v1" in result.next_step


@pytest.mark.parametrize("state", ["stopped", "terminated"])
def test_an_instance_stopped_or_removed_by_other_means_is_brought_back(deployed: World, state: str) -> None:
    assert deployed.cloud.instance is not None
    if state == "stopped":
        deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": state})
    else:
        deployed.cloud.instance = None
    assert "recover prod" in deployed.inspect().summary

    assert deployed.recover().success
    assert deployed.inspect().status == "healthy"


def test_a_recovery_killed_before_it_reached_the_new_instance_is_recovered_from(deployed: World) -> None:
    """It left no lease: the one on the file system is an earlier operation's."""
    deployed.cloud.instance = None
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.recover()
    assert deployed.machine.lease is not None and deployed.machine.lease["operation"] == "op-001"

    assert deployed.recover().success
    assert deployed.cloud.created == 2
    assert deployed.inspect().status == "healthy" and deployed.n8n("1.101.0").success


def test_a_lease_without_owner_outlives_no_instance(deployed: World) -> None:
    """`apply` took it by itself and was killed; the next operation was killed before it reached the instance."""
    deployed.destroy()
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.deploy()
    deployed.cloud.instance = None
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.recover()
    lease = deployed.machine.lease
    assert lease is not None and (lease["state"], lease["taken_by"], lease.get("owner")) == ("held", "apply", None)

    assert deployed.recover().success
    assert deployed.inspect().status == "healthy" and deployed.machine.lease is not lease


@pytest.mark.parametrize("state", ["failed", "interrupted", "settled"])
def test_a_dry_run_repairs_nothing(deployed: World, state: str) -> None:
    if state == "failed":
        deployed.n8n("1.101.0-crash", auto_rollback=False)
    elif state == "interrupted":
        deployed.kill_at = "up.apply"
        with pytest.raises(Killed):
            deployed.n8n("1.101.0")
    before = (deployed.engine.intent_tag, len(deployed.engine.entries), deployed.engine.pending, deployed.machine.lease)

    result = deployed.recover(dry_run=True)

    assert result.success and "engine.clear_pending" not in deployed.calls
    assert result.dry_run is (state != "settled")
    engine = deployed.engine
    assert before == (engine.intent_tag, len(engine.entries), engine.pending, deployed.machine.lease)


def test_containers_changed_by_other_means_are_put_right(deployed: World) -> None:
    deployed.machine.services["n8n"] = "n8nio/n8n:0.1.0@sha256:" + "0" * 64
    before = deployed.inspect().status
    assert deployed.recover().success
    assert (before, deployed.inspect().status) == ("drifted", "healthy")


def test_a_destroyed_deployment_has_nothing_to_repair(deployed: World) -> None:
    deployed.destroy()
    assert deployed.recover().version is None and deployed.cloud.instance is None


def test_a_living_engine_is_respected(deployed: World) -> None:
    deployed.engine.lock = LockOwner(pid=99, user="bob", host=HOST_NAME, since="02:00")
    deployed.alive.add(99)
    with pytest.raises(DeploymentBusyError, match="process 99 of bob"):
        deployed.recover()

    deployed.alive.clear()
    assert deployed.recover().success and deployed.engine.lock_owner() is None
    assert "Removed the lock of the dead process 99." in deployed.messages("note")


def test_a_living_owner_is_respected(deployed: World) -> None:
    deployed.kill_at = "host.prefetch"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.alive.add(deployed.pid)
    deployed.births[deployed.pid] = f"born-{deployed.pid}"
    assert deployed.inspect().interruption is not None
    with pytest.raises(DeploymentBusyError):
        deployed.recover()


def test_no_such_deployment(world: World) -> None:
    world.engine.create()
    with pytest.raises(DeploymentNotFoundError):
        world.recover()


def test_never_healthy(world: World) -> None:
    world.machine.ill.add("n8n")
    world.deploy()
    with pytest.raises(RefusedError, match="deploy prod` again, or `geusemaker destroy prod"):
        world.recover()


def test_the_plan_says_what_is_left(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    shown = Shown()
    deployed.recover(confirm=shown)
    assert [change.path for change in shown.plans[0].changes] == ["n8n.image"]


def test_what_a_killed_engine_had_created_already_is_adopted(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.kill_at = ""
    deployed.engine.creating = {
        "urn:instance": "aws:ec2/instance:Instance",
        "urn:group": "aws:ec2/securityGroup:SecurityGroup",
    }
    assert deployed.recover().success
    assert deployed.cloud.instance is not None
    assert deployed.engine.adopted == {"urn:instance": deployed.cloud.instance.id}


@pytest.mark.parametrize("types", [(FILE_SYSTEM,), (MOUNT_TARGET, BACKUP_POLICY), (FILE_SYSTEM, MOUNT_TARGET)])
def test_data_that_the_state_lost_is_taken_up_again(deployed: World, types: tuple[str, ...]) -> None:
    before = dict(deployed.engine.state)
    deployed.engine.lose(*types)
    with pytest.raises(PlanRefusedError, match="second, empty") as refused:
        deployed.n8n("1.101.0")
    assert refused.value.next_step == "`geusemaker recover prod` takes up again what AWS still has of it."

    assert deployed.recover().success
    assert set(deployed.engine.adopted) == {urn(type, "data") for type in types}
    assert set(deployed.engine.state) == set(before)
    assert deployed.n8n("1.101.0").success


def test_a_mount_target_that_aws_has_no_more_is_made_by_a_person(deployed: World) -> None:
    deployed.engine.lose(MOUNT_TARGET)
    deployed.cloud.mount_target = "missing"
    with pytest.raises(PlanRefusedError, match=r"second, empty mount target.* fs-1 has no mount target any more: make"):
        deployed.recover()
    assert deployed.engine.adopted == {}


def test_data_that_was_never_there_is_not_looked_for(world: World) -> None:
    world.machine.ill.add("qdrant")
    world.deploy()
    world.engine.lose(FILE_SYSTEM)
    with pytest.raises(RefusedError, match="never had a healthy version"):
        world.recover()
    assert "engine.clear_pending" not in world.calls


def deaf(world: World, looks: int = 3) -> None:
    """The instance runs and answers no more, until it was started again and looked at so often."""
    call: Callable[[str], None] = world.call
    left = iter(range(looks - 1, -1, -1))

    def hear(name: str) -> None:
        call(name)
        if name == "host.health" and world.cloud.started:
            world.host_reachable = next(left, 0) == 0

    world.host_reachable = False
    world.call = hear  # type: ignore[method-assign]


def test_an_instance_that_answers_no_more_is_rebooted_when_that_is_said(deployed: World) -> None:
    deaf(deployed)
    assert "`geusemaker recover prod --reboot` stops and starts" in deployed.inspect().summary
    hint = "if nobody gets in any more, `geusemaker recover prod --reboot`"
    with pytest.raises(ValidationFailedError, match=hint):
        deployed.n8n("1.101.0")
    with pytest.raises(ValidationFailedError, match=hint):
        deployed.recover()
    assert deployed.cloud.stopped == []

    shown = Shown()
    assert deployed.recover(confirm=shown, reboot=True).success
    assert (deployed.cloud.stopped, deployed.cloud.started) == (["i-1"], ["i-1"])
    [plan] = shown.plans
    assert "stopped and started" in plan.downtime
    assert [check.status for check in plan.checks if check.name == "instance"] == ["warn"]
    assert deployed.inspect().status == "healthy" and deployed.cloud.created == 1


def test_an_instance_that_answers_is_not_rebooted(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    assert deployed.recover(reboot=True).success
    assert deployed.cloud.stopped == []


def test_a_reboot_that_is_declined_changes_nothing(deployed: World) -> None:
    deaf(deployed)
    with pytest.raises(DeclinedError):
        deployed.recover(confirm=no, reboot=True)
    assert deployed.cloud.stopped == []


def test_an_instance_that_does_not_come_back_is_told(deployed: World) -> None:
    deaf(deployed)
    deployed.cloud.capacity_gone = True
    with pytest.raises(ChangeFailedError, match=r"i-1 was stopped .* does not come back: .*no capacity") as failed:
        deployed.recover(reboot=True)
    assert failed.value.exit_code == 4 and "recover prod --reboot" in failed.value.next_step
    deployed.cloud.capacity_gone, deployed.host_reachable = False, True
    assert deployed.recover().success, "then it is one that was left stopped"


def test_an_instance_that_stays_silent_is_waited_for_only_so_long(deployed: World) -> None:
    deaf(deployed, looks=10_000)
    with pytest.raises(ChangeFailedError, match="does not come back: The instance cannot be reached"):
        deployed.recover(reboot=True)


def test_an_owner_elsewhere_is_respected_until_it_is_said_to_be_gone(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.kill_at = ""
    deployed.host_name = "another-machine"
    with pytest.raises(DeploymentBusyError, match=HOST_NAME):
        deployed.recover()

    assert deployed.recover(owner_is_gone=True).success
    assert deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1")


@pytest.mark.parametrize("phase", ["host.journal", "host.gc", "host.end", "engine.set_intent:done"])
def test_what_was_killed_after_its_work_holds_nothing_any_more(deployed: World, phase: str) -> None:
    deployed.kill_at = phase
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")

    assert deployed.recover().version == 2 and "engine.up" not in deployed.calls
    lease, intent = deployed.machine.lease, deployed.state().intent
    assert lease is not None and lease["state"] == "released" and intent is not None and intent.outcome == "done"
    assert deployed.inspect().summary == "v2 is active and healthy."
    deployed.host_name = "another-machine"
    assert deployed.n8n("1.102.0").success, "which could not have seen that its owner is dead"


@pytest.mark.parametrize("phase", ["engine.set_intent:begun", "host.end"])
def test_what_a_dead_machine_holds_is_given_back_on_the_operators_word(deployed: World, phase: str) -> None:
    deployed.kill_at = phase
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.host_name = "another-machine"
    with pytest.raises(DeploymentBusyError, match="--owner-is-gone"):
        deployed.n8n("1.102.0")

    assert deployed.recover(owner_is_gone=True).success
    assert deployed.n8n("1.102.0").success


def test_a_dry_run_leaves_what_is_left(deployed: World) -> None:
    deployed.kill_at = "host.end"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.recover(dry_run=True).success
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "held"


def test_a_lease_taken_by_a_dead_machine_after_another_was_killed(deployed: World) -> None:
    """The intent is the first one's, the lease the second's, which is newer."""
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.kill_at = "engine.set_intent:begun"
    with pytest.raises(Killed):
        deployed.recover()
    deployed.host_name = "another-machine"

    assert deployed.recover(owner_is_gone=True).success
    assert deployed.inspect().status == "healthy"


def test_after_a_reboot_another_process_has_the_dead_ones_number(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.alive.add(deployed.pid)
    deployed.births[deployed.pid] = "later"

    assert deployed.inspect().status == "interrupted"
    assert deployed.recover().success


@pytest.mark.parametrize("state", ["stopping", "pending"])
def test_an_instance_on_its_way_is_waited_for(deployed: World, state: str) -> None:
    """A killed operation had told AWS to stop or start it."""
    deployed.kill_at = "up.infrastructure"
    with pytest.raises(Killed):
        deployed.update(instance_type="t3.xlarge")
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": state})

    assert deployed.recover().success
    assert deployed.inspect().status == "healthy"
    assert deployed.cloud.started == (["i-1"] if state == "stopping" else [])


def test_an_instance_that_just_started_gets_time_to_answer(deployed: World) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    deployed.boot_seconds = 40

    assert deployed.recover().success
    assert deployed.calls.count("host.health") > 1 and deployed.inspect().status == "healthy"


def test_an_engine_that_outlives_its_process_is_waited_for(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.engine.lock is not None
    deployed.alive.add(deployed.engine.lock.pid)
    deployed.clock.on_sleep = lambda: deployed.alive.discard(deployed.engine_pid - 1)

    assert deployed.recover().success
    assert any("Waiting for the engine" in message for message in deployed.messages("note"))


def test_an_engine_that_does_not_end_is_respected(deployed: World) -> None:
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.engine.lock is not None
    deployed.alive.add(deployed.engine.lock.pid)
    with pytest.raises(DeploymentBusyError, match=f"process {deployed.engine.lock.pid} of ann"):
        deployed.recover()


def test_a_dead_engines_lock_in_a_backend_that_does_not_show_it(deployed: World) -> None:
    deployed.engine.shows_lock = False
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.engine.lock is not None

    assert deployed.recover().success and deployed.engine.lock is None


def test_a_living_engines_lock_in_a_backend_that_does_not_show_it(deployed: World) -> None:
    deployed.engine.shows_lock = False
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    assert deployed.engine.lock is not None
    deployed.alive.add(deployed.engine.lock.pid)
    with pytest.raises(DeploymentBusyError, match="run of the engine holds prod"):
        deployed.recover()


def breaks(world: World, number: int) -> None:
    """What n8n runs in a version crashes from now on, again and again."""
    version = world.state().find_version(number)
    assert version is not None
    world.machine.broken.add(version.config.services["n8n"].image.by_digest)


def test_a_version_that_fails_by_itself_is_not_its_own_repair(deployed: World) -> None:
    """It was healthy for a moment, and was recorded so; each verb used to lead back to it, without end."""
    assert deployed.n8n("1.101.0").success
    breaks(deployed, 2)
    found = deployed.inspect()
    assert found.status == "unhealthy" and found.failing == ["n8n"]
    assert "`geusemaker recover prod` goes back to v1" in found.summary

    result = deployed.recover()

    assert result.success and result.version == 3 and deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1")
    versions = {version.number: version for version in deployed.state().versions}
    assert versions[2].failed_as == 2 and versions[1].failed_as is None and versions[3].same_as == 1
    assert not deployed.recover().operation_id, "nothing to repair"


def test_what_waits_for_a_stopped_service_does_not_fail_by_itself(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success
    breaks(deployed, 2)
    deployed.machine.exited.add("postgresql")
    found = deployed.inspect()
    assert found.status == "unhealthy" and found.failing == [], "n8n cannot live without it"


def test_where_no_version_is_left_it_says_why(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success
    deployed.mark(1, bad=True)
    breaks(deployed, 2)
    assert "v1 is marked bad" in deployed.inspect().summary
    with pytest.raises(RefusedError, match=r"no version that a recovery may go to.*v1 is marked bad.*--allow-bad"):
        deployed.recover()


def test_a_bad_version_is_not_put_right_by_itself(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success
    deployed.mark(2, bad=True)
    deployed.machine.exited.add("n8n")
    deployed.machine.after_apply = deployed.machine.exited.clear
    assert deployed.recover().success and deployed.machine.services["n8n"].startswith("n8nio/n8n:1.100.1")


@pytest.mark.parametrize(
    ("error", "code"), [(HostError("docker hangs.", code="docker_failed"), 4), (KeyboardInterrupt(), 130)]
)
def test_services_that_were_to_start_once_more_may_be_down(deployed: World, error: BaseException, code: int) -> None:
    deployed.machine.hung.add("n8n")
    deployed.fail_at("host.restart", error)
    with pytest.raises(GeusemakerError) as failed:
        deployed.recover()
    assert failed.value.exit_code == code and failed.value.state == "Each of them may run, or not."
    assert "geusemaker recover prod" in failed.value.next_step
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert deployed.inspect().status == "unhealthy", "it is looked at again"
    assert deployed.recover().success and deployed.machine.restarted == ["n8n"]


def test_a_repair_that_is_given_up_later_says_that_the_state_was_mended(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.engine.lock = LockOwner(pid=99, user="ann", host=HOST_NAME, since="2025-01-21T02:00:00Z", lives=False)
    deployed.fail_at("host.prefetch", HostError("no", code="pull_failed"))
    with pytest.raises(HostError) as failed:
        deployed.recover()
    assert failed.value.state.startswith("Nothing that runs was changed, only Pulumi's state was mended; v1 stays")
    assert deployed.recover().success


@pytest.mark.parametrize("lost", ["instance", "container"])
def test_what_was_marked_bad_is_put_right_where_nothing_else_is_left(deployed: World, lost: str) -> None:
    """Nothing else can be done about an instance that is gone: an update refuses, and names `recover`."""
    deployed.mark(1, bad=True)
    if lost == "instance":
        deployed.cloud.instance = None
    else:
        deployed.machine.exited.add("n8n")
    assert "`geusemaker recover prod` " in deployed.inspect().summary
    result = deployed.recover()
    assert result.success and result.version == 2
    assert deployed.inspect().status == "healthy"
    active = deployed.state().active
    assert active is not None and active.bad and active.same_as == 1


@pytest.mark.parametrize("lost", ["instance", "container"])
def test_status_says_where_a_recovery_from_a_bad_version_goes(deployed: World, lost: str) -> None:
    deployed.n8n("1.101.0")
    deployed.mark(2, bad=True)
    if lost == "instance":
        deployed.cloud.instance = None
    else:
        deployed.machine.exited.add("n8n")
    assert "`geusemaker recover prod` goes back to v1." in deployed.inspect().summary
    deployed.recover()
    active = deployed.state().active
    assert active is not None and active.same_as == 1


def test_the_verdict_follows_the_config_through_recover(deployed: World) -> None:
    """Recover makes v4 from v2's config; v2 is marked bad: no rollback goes to v4."""
    assert deployed.n8n("1.101.0").success
    deployed.n8n("1.102.0-crash", auto_rollback=False)
    assert deployed.recover().version == 4
    deployed.mark(2, bad=True)
    versions = {version.number: version for version in deployed.state().versions}
    assert versions[4].bad and versions[4].same_as == 2, "v4 is v2's config under another number"
    assert deployed.n8n("1.103.0").success
    assert deployed.rollback().source_version == 1
    deployed.mark(4, bad=False)
    assert not any(version.bad for version in deployed.state().versions), "and is taken back as a whole"


def test_a_failed_update_from_a_version_that_fails_does_not_lead_back_to_it(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success
    breaks(deployed, 2)
    result = deployed.n8n("1.102.0-crash")
    assert result.exit_code == 4 and "was unhealthy before the change already" in result.next_step
    assert "`geusemaker rollback prod`: it goes back to v1" in result.next_step
    assert deployed.rollback().source_version == 1


@pytest.mark.parametrize("verb", ["deploy", "recover"])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("phase", ["up.infrastructure", "up.mount", "up.apply", "up.gate"])
def test_a_deploy_killed_before_the_instance_was_set_up_is_finished_by_either_verb(
    world: World, verb: str, again: bool, phase: str
) -> None:
    """Also where it is one after a destroy: what only the refused step can bring is no precondition of it."""
    if again:
        world.deploy()
        world.destroy()
    world.kill_at = phase
    with pytest.raises(Killed):
        world.deploy()
    world.kill_at = ""
    world.machine.set_up = phase in ("up.apply", "up.gate")
    result = world.deploy() if verb == "deploy" else world.recover()
    assert result.success and world.inspect().status == "healthy"
    assert world.cloud.created == (2 if again else 1)
    assert world.n8n("1.101.0").success
