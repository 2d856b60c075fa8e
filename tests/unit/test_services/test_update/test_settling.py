"""What is called healthy stays so: the settle time's setting, the last look, n8n in mid-migration at the deadline."""

from __future__ import annotations

import json

import pytest

from geusemaker.errors import InvalidInputError
from geusemaker.models.request import DeployRequest
from tests.unit.fakes import Shown, World
from tests.unit.samples import target

WORKING = {"state": "working", "done": 64, "detail": "migrating its database: 64 migrations are done"}


def settle_seconds(world: World) -> int:
    target = world.state().target
    assert target is not None
    return target.settle_seconds


# the setting


def test_a_local_deployment_settles_sooner_than_one_on_aws(world: World) -> None:
    world.deploy()
    assert settle_seconds(world) == 10
    assert target().settle_seconds == 15, "that of a deployment from before there was a setting"


def test_the_settle_time_is_the_deployments_and_not_a_versions(deployed: World) -> None:
    shown = Shown()
    assert deployed.n8n("1.101.0", settle_seconds=3, confirm=shown).success
    assert "settle_seconds: 10 -> 3" in [str(change) for change in shown.plans[0].changes]
    assert settle_seconds(deployed) == 3
    assert deployed.rollback().success
    assert settle_seconds(deployed) == 3, "going back does not bring it back"


def test_a_settle_time_alone_is_a_change_that_says_so(deployed: World) -> None:
    shown = Shown()
    result = deployed.update(settle_seconds=30, confirm=shown)
    assert result.success and result.changes == ["settle_seconds: 10 -> 30"]
    assert settle_seconds(deployed) == 30
    assert deployed.machine.services == {
        name: str(service.image) for name, service in shown.plans[0].config.services.items()
    }
    assert not deployed.update(settle_seconds=30).changes, "it is that already"


@pytest.mark.parametrize("seconds", [-1, 301])
def test_a_settle_time_that_cannot_be_had_is_refused(deployed: World, world: World, seconds: int) -> None:
    with pytest.raises(InvalidInputError, match="0 to 300"):
        deployed.update(settle_seconds=seconds)


def test_a_deploy_is_refused_it_too(world: World) -> None:
    with pytest.raises(InvalidInputError, match="0 to 300"):
        world.deploy(DeployRequest(settle_seconds=999))


# the last look


def restarts_after_the_gate(world: World, tag: str) -> None:
    """Let n8n of that tag die and be started again between the gate and the last look."""

    def die() -> None:
        if tag in world.machine.services["n8n"]:
            world.machine.starts["n8n"] += 1

    world.machine.after_gate = die


def test_a_service_that_dies_after_the_gate_is_not_called_healthy(deployed: World) -> None:
    restarts_after_the_gate(deployed, "1.101.0")
    result = deployed.n8n("1.101.0")
    assert (result.success, result.exit_code, result.rolled_back_to) == (False, 3, 1)
    assert "n8n: it was started again" in (result.error_message or "")
    assert "1.100.1" in deployed.machine.services["n8n"]


def test_its_way_back_is_not_past_retention_although_its_update_succeeded(deployed: World) -> None:
    restarts_after_the_gate(deployed, "1.101.0")
    result = deployed.n8n("1.101.0", retention=1)
    assert (result.exit_code, result.rolled_back_to) == (3, 1)


def test_a_rollback_that_falls_ill_late_goes_back_to_where_it_came_from(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success and deployed.n8n("1.102.0").success
    restarts_after_the_gate(deployed, "1.101.0")
    result = deployed.rollback()
    assert (result.success, result.exit_code) == (False, 3)
    assert "1.102.0" in deployed.machine.services["n8n"], "not v1, which is older than what was gone to"
    found = deployed.state()
    assert found.active is not None and found.active.number == 5 and not found.unsettled
    assert found.versions[3].failed_as == found.versions[1].failed_as == 4


def test_it_fails_for_a_person_where_it_may_not_go_back(deployed: World) -> None:
    deployed.machine.after_gate = lambda: deployed.machine.ill.add("qdrant")
    result = deployed.n8n("1.101.0", auto_rollback=False)
    assert (result.success, result.exit_code) == (False, 4)
    assert "qdrant" in (result.error_message or "")


def test_after_a_first_deploy_whose_service_dies_late_the_next_steps_work(world: World) -> None:
    """To the history that version ran: another `deploy` would be refused."""
    world.machine.after_gate = lambda: world.machine.ill.add("qdrant")
    result = world.deploy()
    assert (result.success, result.exit_code) == (False, 4)
    assert "recover prod" in result.next_step and "deploy" not in result.next_step
    world.machine.after_gate = lambda: None
    assert world.inspect().status == "unhealthy"
    world.machine.ill.clear()
    assert world.recover().success
    assert world.update(images={"qdrant": "qdrant/qdrant:v1.15.1"}).success


def test_who_misses_one_answer_is_asked_again(deployed: World) -> None:
    deployed.machine.after_gate = lambda: deployed.machine.ill.add("qdrant")
    deployed.clock.on_sleep = deployed.machine.ill.clear
    assert deployed.n8n("1.101.0").success


# mid-migration at the deadline


def test_a_migration_that_commits_step_by_step_is_left_running(deployed: World) -> None:
    deployed.engine.outcomes.append("timeout")
    deployed.machine.migration = WORKING
    result = deployed.n8n("1.123.5")
    assert (result.exit_code, result.rolled_back_to) == (4, None)
    assert "64 migrations are done" in (result.error_message or "") and "left running" in (result.error_message or "")
    assert "run the same command again" in result.next_step
    deployed.machine.migration = None
    assert deployed.n8n("1.123.5").success, "the next step works"


@pytest.mark.parametrize(
    ("tag", "migration"),
    [
        ("2.41.1", WORKING),
        ("1.123.5", {"state": "waiting", "done": 64, "detail": "its migration waits for a lock"}),
        ("1.123.5", {"state": "idle", "done": 64, "detail": "nothing happens"}),
        ("1.123.5", None),
    ],
)
def test_what_can_be_stopped_is_gone_back_from(deployed: World, tag: str, migration: dict[str, object] | None) -> None:
    deployed.engine.outcomes.append("timeout")
    deployed.machine.migration = migration
    result = deployed.n8n(tag)
    assert (result.exit_code, result.rolled_back_to) == (3, 1)


# the list of migrations


def test_migrations_read_in_the_middle_of_them_are_not_recorded(deployed: World) -> None:
    deployed.machine.data["n8n"] |= {"ready": False, "migrations": ["Initial1", "Second2"]}
    assert deployed.n8n("1.101.0").success
    kept = json.dumps(deployed.machine.journal[-1]["manifest_after"])
    assert "Second2" not in kept
