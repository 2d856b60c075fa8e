"""BackupService: a copy under no lease, which gives way and says so."""

from __future__ import annotations

import pytest

from geusemaker.agent.protocol.backups import BackupFailure, BackupPlan, Backups, LastBackup
from geusemaker.errors import (
    DeploymentBusyError,
    DeploymentNotFoundError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.checkpoint import BackupState
from geusemaker.services.backup.service import BackupService
from tests.unit.fakes import World


def raising(world: World, error: BaseException, **lease: object) -> None:
    """Let a backup end so, after somebody has taken the lease."""

    def on_step(step: str) -> None:
        world.machine.on_step = lambda step: None
        if lease:
            world.machine.lease = {**(world.machine.lease or {}), "state": "held", **lease}
        raise error

    world.machine.on_step = on_step


def take(world: World) -> GeusemakerError:
    with pytest.raises(GeusemakerError) as caught:
        BackupService(world.collaborators()).take()
    return caught.value


def test_it_is_made_and_listed_and_changes_nothing(deployed: World) -> None:
    before, lease = deployed.state(), deployed.machine.lease
    made = BackupService(deployed.collaborators()).take()
    assert made.success and made.checkpoint.is_backup and made.checkpoint.by == "ann"
    assert made.checkpoint.checkpoint == f"v1/{made.backup}" and made.checkpoint.verified_at
    assert made.bytes == sum(held.bytes for held in made.checkpoint.holds) > 0
    assert deployed.state() == before and deployed.machine.lease == lease
    later = BackupService(deployed.collaborators()).take()
    found = BackupService(deployed.collaborators()).list()
    assert [one.operation for one in found.backups] == [later.backup, made.backup]


def test_it_is_restored_by_its_id_or_as_the_latest(deployed: World) -> None:
    made = BackupService(deployed.collaborators()).take()
    deployed.machine.data["n8n"]["workflows"].append("Later")
    with pytest.raises(RefusedError, match="has no checkpoint that was taken before a change"):
        deployed.restore()
    assert deployed.restore(backup=made.backup).checkpoint == made.checkpoint.checkpoint
    assert deployed.machine.data["n8n"]["workflows"] == ["Nightly"]
    assert deployed.restore(backup="latest").checkpoint == made.checkpoint.checkpoint
    with pytest.raises(InvalidInputError, match="not both"):
        deployed.restore(backup="latest", checkpoint="v1")


def test_nobody_makes_one_while_an_operation_holds_the_deployment(deployed: World) -> None:
    deployed.machine.lease = {**(deployed.machine.lease or {}), "state": "held", "kind": "update", "actor": "bob"}
    error = take(deployed)
    assert isinstance(error, DeploymentBusyError) and "an update of bob" in error.message
    assert deployed.machine.checkpoints == {}


@pytest.mark.parametrize("code", ["cancelled", "agent_died"])
def test_who_took_the_lease_meanwhile_is_named(deployed: World, code: str) -> None:
    raising(deployed, HostError("It was told to end.", code=code), kind="rollback", actor="bob")
    error = take(deployed)
    assert isinstance(error, DeploymentBusyError) and "gave way to a rollback of bob" in error.message
    assert "no backup was made" in error.state and f"geusemaker backup {deployed.state().name}" in error.next_step


@pytest.mark.parametrize("code", ["cancelled", "checkpoint_failed"])
def test_what_fails_is_told_as_it_is(deployed: World, code: str) -> None:
    raising(deployed, HostError("pg_dump of n8n failed.", code=code))
    error = take(deployed)
    assert error.message == "pg_dump of n8n failed." and "no backup was made" in error.state


def test_where_nobody_answers_who_has_it_the_error_itself_is_told(deployed: World) -> None:
    raising(deployed, HostError("The agent died.", code="agent_died"))
    deployed.host_failures["lease"] = HostError("The instance cannot be reached.", code="unreachable")
    assert take(deployed).message == "The agent died."


def test_ctrl_c_ends_it_on_the_instance(deployed: World) -> None:
    raising(deployed, KeyboardInterrupt())
    error = take(deployed)
    assert isinstance(error, InterruptedOperationError) and "no backup was made" in error.state
    assert "host.cancel" in deployed.calls
    raising(deployed, KeyboardInterrupt())
    deployed.host_failures["cancel"] = HostError("Nobody answers.", code="unreachable")
    assert "may go on to its end: Nobody answers." in take(deployed).state


def test_they_are_planned_and_no_more(deployed: World) -> None:
    made = BackupService(deployed.collaborators()).schedule(86_400, 3)
    assert (made.backups.every, made.backups.keep, made.backups.too_old) == ("24h", 3, False)
    assert BackupService(deployed.collaborators()).list().state.every_seconds == 86_400
    assert deployed.inspect().backups == made.backups.model_copy(update={"since": made.backups.since})
    ended = BackupService(deployed.collaborators()).schedule(None, 3)
    assert (ended.backups.every, ended.backups.every_seconds, ended.backups.keep) == ("", None, None)


@pytest.mark.parametrize(("every", "keep"), [(60, 7), (0, 7), (86_400, 0)])
def test_a_plan_that_makes_no_sense_is_refused_before_anybody_is_asked(
    deployed: World, every: float, keep: int
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        BackupService(deployed.collaborators()).schedule(every, keep)
    assert caught.value.state == "What was planned stays." and deployed.calls == []


def test_nobody_plans_while_an_operation_holds_the_deployment(deployed: World) -> None:
    deployed.machine.lease = {**(deployed.machine.lease or {}), "state": "held", "kind": "update", "actor": "bob"}
    with pytest.raises(DeploymentBusyError):
        BackupService(deployed.collaborators()).schedule(86_400, 7)
    deployed.machine.lease = {**deployed.machine.lease, "state": "released"}
    deployed.host_failures["schedule"] = HostError("systemctl enable failed.", code="schedule_failed")
    with pytest.raises(HostError) as caught:
        BackupService(deployed.collaborators()).schedule(86_400, 7)
    assert caught.value.state == "What was planned may have changed, or not."


def test_status_tells_the_last_one_and_that_it_is_too_old(deployed: World) -> None:
    seen = deployed.inspect()
    assert seen.backups == BackupState() and seen.notes == []
    plan = BackupPlan(3600, 7, "2020-01-01T00:00:00.000+00:00", "ann")
    done = LastBackup("v1/op-9", "op-9", "2020-01-02T00:00:00.000+00:00", 2048)
    deployed.machine.backups = Backups(plan, done, BackupFailure("", "There is no room."))
    found = deployed.inspect()
    assert found.backups is not None and found.backups.too_old and found.backups.last == "op-9"
    assert found.backups.last_age_seconds and found.backups.last_age_seconds > 86_400
    [note] = found.notes
    assert note.startswith("The last backup is too old: There is no room. One is planned every 1h;")
    assert found.status == "healthy"
    deployed.machine.backups = Backups(plan)
    assert deployed.inspect().notes[0].startswith("There is no backup. One is planned")


def test_there_is_nothing_to_copy_where_nothing_is(world: World) -> None:
    with pytest.raises(DeploymentNotFoundError):
        BackupService(world.collaborators()).take()
