"""A rollback that takes n8n's data back as well: which, in which order, and what any failure of it ends in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from geusemaker.agent.data.postgresql import own_name
from geusemaker.agent.protocol.answers import Applied
from geusemaker.catalog.rules import DataFacts
from geusemaker.errors import (
    DeclinedError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.checkpoint import DataNow
from geusemaker.models.held import DataReturn, Held, Replacement
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import Plan
from geusemaker.models.request import ChangeOptions, DeployRequest
from geusemaker.models.stack import ServiceConfig
from geusemaker.services import data_return
from geusemaker.services.change.model import Asked, Change
from geusemaker.services.change.record import with_kept
from geusemaker.services.notices import kept, spoken_time
from tests.unit import samples
from tests.unit.fakes import Killed, Shown, World
from tests.unit.test_services.test_every_call import calls_of
from tests.unit.test_services.test_newer_data import NEW, OLD, checkpoint

CHECKPOINT = "v1/op-002"
BEFORE = own_name("n8n", "before", "op-003")
FAILED = own_name("n8n", "failed", "op-003")


@pytest.fixture
def migrated(world: World) -> World:
    """v1, and v2 with an n8n that migrated the data; a workflow and a table were made since."""
    world.machine.migrates = {tag: NEW for tag in ("1.123.5", "1.123.5-debian")}
    world.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.100.1"}, services=("n8n", "postgresql")))
    assert world.n8n("1.123.5").success
    world.machine.data["n8n"]["workflows"].append("Later")
    world.machine.data["postgresql"]["databases"]["n8n"].append("public.later")
    world.machine.data["postgresql"]["databases"]["new"] = ["public.t"]
    return world


def is_as_before(world: World) -> None:
    """The newer n8n runs on its own data."""
    assert world.machine.services["n8n"].startswith("n8nio/n8n:1.123.5@")
    assert world.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]
    assert world.machine.data["n8n"]["migrations"] == sorted([*OLD, *NEW])
    assert world.machine.data["postgresql"]["databases"]["n8n"] == ["public.workflow", "public.later"]


def test_software_and_data_go_back_in_one_operation(migrated: World) -> None:
    migrated.machine.set_aside = ["n8n/binaryData_before_x"]
    steps: list[str] = []
    migrated.machine.on_step = lambda step: steps.append(f"{step} while n8n {migrated.machine.state_of('n8n')}")
    shown = Shown()
    result = migrated.rollback(shown, to_version=1, with_data=True, reason="lost a webhook")

    assert result.success and result.version == 3 and result.source_version == 1
    assert steps == ["loaded while n8n healthy"]
    assert migrated.machine.data["n8n"] == {"ready": True, "workflows": ["Nightly"], "migrations": OLD}
    databases = migrated.machine.data["postgresql"]["databases"]
    assert databases["n8n"] == ["public.workflow"] and databases["new"] == ["public.t"]
    assert databases[BEFORE] == ["public.workflow", "public.later"]
    assert (result.restored, result.kept) == (CHECKPOINT, {"n8n": BEFORE})
    assert result.undo == "", "a version brings no data back"
    assert result.newer_data is None and migrated.engine.tags().verdicts.newer == ()
    assert result.data_kept == [
        f"n8n as it was before is kept as {BEFORE}.",
        "n8n's files as they were before are kept in /mnt/efs/n8n/binaryData_before_x.",
    ]
    version = migrated.state().versions[-1]
    assert version.status == "active" and version.provenance.data_of == CHECKPOINT and version.provenance.with_data
    record = migrated.records.records[-1]
    assert (record.kind, record.restored, record.success) == ("rollback", CHECKPOINT, True)
    assert record.checkpoint is not None and record.checkpoint["checkpoint"] == "v2/op-003"
    assert record.checkpoint["kept"] == {"n8n": BEFORE}
    assert migrated.machine.returning["state"] == "settled"

    [plan] = shown.plans
    found = plan.data_return
    assert found is not None and found.kept == {"n8n": BEFORE} and [held.name for held in found.left] == ["new"]
    assert found.replaced[0].now is not None and found.replaced[0].now.workflows == 2
    assert f"to checkpoint {CHECKPOINT}: what was written in the " in plan.data_notice
    assert "(1 of 2 workflows in n8n)" in plan.data_notice and f"n8n as {BEFORE}" in plan.data_notice
    [check] = [check for check in plan.checks if check.name == "n8n data"]
    assert check.status == "pass" and CHECKPOINT in check.detail
    # What follows is as after any rollback.
    assert migrated.update(instance_type="t3.xlarge").success
    assert migrated.machine.data["n8n"]["workflows"] == ["Nightly"]


def test_a_plain_rollback_leaves_the_data(migrated: World) -> None:
    shown = Shown()
    assert migrated.rollback(shown, to_version=1, allow_data_downgrade=True).success
    assert shown.plans[0].data_return is None and not migrated.machine.returning
    assert migrated.machine.data["n8n"]["workflows"] == ["Nightly", "Later"]


def test_what_is_only_looked_at_or_declined_changes_nothing(migrated: World) -> None:
    dry = migrated.rollback(to_version=1, with_data=True, dry_run=True)
    assert dry.dry_run and not migrated.machine.returning
    with pytest.raises(DeclinedError):
        migrated.rollback(lambda plan: False, to_version=1, with_data=True)
    is_as_before(migrated)


def test_a_version_that_does_not_become_healthy_ends_as_it_was(migrated: World) -> None:
    migrated.machine.broken.add(migrated.state().versions[0].config.services["n8n"].image.by_digest)
    result = migrated.rollback(to_version=1, with_data=True)
    assert (result.exit_code, result.version, result.restored) == (3, 4, "")
    is_as_before(migrated)
    assert migrated.machine.data["postgresql"]["databases"][FAILED] == ["public.workflow"]
    assert result.data_kept[0] == "The data of before is back in its place."
    assert f"is kept as {FAILED}" in result.data_kept[1]
    failed, back = migrated.records.records[-2:]
    assert (failed.success, failed.restored) == (False, "")
    assert back.checkpoint == {"kept": {"n8n": FAILED}, "put_back": CHECKPOINT}
    assert migrated.inspect().status == "healthy"


def test_one_that_falls_ill_after_its_gate_does_so_too(migrated: World) -> None:
    def fall_ill() -> None:
        migrated.machine.after_gate = lambda: None
        migrated.machine.broken.add(migrated.state().versions[0].config.services["n8n"].image.by_digest)

    migrated.machine.after_gate = fall_ill
    assert migrated.rollback(to_version=1, with_data=True).exit_code == 3
    is_as_before(migrated)


def test_what_cannot_be_loaded_changes_nothing(migrated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(step: str) -> None:
        raise HostError("The dump of n8n could not be loaded.", code="restore_failed")

    migrated.machine.on_step = fail
    with pytest.raises(GeusemakerError, match="could not be loaded") as caught:
        migrated.rollback(to_version=1, with_data=True)
    assert caught.value.exit_code == 1 and "v2 stays active" in caught.value.state
    is_as_before(migrated)
    assert not migrated.state().unsettled


@pytest.mark.parametrize("error", [Killed(), KeyboardInterrupt()], ids=["killed", "Ctrl-C"])
@pytest.mark.parametrize("place", ["up.infrastructure", "up.apply", "up.gate"])
def test_recover_gets_to_the_version_of_before_with_its_own_data(
    migrated: World, place: str, error: BaseException
) -> None:
    migrated.fail_at(place, error)
    with pytest.raises((Killed, InterruptedOperationError)):
        migrated.rollback(to_version=1, with_data=True)
    result = migrated.recover()
    assert result.success and migrated.state().active is not None
    is_as_before(migrated)
    assert (FAILED in migrated.machine.data["postgresql"]["databases"]) == (place == "up.gate")


@pytest.mark.parametrize("error", [Killed(), KeyboardInterrupt(), HostError("Out of sight.", code="unreachable")])
def test_stopped_anywhere_each_n8n_runs_on_its_own_data(migrated: World, error: BaseException) -> None:
    def act(world: World) -> Any:
        return world.rollback(to_version=1, with_data=True)

    calls = calls_of(migrated, act)
    assert len([call for call in calls if call.startswith("host.load#")]) == 1
    for call in calls:
        world = copy.deepcopy(migrated)
        world.fail_at(call, error)
        with suppress(Killed, KeyboardInterrupt, GeusemakerError):
            act(world)
        world.recover()
        for _ in range(2):
            older = "1.100.1@" in world.machine.services["n8n"]
            found = world.machine.data["n8n"]
            assert found["workflows"] == (["Nightly"] if older else ["Nightly", "Later"]), call
            assert found["migrations"] == (OLD if older else sorted([*OLD, *NEW])), call
            assert world.update(instance_type="t3.xlarge").success, call


def test_while_it_is_not_settled_nothing_else_goes_on_that_data(migrated: World) -> None:
    """It failed, and was not to go back by itself."""
    migrated.machine.broken.add(migrated.state().versions[0].config.services["n8n"].image.by_digest)
    assert migrated.rollback(to_version=1, with_data=True, auto_rollback=False).exit_code == 4
    assert migrated.machine.data["n8n"]["workflows"] == ["Nightly"]
    first = "geusemaker rollback prod v2"
    with pytest.raises(RefusedError, match=first):
        migrated.rollback(to_version=1, with_data=True, allow_unhealthy=True)
    with pytest.raises(ValidationFailedError, match=first):
        migrated.n8n("1.101.0", allow_data_downgrade=True)
    assert migrated.rollback(to_version=2).success
    is_as_before(migrated)
    assert not migrated.machine.returning


def test_what_the_history_calls_active_keeps_its_data(migrated: World) -> None:
    """Killed after all was done: nobody told the instance so."""
    call = migrated.call

    def killed(name: str) -> None:
        call(name)
        if name == "host.end":
            raise Killed

    migrated.call = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        migrated.rollback(to_version=1, with_data=True)
    migrated.call = call  # type: ignore[method-assign]
    migrated.recover()
    assert migrated.update(instance_type="t3.xlarge").success
    assert migrated.machine.data["n8n"]["workflows"] == ["Nightly"]


def test_data_that_is_missing_afterwards_is_loud(migrated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        migrated.machine.data["postgresql"]["databases"].pop("new")
        migrated.machine.data["postgresql"]["databases"]["n8n"].clear()

    migrated.machine.after_gate = lose
    result = migrated.rollback(to_version=1, with_data=True)
    assert result.exit_code == 4 and result.error_message is not None
    assert "postgresql lost database new" in result.error_message
    assert f"database n8n has 0 of 1 tables of {CHECKPOINT}" in result.error_message


# --- what is refused -----------------------------------------------------------------------------------------------


def refused(call: Callable[[], Any]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        call()
    assert caught.value.exit_code == 5
    return caught.value


def test_where_no_data_stands_in_the_way_a_plain_rollback_does_it(world: World) -> None:
    world.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.100.1"}, services=("n8n", "postgresql")))
    assert world.n8n("1.123.5").success  # which ran no migration
    error = refused(lambda: world.rollback(to_version=1, with_data=True))
    assert "No data stands in the way of v1: a plain rollback does it." in error.message
    assert error.next_step == "Run `geusemaker rollback prod v1`; the data stays as it is."
    assert world.rollback(to_version=1).success


def test_a_service_alone_goes_back_with_its_data(migrated: World) -> None:
    migrated.update(instance_type="t3.xlarge")
    kept = migrated.machine.checkpoints.pop(CHECKPOINT)
    error = refused(lambda: migrated.rollback(to_version=1, services=("n8n",), with_data=True))
    assert "`geusemaker rollback prod v1 --service n8n --allow-data-downgrade`" in error.next_step
    migrated.machine.checkpoints[CHECKPOINT] = kept
    assert migrated.rollback(to_version=1, services=("n8n",), with_data=True).restored == CHECKPOINT
    active = migrated.state().active
    assert active is not None and active.config.instance_type == "t3.xlarge"
    assert migrated.machine.data["n8n"]["workflows"] == ["Nightly"]


def test_an_older_qdrant_has_its_own_way(deployed: World) -> None:
    assert deployed.update(images={"qdrant": "qdrant/qdrant:v1.15.0"}).success
    error = refused(lambda: deployed.rollback(to_version=1, with_data=True))
    assert "With data goes n8n alone" in error.message and "--service qdrant`" in error.next_step


def test_without_a_checkpoint_that_fits_it_says_what_there_is_to_type(migrated: World) -> None:
    migrated.machine.checkpoints.clear()
    error = refused(lambda: migrated.rollback(to_version=1, with_data=True))
    assert "No checkpoint holds the data" in error.message
    assert "`geusemaker rollback prod v1 --allow-data-downgrade`" in error.next_step


def test_a_checkpoint_of_another_key_is_refused(migrated: World) -> None:
    migrated.machine.checkpoints[CHECKPOINT]["n8n_key"] = "one"
    migrated.machine.key_mark = "other"
    assert "another encryption key" in refused(lambda: migrated.rollback(to_version=1, with_data=True)).message
    migrated.machine.key_mark = ""  # not known
    assert migrated.rollback(to_version=1, with_data=True).success


def test_an_instance_that_cannot_be_asked_is_refused(migrated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert migrated.cloud.instance is not None
    migrated.cloud.instance = migrated.cloud.instance.model_copy(update={"state": "stopped"})
    assert "does not answer" in refused(lambda: migrated.rollback(to_version=1, with_data=True)).message


# --- the decisions, as tables --------------------------------------------------------------------------------------


def asked(*, version: int = 1, n8n: str = "1.100.1", services: tuple[str, ...] = ("n8n", "postgresql")) -> Asked:
    old = samples.config(n8n=n8n)
    old = old.model_copy(update={"services": {name: one for name, one in old.services.items() if name in services}})
    newer = ServiceConfig(image=ImageReference.parse(f"n8nio/n8n:1.123.5@sha256:{'1' * 64}"))
    new = samples.config()
    new = new.model_copy(update={"services": {**new.services, "n8n": newer}})
    state = samples.state(samples.version(1, config=old), samples.version(2, config=new))
    assert state.target is not None
    change = Change(kind="rollback", config=old, target=state.target, source_version=version, with_data=True)
    return Asked(change, ChangeOptions(), state)


def known(**fields: Any) -> DataFacts:
    then = frozenset({"First"})
    return replace(DataFacts(migrations=then | {"Second"}, migrations_then=then), **fields)


@pytest.mark.parametrize(
    ("copies", "chosen"),
    [
        (["F"], "v1/op-1"),
        (["F", "F"], "v1/op-2"),  # the newest: the least is lost
        (["F", "FS"], "v1/op-1"),  # migrated
        (["FS"], None),
        (["F", "?"], "v1/op-1"),  # which is not known
        (["F", "restore F"], "v1/op-1"),  # somebody wanted that data to go
        (["restore F"], "v1/op-1"),  # better than none
        ([], None),
    ],
)
def test_which_checkpoint_goes_back(copies: list[str], chosen: str | None) -> None:
    letters = {"F": "First", "S": "Second"}
    made = []
    for number, text in enumerate(copies, 1):
        names = text.rpartition(" ")[2]
        migrations = None if names == "?" else tuple(letters[one] for one in names)
        one = checkpoint(f"op-{number}", migrations, "postgresql")
        made.append(one.model_copy(update={"kind": "restore" if text.startswith("restore") else "update"}))
    found = data_return.choose(asked(), known(checkpoints=made))
    assert (found.checkpoint if found is not None else None) == chosen


@pytest.mark.parametrize(
    ("services", "fields", "says"),
    [
        (("n8n", "postgresql"), {"migrations": None}, "is not on record"),
        (("n8n", "postgresql"), {"migrations_then": None}, "is not on record"),
        (("n8n", "postgresql"), {"migrations": frozenset({"First"})}, "a plain rollback does it"),
        (("postgresql",), {}, "a plain rollback does it"),
    ],
)
def test_where_it_is_not_n8n_s_data_that_stands_in_the_way(
    services: tuple[str, ...], fields: dict[str, Any], says: str
) -> None:
    error = refused(lambda: data_return.choose(asked(services=services), known(**fields)))
    assert says in error.message and "`geusemaker rollback prod v1`" in error.next_step


def test_what_cannot_be_counted_is_refused(world: World, migrated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(services: list[str]) -> dict[str, Any]:
        raise HostError("PostgreSQL does not run, so its data cannot be read.", code="not_running")

    monkeypatch.setattr(migrated.machine, "holds", broken)
    error = refused(lambda: migrated.rollback(to_version=1, with_data=True, checkpoint=False))
    assert "What is there now cannot be looked at: PostgreSQL does not run" in error.message


def test_only_what_ran_on_the_data_of_before_may_come_while_it_is_open() -> None:
    on = asked()
    assert data_return.check_open(on, known()) is None
    assert data_return.check_open(on, known(data_return="op-2")) is None, "that version is active"
    wrong = data_return.check_open(on, known(data_return="op-9"))
    assert wrong is not None and wrong.status == "fail" and "first `geusemaker rollback prod v2`" in wrong.detail
    same = on.but(config=on.state.versions[-1].config)
    assert data_return.check_open(same, known(data_return="op-9")) is None
    assert data_return.check_open(same, known(data_return="op-9"), any_version=True) is not None
    nobody = replace(on, state=samples.state())
    assert data_return.check_open(nobody, known(data_return="op-9")) is None
    without = asked(services=("postgresql",))
    assert data_return.check_open(without, known(data_return="op-9")) is not None


def returned(**fields: Any) -> DataReturn:
    then = Held(service="postgresql", name="n8n", tables=2, rows=5, workflows=1)
    found = DataReturn(
        checkpoint="v1/op-1",
        taken_at=samples.NIGHT,
        service="n8n",
        services=("postgresql",),
        replaced=(Replacement(then=then, now=then), Replacement(then=then.model_copy(update={"name": "b"}), now=None)),
    )
    return found.model_copy(update=fields)


def test_the_names_of_what_is_kept_are_known_before() -> None:
    named = data_return.named(returned(), "op-20260802120000-0a1b2c")
    assert named is not None and named.kept == {"n8n": "n8n_before_20260802120000_0a1b2c"}
    assert data_return.named(None, "op-1") is None


@pytest.mark.parametrize(
    ("now", "databases", "lacks"),
    [
        ({"n8n": (2, 1), "b": (2, 1)}, ["n8n", "b", "old"], []),
        ({"n8n": (3, 4), "b": (2, 1)}, ["n8n", "b", "old"], []),
        ({"n8n": (2, 1), "b": (2, 1)}, ["n8n", "b"], ["database n8n is not kept as old"]),
        ({"n8n": (2, 1)}, ["n8n", "old"], ["database b of v1/op-1 is not there"]),
        ({"n8n": (1, 0), "b": (2, 1)}, ["old"], ["database n8n has 1 of 2 tables and 0 of 1 workflows of v1/op-1"]),
    ],
)
def test_what_must_be_there_afterwards(now: dict[str, tuple[int, int]], databases: list[str], lacks: list[str]) -> None:
    holds = [
        Held(service="postgresql", name=name, tables=tables, rows=0, workflows=workflows)
        for name, (tables, workflows) in now.items()
    ]
    found = returned(kept={"n8n": "old"})
    assert data_return.lacking(found, DataNow(holds=tuple(holds)), databases) == lacks


def test_what_made_way_is_no_loss() -> None:
    databases = {"n8n": ["a"], "b": ["a"], "later": ["a"], "n8n_before_1": ["a"]}
    before = {"sentinel": {}, "services": {"n8n": {"workflows": ["w"]}, "postgresql": {"databases": databases}}}
    assert data_return.comparable(None, returned(), Applied()) is None
    assert data_return.comparable(before, None, Applied()) == before
    left = data_return.comparable(before, returned(), Applied())
    assert left is not None and left["sentinel"] == {} and "n8n" not in left["services"]
    assert set(left["services"]["postgresql"]["databases"]) == {"later", "n8n_before_1"}
    back = Applied(put_back="v1/op-1", put_there_by="op-1", kept={"n8n": "n8n_failed_1"})
    left = data_return.comparable(before, None, back)
    assert left is not None and set(left["services"]["postgresql"]["databases"]) == {"b", "later"}
    unread = {"services": {"postgresql": {"databases": None}}}
    assert data_return.comparable(unread, returned(), Applied()) == unread
    assert data_return.comparable({}, returned(), Applied()) == {"services": {}}


def test_the_databases_there_are() -> None:
    assert data_return.all_databases({"services": {"postgresql": {"databases": {"a": [], "b": None}}}}) == ["a", "b"]
    assert data_return.all_databases({"services": {"postgresql": {"databases": None}}}) == []
    assert data_return.all_databases(None) == []


def test_what_is_kept_is_on_record() -> None:
    assert with_kept({"checkpoint": "v1/op-1"}, Applied()) == {"checkpoint": "v1/op-1"}
    assert with_kept(None, Applied()) is None
    applied = Applied(kept={"n8n": "old"}, set_aside=["n8n/f"], put_back="v1/op-1")
    told = {"kept": {"n8n": "old"}, "set_aside": ["n8n/f"], "put_back": "v1/op-1"}
    assert with_kept({"checkpoint": "c"}, applied) == {"checkpoint": "c", **told}


def test_the_words() -> None:
    plan = Plan(deployment="prod", kind="rollback", operation_id="op-1", number=2, config=samples.config())
    assert kept(plan, Applied()) == []
    put_back = Applied(put_back="v1/op-1", kept={"n8n": "n8n_failed"}, set_aside=["n8n/storage_failed"])
    assert kept(plan, put_back) == [
        "The data of before is back in its place.",
        "n8n as v1/op-1 had it, for a version that failed, is kept as n8n_failed.",
        "n8n's files of it are kept in /mnt/efs/n8n/storage_failed.",
    ]
    assert [spoken_time(one) for one in (5, 119, 120, 7200, 3 * 86_400)] == [
        "5 seconds",
        "119 seconds",
        "2 minutes",
        "2 hours",
        "3 days",
    ]
