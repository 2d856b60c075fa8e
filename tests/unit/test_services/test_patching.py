"""Newer images of the machine, with their way back, and reboots that are due."""

from __future__ import annotations

import copy

import pytest

from geusemaker.errors import (
    ChangeFailedError,
    EngineError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    PlanRefusedError,
    RefusedError,
)
from geusemaker.services.inspect.patching import patching
from tests.unit.fakes import Shown, World
from tests.unit.samples import NIGHT

DUE = ["kernel 6.12.43 is installed, 6.12.9 runs"]


def newer(world: World) -> World:
    world.cloud.images["ami-newer"] = "amd64"
    return world


def test_the_newest_image_is_told_with_its_day_and_has_its_way_back(deployed: World) -> None:
    shown = Shown()
    with pytest.raises(PlanRefusedError, match="--allow-replace"):
        newer(deployed).update(ami="newest")
    done = deployed.update(confirm=shown, ami="newest", allow_replace=True)
    assert done.success and deployed.cloud.created == 2
    told = [str(change) for change in shown.plans[0].changes if change.path == "ami"]
    assert told == ["ami: ami-amd64 of 2025-01-01 -> ami-newer of 2025-01-20"]
    assert done.undo == "geusemaker rollback prod v1 --allow-replace"
    with pytest.raises(PlanRefusedError, match="--allow-replace"):
        deployed.rollback(to_version=1)
    assert deployed.rollback(to_version=1, allow_replace=True).success and deployed.cloud.created == 3
    active = deployed.state().active
    assert active is not None and active.config.ami == "ami-amd64"


def test_services_that_fail_on_the_newer_image_go_back_to_the_older_by_themselves(deployed: World) -> None:
    def ill_on_the_second() -> None:
        deployed.machine.ill = {"n8n"} if deployed.cloud.created == 2 else set()

    newer(deployed).machine.after_apply = ill_on_the_second
    failed = deployed.update(ami="newest", allow_replace=True)
    assert (failed.success, failed.rolled_back_to) == (False, 1), failed.error_message
    active = deployed.state().active
    assert active is not None and active.config.ami == "ami-amd64" and deployed.cloud.created == 3


def test_status_says_how_old_the_image_is_and_that_a_reboot_is_due(deployed: World) -> None:
    found = deployed.inspect()
    assert found.patching is not None and found.patching.reboot is None and found.notes == []
    assert (found.patching.image, found.patching.image_date) == ("ami-amd64", "2025-01-01")
    assert found.patching.image_age_days == 20
    deployed.machine.reboot = DUE
    told = deployed.inspect()
    assert told.status == "healthy" and told.patching is not None and told.patching.reboot == DUE
    command = "`geusemaker recover prod --reboot` makes it."
    assert told.notes == [f"The instance waits for a reboot ({DUE[0]}): {command}"]
    assert patching(None, "", DUE, NIGHT) is None


def due(world: World) -> World:
    """The instance waits for a reboot."""
    world.machine.reboot = DUE
    return world


def test_a_reboot_in_order_through_the_gate(deployed: World) -> None:
    shown = Shown()
    result = due(deployed).recover(confirm=shown, reboot=True)
    assert result.success and deployed.cloud.rebooted == ["i-1"] and deployed.cloud.stopped == []
    plan = shown.plans[0]
    assert plan.repairs == (f"the instance reboots: {DUE[0]}",) and plan.reboots == (DUE[0],)
    assert plan.downtime == "All services stop while the instance reboots: a minute or two on AWS."
    calls = deployed.calls
    order = ("host.begin", "host.hold", "cloud.reboot_instance", "up.apply", "up.gate", "host.end")
    places = [calls.index(call) for call in order]
    assert places == sorted(places), calls
    active = deployed.state().active
    assert active is not None and deployed.machine.services == active.config.images
    assert deployed.inspect().status == "healthy"


@pytest.mark.parametrize("told", [None, []])
def test_a_reboot_that_is_not_due_is_not_made(deployed: World, told: list[str] | None) -> None:
    deployed.machine.reboot = told
    assert deployed.recover(reboot=True).success
    assert deployed.cloud.rebooted == [] and "No reboot is due." in deployed.events[-1].message


def test_a_reboot_that_is_due_is_not_made_unasked(deployed: World) -> None:
    assert due(deployed).recover().success and deployed.cloud.rebooted == []


def test_an_instance_that_does_not_come_back_is_told(deployed: World) -> None:
    due(deployed).cloud.reboot_looks = None
    with pytest.raises(ChangeFailedError, match="did not come back within 600 s") as failed:
        deployed.recover(reboot=True)
    assert failed.value.exit_code == 4 and "geusemaker recover prod" in failed.value.next_step
    assert deployed.inspect().status == "failed"
    assert deployed.recover().success and deployed.inspect().status == "healthy"


