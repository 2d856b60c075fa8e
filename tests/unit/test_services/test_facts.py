"""What is known of the data, and what a change does with it: refusals, checkpoints, records."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import HostError, ValidationFailedError
from geusemaker.services.facts import recorded_migrations
from tests.unit.fakes import OLD_IMAGES, Shown, World

POSTGRESQL = "postgresql"


@pytest.fixture
def two(deployed: World) -> World:
    """v1 with n8n 1.100.1, v2 with n8n 1.101.0."""
    assert deployed.n8n("1.101.0").success
    return deployed


def migrate(world: World, *names: str) -> None:
    world.machine.data["n8n"]["migrations"] += names


def test_another_postgresql_major_is_refused_before_anything_is_changed(deployed: World) -> None:
    running = dict(deployed.machine.services)
    with pytest.raises(ValidationFailedError, match="data is of PostgreSQL 16") as refused:
        deployed.update(images={POSTGRESQL: "postgres:17.5"}, allow_data_downgrade=True)
    assert refused.value.exit_code == 5 and "v1 stays active" in refused.value.state
    assert deployed.machine.services == running and "host.begin" not in deployed.calls


def test_without_an_instance_the_history_decides(deployed: World) -> None:
    assert deployed.destroy().success
    from geusemaker.models.request import DeployRequest

    with pytest.raises(ValidationFailedError, match="data is of PostgreSQL 16"):
        deployed.deploy(DeployRequest(images={POSTGRESQL: "postgres:17.5"}))
    assert deployed.deploy().success


def test_a_change_of_other_images_does_not_ask_what_the_data_is(deployed: World) -> None:
    deployed.update(images={"ollama": "ollama/ollama:0.9.7"}, dry_run=True)
    assert "host.manifest" not in deployed.calls


def test_back_over_migrations_needs_its_flag(two: World) -> None:
    migrate(two, "Folders2")
    with pytest.raises(
        ValidationFailedError,
        match=r"Folders2.*--allow-data-downgrade, then run `geusemaker restore prod --checkpoint v1/op-002`",
    ):
        two.rollback()
    with pytest.raises(ValidationFailedError, match="Folders2"):
        two.n8n("1.100.1")
    shown = Shown()
    assert two.rollback(shown, allow_data_downgrade=True).success
    assert [check.status for check in shown.plans[0].checks if check.name == "n8n data"] == ["warn"]
    # That it was healthy on that data says nothing of its logins: to come back to it once more is asked about again.
    assert two.n8n("1.101.0").success
    with pytest.raises(ValidationFailedError, match="Folders2"):
        two.rollback(to_version=3)


def test_a_return_by_itself_asks_nobody(two: World) -> None:
    two.machine.after_apply = lambda: migrate(two, "Folders2")
    result = two.n8n("1.102.0-crash")
    assert (result.exit_code, result.rolled_back_to, result.version) == (4, 2, 4)
    assert result.newer_data is not None and result.newer_data.migrations == ["Folders2"]


def test_a_machine_without_the_journal_reads_the_copy_beside_the_data(two: World) -> None:
    migrate(two, "Folders2")
    two.records.records.clear()
    with pytest.raises(ValidationFailedError, match="Folders2"):
        two.rollback()


@pytest.mark.parametrize("lost", ["records", "journal verb", "manifest verb"])
def test_what_is_not_known_is_a_warning(two: World, lost: str) -> None:
    migrate(two, "Folders2")
    two.records.records.clear()
    if lost == "records":
        two.machine.journal.clear()
    elif lost == "journal verb":
        two.host_failures["journal"] = HostError("broken", code="efs_failed")
    else:
        two.host_failures["manifest"] = HostError("broken", code="efs_hung")
    shown = Shown()
    two.rollback(shown, dry_run=True)
    plan = next(event.plan for event in two.events if event.plan is not None)
    assert [check.status for check in plan.checks if check.name == "n8n data"] == ["warn"]


def test_an_agents_record_that_cannot_be_read_is_passed_over(two: World) -> None:
    two.machine.served = {"qdrant": {"image": "NOT AN IMAGE"}, "n8n": {}, "postgresql": None}
    assert two.rollback().success


def test_n8n_that_joins_is_judged_by_nothing(deployed: World) -> None:
    assert deployed.update(without=("n8n",)).success
    assert deployed.update(services=("n8n",)).success


@pytest.mark.parametrize("manifest", [None, {}, {"services": None}, {"services": {"n8n": {"migrations": None}}}])
def test_a_manifest_may_know_no_migrations(manifest: dict[str, object] | None) -> None:
    assert recorded_migrations(manifest) is None


def test_going_back_over_a_minor_of_qdrant_names_the_checkpoint(deployed: World) -> None:
    deployed.update(images={"qdrant": "qdrant/qdrant:v1.15.0"})
    deployed.machine.checkpoints["v1/op-002"]["versions"] = {"qdrant": "1.14.1"}
    with pytest.raises(ValidationFailedError, match="geusemaker restore prod --checkpoint v1/op-002 --service qdrant"):
        deployed.rollback()
    assert "host.begin" not in deployed.calls
    deployed.host_failures["checkpoints"] = HostError("broken", code="efs_hung")
    with pytest.raises(ValidationFailedError, match=r"No checkpoint has snapshots of 1\.14"):
        deployed.rollback()
    del deployed.host_failures["checkpoints"]
    assert deployed.rollback(allow_data_downgrade=True).success
    assert list(deployed.machine.checkpoints) == ["v1/op-002", "v2/op-005"]


def test_no_flag_skips_a_minor_of_qdrant(deployed: World) -> None:
    with pytest.raises(ValidationFailedError, match="leaves out a minor version"):
        deployed.update(images={"qdrant": "qdrant/qdrant:v1.16.0"}, allow_data_downgrade=True)


# checkpoints


def test_a_checkpoint_comes_after_the_prefetch_and_before_anything_stops(deployed: World) -> None:
    shown = Shown()
    deployed.update(shown, images={"n8n": "n8nio/n8n:1.101.0"}, instance_type="t3.xlarge")
    order = [call for call in deployed.calls if call in ("host.prefetch", "host.checkpoint", "engine.up", "host.hold")]
    assert order == ["host.prefetch", "host.checkpoint", "engine.up", "host.hold"]
    record = deployed.records.records[-1]
    assert deployed.machine.copied() == {f"v1/{record.operation_id}": ["postgresql"]}
    assert record.checkpoint is not None and record.checkpoint["checkpoint"] == f"v1/{record.operation_id}"
    told = shown.plans[0].data_notice
    assert "PostgreSQL is dumped to /mnt/efs/.geusemaker/checkpoints/v1; going back never restores that, " in told
    assert "`geusemaker restore prod --checkpoint v1` does" in told
    assert record.operation_id not in told, "it is there only if somebody says yes"


@pytest.mark.parametrize(
    ("images", "services", "words"),
    [
        ({"qdrant": "qdrant/qdrant:v1.14.9"}, ["qdrant"], "Qdrant's collections are snapshotted"),
        (
            {"qdrant": "qdrant/qdrant:v1.14.9", "postgresql": "postgres:16.10"},
            ["postgresql", "qdrant"],
            "PostgreSQL is dumped and Qdrant's collections are snapshotted",
        ),
    ],
)
def test_what_gets_other_software_is_copied_first(
    deployed: World, images: dict[str, str], services: list[str], words: str
) -> None:
    shown = Shown()
    deployed.update(shown, images=images)
    assert list(deployed.machine.copied().values()) == [services]
    assert words in shown.plans[0].data_notice


@pytest.mark.parametrize(
    "change",
    [
        {"images": {"ollama": "ollama/ollama:0.9.7"}},
        {"without": ("n8n",)},
        {"instance_type": "t3.xlarge"},
        {"images": {"n8n": "n8nio/n8n:1.101.0"}, "checkpoint": False, "no_way_back": True},
        {"images": {"qdrant": "qdrant/qdrant:v1.14.9"}, "checkpoint": False},
        {"without": ("qdrant",)},
    ],
)
def test_a_change_that_puts_no_other_software_on_data_takes_none(deployed: World, change: dict[str, Any]) -> None:
    shown = Shown()
    assert deployed.update(shown, **change).success
    assert deployed.machine.checkpoints == {} and "Before anything stops" not in shown.plans[0].data_notice
    assert deployed.records.records[-1].checkpoint is None


def test_without_postgresql_before_there_is_nothing_to_copy(world: World) -> None:
    from geusemaker.models.request import DeployRequest

    world.deploy(DeployRequest(services=("qdrant",)))
    assert world.update(services=("postgresql", "n8n"), images={"postgresql": OLD_IMAGES["postgresql"]}).success
    assert world.machine.checkpoints == {}


def test_a_checkpoint_that_fails_changes_nothing(deployed: World) -> None:
    running = dict(deployed.machine.services)
    deployed.host_failures["checkpoint"] = HostError("pg_dump of n8n failed: x", code="checkpoint_failed")
    with pytest.raises(HostError, match="pg_dump") as failed:
        deployed.n8n("1.101.0")
    assert failed.value.exit_code == 1 and "v1 stays active" in failed.value.state
    assert "--no-checkpoint" in failed.value.next_step
    assert deployed.machine.services == running and "engine.up" not in deployed.calls
    del deployed.host_failures["checkpoint"]
    assert deployed.n8n("1.101.0").success


def test_a_return_by_itself_takes_none(deployed: World) -> None:
    deployed.n8n("1.101.0-crash")
    assert list(deployed.machine.checkpoints) == ["v1/op-002"]


def test_after_a_failure_a_copy_is_tried_and_not_insisted_on(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    deployed.machine.ill.add("postgresql")
    deployed.machine.after_apply = lambda: deployed.machine.ill.clear()
    assert deployed.rollback().success
    assert any("no checkpoint" in message for message in deployed.messages("warning"))
