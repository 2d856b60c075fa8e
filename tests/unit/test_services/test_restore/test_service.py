"""RestoreService: nothing that is there is lost, and whatever is killed or fails says what is left."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    EngineError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.checkpoint import RestorePlan
from geusemaker.services.restore.service import RestoreService
from tests.unit.fakes import FakeHost, Killed, World

STEPS = ["stopped", "copied", "recovered", "swapped"]
CHECKPOINT = "v1/op-002"


@pytest.fixture
def two(deployed: World) -> World:
    """v1, and v2 with other n8n and Qdrant; written to since the checkpoint in between."""
    assert deployed.update(images={"n8n": "n8nio/n8n:1.101.0", "qdrant": "qdrant/qdrant:v1.14.9"}).success
    deployed.machine.data["n8n"]["workflows"].append("Later")
    deployed.machine.data["qdrant"]["collections"].append("later")
    deployed.machine.data["postgresql"]["databases"]["n8n"].append("public.later")
    return deployed


def raising(world: World, at: str, error: BaseException) -> None:
    """Let the restore come as far as this step, once."""

    def on_step(step: str) -> None:
        if step == at:
            world.machine.on_step = lambda step: None
            raise error

    world.machine.on_step = on_step


class Shown:
    def __init__(self, answer: bool = True) -> None:
        self.plans: list[RestorePlan] = []
        self.answer = answer

    def __call__(self, plan: RestorePlan) -> bool:
        self.plans.append(plan)
        return self.answer


def test_the_data_is_as_it_was_and_the_later_data_is_kept(two: World) -> None:
    services = dict(two.machine.services)
    result = two.restore(reason="lost a workflow")
    assert result.success and result.version == 2 and all(result.health_status.values())
    assert (result.checkpoint, result.taken) == (CHECKPOINT, "v2/op-003")
    assert two.machine.data["n8n"]["workflows"] == ["Nightly"]
    assert two.machine.data["qdrant"]["collections"] == ["docs"]
    databases = two.machine.data["postgresql"]["databases"]
    assert databases["n8n"] == ["public.workflow"]
    assert databases[result.kept["n8n"]] == ["public.workflow", "public.later"]
    assert two.machine.checkpoints["v2/op-003"]["kind"] == "restore"
    assert two.machine.services == services, "n8n runs again"


def test_no_version_is_made_and_the_journals_tell(two: World) -> None:
    two.machine.set_aside = ["n8n/binaryData_before_1"]
    assert two.restore(reason="lost a workflow").set_aside == ["n8n/binaryData_before_1"]
    state = two.state()
    assert [version.number for version in state.versions] == [1, 2] and not state.unsettled
    record = two.records.records[-1]
    assert (record.kind, record.number, record.success, record.reason) == ("restore", 2, True, "lost a workflow")
    assert record.changes[0] == f"postgresql.n8n: as now -> as in {CHECKPOINT}"
    assert two.machine.journal[-1]["operation_id"] == record.operation_id
    assert two.inspect().status == "healthy"
    assert two.n8n("1.102.0").version == 3, "and the next change is an ordinary one"


def test_the_order_of_things(two: World) -> None:
    two.restore()
    order = ["host.begin", "engine.set_intent:begun", "host.restore", "host.gate", "host.journal"]
    order += ["engine.set_intent:done", "host.end"]
    assert [call for call in two.calls if call in order] == order
    assert not {"engine.up", "engine.preview"} & set(two.calls)


def test_what_is_shown_first(two: World) -> None:
    shown = Shown(answer=False)
    with pytest.raises(DeclinedError):
        two.restore(shown)
    [plan] = shown.plans
    n8n, docs = plan.replaced
    assert n8n.then.workflows == 1 and n8n.now is not None and n8n.now.workflows == 2
    assert (docs.then.name, docs.now and docs.now.points) == ("docs", 1)
    assert [held.name for held in plan.left] == ["later"]
    assert {check.name for check in plan.checks} >= {"n8n data", "Qdrant data"}
    assert "binary data" in plan.data_notice
    assert "n8n stops" in plan.downtime and f"v2/{plan.operation_id}" in plan.data_notice
    assert "host.begin" not in two.calls and two.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]


def test_one_service_alone(two: World) -> None:
    shown = Shown()
    assert two.restore(shown, services=("qdrant",)).kept == {}
    assert two.machine.data["qdrant"]["collections"] == ["docs"]
    assert two.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]
    assert two.machine.copied()["v2/op-003"] == ["qdrant"] and "Collections do not answer" in shown.plans[0].downtime


def test_the_checkpoint_it_took_undoes_it(two: World) -> None:
    undo = two.restore().taken
    assert two.restore(checkpoint=undo).success
    assert two.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]
    assert two.restore().checkpoint == CHECKPOINT, "the default never is one that a restore took"


def test_the_list_is_newest_first_and_tells_the_default(two: World) -> None:
    two.restore()
    found = RestoreService(two.collaborators()).list()
    assert [one.checkpoint for one in found.checkpoints] == ["v2/op-003", CHECKPOINT]
    assert found.default == CHECKPOINT and found.checkpoints[1].services == ("postgresql", "qdrant")


# refusals


def test_data_that_is_not_its_own_is_left_alone(two: World) -> None:
    two.machine.sentinel = {"gone": True, "file_system_id": "fs-1"}
    with pytest.raises(RefusedError, match="the sentinel file on fs-1 is gone") as refused:
        two.restore()
    assert refused.value.exit_code == 5 and "host.begin" not in two.calls


def test_a_machine_in_the_way_changes_nothing(two: World) -> None:
    two.fail_at("engine.set_intent:begun", OSError(28, "No space left on device"))
    with pytest.raises(GeusemakerError, match="No space left on device") as failed:
        two.restore()
    assert failed.value.state == "Nothing was changed."
    assert two.machine.lease is not None and two.machine.lease["state"] == "released"


def test_what_runs_has_to_be_able_to_read_it(two: World) -> None:
    two.machine.checkpoints[CHECKPOINT]["versions"] = {"qdrant": "1.15.0"}
    with pytest.raises(ValidationFailedError, match=r"go to v1 first.*rollback prod --to-version 1") as refused:
        two.restore()
    assert refused.value.exit_code == 5 and refused.value.checks and "host.begin" not in two.calls
    assert two.restore(services=("postgresql",)).success


def test_without_a_checkpoint_there_is_nothing_to_restore(deployed: World) -> None:
    with pytest.raises(RefusedError, match="no checkpoint"):
        deployed.restore()


def test_what_does_not_run_is_refused(world: World, deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    with pytest.raises(RefusedError, match="geusemaker recover prod"):
        deployed.restore()
    assert deployed.recover().success
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    with pytest.raises(RefusedError, match="instance of prod is stopped"):
        deployed.restore()
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "running"})
    deployed.destroy()
    with pytest.raises(RefusedError, match="was destroyed"):
        deployed.restore()


def test_an_unknown_deployment(world: World) -> None:
    for call in (world.restore, RestoreService(world.collaborators()).list):
        with pytest.raises(DeploymentNotFoundError):
            call()


def test_another_operation_is_not_disturbed(two: World) -> None:
    assert two.machine.lease is not None
    two.machine.lease |= {"state": "held", "actor": "bob", "owner": {"host": "other", "pid": 1}}
    with pytest.raises(DeploymentBusyError, match=r"held by an update of bob.*since 2025") as busy:
        two.restore()
    assert busy.value.exit_code == 6 and two.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]


def test_a_plan_that_another_operation_overtook_is_not_carried_out(two: World) -> None:
    def confirm(plan: RestorePlan) -> bool:
        assert two.machine.lease is not None
        two.machine.lease |= {"operation": "op-9", "last_changed": "op-9"}
        return True

    with pytest.raises(PlanRefusedError, match="changed by somebody else"):
        two.restore(confirm)


def test_a_plan_made_before_a_restore_is_not_carried_out_after_it(two: World) -> None:
    def confirm(plan: Any) -> bool:
        assert two.restore().success
        return True

    with pytest.raises(PlanRefusedError, match="changed by somebody else"):
        two.n8n("1.102.0", confirm=confirm)


# failures


@pytest.mark.parametrize("at", ["stopped", "copied"])
@pytest.mark.parametrize("error", [HostError("pg_dump failed: x", code="checkpoint_failed"), KeyboardInterrupt()])
def test_a_failure_before_anything_shows_changes_nothing(two: World, at: str, error: BaseException) -> None:
    data = {key: dict(value) for key, value in two.machine.data.items()}
    raising(two, at, error)
    expected = InterruptedOperationError if isinstance(error, KeyboardInterrupt) else HostError
    with pytest.raises(expected, match=r"Nothing was changed\."):
        two.restore()
    assert ("host.cancel" in two.calls) == isinstance(error, KeyboardInterrupt)
    assert two.machine.data == data and "n8n" in two.machine.services
    assert not two.state().unsettled and two.machine.lease is not None and two.machine.lease["state"] == "released"
    assert two.restore().success


def test_the_lease_is_given_back_where_the_intent_cannot_be_written(
    two: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(intent: Any) -> None:
        raise EngineError("The backend is read-only.")

    monkeypatch.setattr(two.engine, "set_intent", fails)
    with pytest.raises(EngineError, match="read-only"):
        two.restore()
    assert "host.restore" not in two.calls
    assert two.machine.lease is not None and two.machine.lease["state"] == "released"


def test_a_failure_half_way_needs_a_person_and_tells_the_way_back(two: World) -> None:
    raising(two, "recovered", HostError("Qdrant refuses: disk full", code="qdrant_failed"))
    result = two.restore()
    assert (result.success, result.exit_code, result.taken) == (False, 4, "v2/op-003")
    assert "half-way: Qdrant refuses" in str(result.error_message)
    assert "geusemaker restore prod --checkpoint v2/op-003" in result.next_step
    assert two.records.records[-1].error_message == result.error_message
    assert not two.state().unsettled and two.inspect().status == "healthy", "the version is what it was"
    assert two.restore(checkpoint=result.taken, reason="take that back").success
    failed, done = two.inspect().restores
    assert (failed.success, failed.checkpoint, failed.taken, failed.version) == (False, CHECKPOINT, "v2/op-003", 2)
    assert (done.success, done.checkpoint, done.reason) == (True, "v2/op-003", "take that back")
    two.records.records.clear()  # as on a machine that has run nothing yet
    assert two.inspect().restores == [] and two.inspect(whole_journal=True).restores == [failed, done]
    assert two.machine.data["qdrant"]["collections"] == ["docs", "later"]


def test_what_is_not_healthy_on_the_restored_data_is_told(two: World) -> None:
    two.machine.on_step = lambda step: two.machine.ill.add("n8n")
    result = two.restore()
    assert result.exit_code == 4 and "restored, but not everything is healthy: Not healthy: n8n" in str(
        result.error_message
    )
    assert result.kept and result.taken and two.inspect().status == "unhealthy"


def test_interrupted_while_waiting_for_health(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeHost, "_gate", pressed)
    with pytest.raises(InterruptedOperationError, match=f"The data is as in {CHECKPOINT}"):
        two.restore()
    assert "host.cancel" in two.calls and two.machine.data["n8n"]["workflows"] == ["Nightly"]
    assert not two.state().unsettled and two.inspect().status == "healthy"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HostError("connection lost", code="unreachable")])
def test_stopped_in_the_middle_it_is_interrupted_and_can_be_repeated(two: World, error: BaseException) -> None:
    raising(two, "recovered", error)
    with pytest.raises((InterruptedOperationError, ChangeFailedError)) as stopped:
        two.restore()
    assert stopped.value.exit_code == (130 if isinstance(error, KeyboardInterrupt) else 4)
    assert f"geusemaker restore prod --checkpoint {CHECKPOINT}" in stopped.value.next_step
    assert "Nothing is lost" in stopped.value.state
    inspection = two.inspect()
    assert inspection.status == "interrupted" and "restore by ann was killed" in inspection.summary
    with pytest.raises(RefusedError, match=r"a restore of ann, was killed.*geusemaker restore prod"):
        two.n8n("1.102.0")
    assert two.restore().success and not two.state().unsettled
    assert set(two.machine.checkpoints) == {CHECKPOINT, "v2/op-003", "v2/op-004"}


@pytest.mark.parametrize("then", ["restore", "recover", "rollback"])
@pytest.mark.parametrize(
    "at", ["host.begin", "engine.set_intent:begun", *STEPS, "host.gate", "engine.set_intent:done", "host.end"]
)
def test_killed_anywhere(two: World, at: str, then: str) -> None:
    if at in STEPS:
        two.machine.on_step = lambda step: two.call("died") if step == at else None
    two.kill_at = "died" if at in STEPS else at
    with pytest.raises(Killed):
        two.restore()
    two.machine.on_step = lambda step: None

    assert two.inspect().status in ("interrupted", "healthy")
    assert "public.later" in str(two.machine.data["postgresql"]["databases"]), "kept, or not yet replaced"
    result: Any = getattr(two, then)()
    assert result.success
    state = two.state()
    assert not state.unsettled and state.active is not None
    assert two.machine.services == state.active.config.images and two.inspect().status == "healthy"
    assert two.n8n("1.102.0").success


def test_one_abandoned_after_a_killed_one_forgets_nothing(two: World) -> None:
    raising(two, "recovered", Killed())
    with pytest.raises(Killed):
        two.restore()
    raising(two, "copied", HostError("pg_dump failed", code="checkpoint_failed"))
    with pytest.raises(HostError):
        two.restore()
    assert two.state().interrupted
    with pytest.raises(RefusedError, match="geusemaker restore prod"):
        two.n8n("1.102.0")
    assert two.restore().success and two.n8n("1.102.0").success