def test_an_agent_that_is_broken_after_the_boot_ends_the_wait(deployed: World) -> None:
    due(deployed)
    refused = HostError("The instance does not accept the login.", code="auth_failed")
    count = calls_of_health(deployed) + 1
    deployed.fail_at(f"host.health#{count}", refused)
    with pytest.raises(ChangeFailedError, match="does not accept the login"):
        deployed.recover(reboot=True)


def calls_of_health(world: World) -> int:
    """How often the instance is looked at before it is told to reboot."""
    trial = copy.deepcopy(world)
    trial.recover(reboot=True)
    return trial.calls[: trial.calls.index("cloud.reboot_instance")].count("host.health")


def test_silence_while_it_boots_is_waited_out(deployed: World) -> None:
    count = calls_of_health(due(deployed)) + 1
    deployed.fail_at(f"host.health#{count}", HostError("The instance cannot be reached.", code="unreachable"))
    assert deployed.recover(reboot=True).success


def test_ctrl_c_while_it_boots_says_what_to_type(deployed: World) -> None:
    due(deployed).fail_at("cloud.reboot_instance", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as stopped:
        deployed.recover(reboot=True)
    assert stopped.value.next_step == "Run `geusemaker recover prod` to have them started."
    assert deployed.recover().success and deployed.inspect().status == "healthy"


NEWER = {"docker.io": ["26.1.5", "26.1.6"], "containerd": ["1.7.24", "1.7.27"]}


def test_docker_is_renewed_when_nothing_runs_and_all_of_it_starts_again(deployed: World) -> None:
    shown = Shown()
    deployed.machine.newer = dict(NEWER)
    done = deployed.recover(shown, renew_docker=True)
    assert done.success and all(done.health_status.values())
    plan = shown.plans[0]
    assert plan.renewals == ("containerd 1.7.24 → 1.7.27", "docker.io 26.1.5 → 26.1.6")
    assert plan.repairs == tuple(f"Docker is renewed: {what}" for what in plan.renewals)
    assert plan.downtime == "All services stop while Docker is renewed: a minute or two."
    steps = [call for call in deployed.calls if call in ("host.hold", "host.renew", "engine.up")]
    assert steps == ["host.hold", "host.renew", "engine.up"]
    assert "Downloading 60 MB" in deployed.messages("note")
    assert deployed.inspect().status == "healthy"


def test_where_nothing_is_newer_nothing_is_done(deployed: World) -> None:
    done = deployed.recover(renew_docker=True)
    assert done.success and done.operation_id == "" and "host.hold" not in deployed.calls
    assert "Docker is the newest that there is." in deployed.messages("note")[-1]


def test_a_dry_run_says_what_would_be_renewed(deployed: World) -> None:
    deployed.machine.newer = dict(NEWER)
    assert deployed.recover(renew_docker=True, dry_run=True).success
    assert deployed.machine.newer == NEWER and "host.hold" not in deployed.calls


def test_both_take_one_stop(deployed: World) -> None:
    deployed.machine.newer, deployed.machine.reboot = dict(NEWER), DUE
    assert deployed.recover(renew_docker=True, reboot=True).success
    assert deployed.cloud.rebooted == ["i-1"] and deployed.machine.newer == {}
    assert deployed.inspect().status == "healthy"


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (HostError("Docker could not be renewed: no space.", code="package_failed"), ChangeFailedError),
        (KeyboardInterrupt(), InterruptedOperationError),
    ],
)
def test_a_docker_that_cannot_be_renewed_is_told_and_recovered_from(
    deployed: World, failure: BaseException, raised: type[GeusemakerError]
) -> None:
    deployed.machine.newer = dict(NEWER)
    deployed.fail_at("host.renew", failure)
    with pytest.raises(raised) as told:
        deployed.recover(renew_docker=True)
    assert "geusemaker recover prod" in told.value.next_step
    assert deployed.recover().success and deployed.inspect().status == "healthy"


def test_an_engine_that_does_not_begin_after_it_leaves_no_doubt_that_nothing_runs(deployed: World) -> None:
    deployed.machine.newer = dict(NEWER)
    deployed.fail_at("engine.up", EngineError("no"))
    with pytest.raises(ChangeFailedError, match="All services were stopped before") as told:
        deployed.recover(renew_docker=True)
    assert told.value.restored is False and deployed.recover().success


def test_an_instance_that_does_not_run_has_no_docker_to_renew(deployed: World) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    with pytest.raises(RefusedError, match="so Docker cannot be renewed"):
        deployed.recover(renew_docker=True)
    assert deployed.recover().success
