"""Older n8n on data that a newer one has migrated: told as what it is, recorded, and repaired by what it names."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from geusemaker.models.checkpoint import Checkpoint, Held
from geusemaker.models.history import Verdicts
from geusemaker.models.image import ImageReference
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.services.newer_data import holding, newer_data, restore_command, tried_since
from tests.unit.fakes import World
from tests.unit.samples import NIGHT, config, failed, state, version

OLD, NEW = ["Initial1"], ["Folders2", "Roles3"]


def n8n(tag: str, repository: str = "n8nio/n8n") -> ImageReference:
    return ImageReference.parse(f"{repository}:{tag}")


@pytest.fixture
def crossing(world: World) -> World:
    """n8n 1.100.1 runs; 1.123.5 would migrate its data, and so does 2.41.1."""
    world.machine.migrates = {tag: NEW for tag in ("1.123.5", "1.123.5-crash", "2.41.1", "2.41.1-crash")}
    world.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.100.1"}, services=("n8n", "postgresql")))
    return world


# --- an automatic return ------------------------------------------------------------------------------------------


def test_a_return_across_migrations_is_no_good_end(crossing: World) -> None:
    result = crossing.n8n("1.123.5-crash")

    assert result.exit_code == 4 and not result.success and result.rolled_back_to == 1 and result.version == 3
    assert result.error_message is not None
    assert "v1 is back, but n8nio/n8n:1.100.1 runs on data that a newer n8n has migrated" in result.error_message
    assert "2 migrations" in result.error_message and "logins and executions may fail" in result.error_message
    found = result.newer_data
    assert found is not None and found.migrations == NEW and not found.known_to_work
    assert found.checkpoint == "v1/op-002", "the one that this operation took"
    assert found.restore == "geusemaker restore prod --checkpoint v1/op-002" and found.restore in result.next_step
    assert not crossing.state().unsettled, "it runs, and is on record as what it is"


def test_it_is_recorded_and_no_automatic_target(crossing: World) -> None:
    crossing.n8n("1.123.5-crash")

    versions = {one.number: one for one in crossing.state().versions}
    assert crossing.engine.tags().verdicts == Verdicts(failed=(2,), newer=(3,))
    assert versions[3].newer_data_as == versions[1].newer_data_as == 3, (
        "the config is on newer data, whatever its number"
    )
    assert versions[3].status == "active"


def test_the_restore_that_it_names_repairs_it(crossing: World) -> None:
    result = crossing.n8n("1.123.5-crash")
    assert result.newer_data is not None
    words = shlex.split(result.newer_data.restore)
    assert words[:4] == ["geusemaker", "restore", "prod", "--checkpoint"]

    assert crossing.restore(checkpoint=words[4]).success

    assert crossing.machine.data["n8n"]["migrations"] == OLD
    assert crossing.engine.tags().verdicts.newer == ()
    assert all(one.newer_data_as is None for one in crossing.state().versions)
    again = crossing.update(instance_type="t3.xlarge")
    assert again.success and again.newer_data is None


def test_what_is_known_to_work_is_a_good_end(world: World) -> None:
    world.machine.migrates = {"2.41.1-crash": NEW}
    world.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.123.5"}, services=("n8n", "postgresql")))

    result = world.n8n("2.41.1-crash")

    assert result.exit_code == 3 and result.newer_data is not None and result.newer_data.known_to_work
    assert "known to work" in result.warnings[-1] and "v1/op-002" in result.warnings[-1]
    assert world.engine.tags().verdicts.newer == () and world.state().active is not None


def test_a_return_that_crosses_no_migration_is_what_it_was(crossing: World) -> None:
    result = crossing.n8n("1.101.0-crash")
    assert result.exit_code == 3 and result.newer_data is None and not result.warnings
    assert crossing.engine.tags().verdicts.newer == ()


def test_records_that_know_too_little_are_not_held_against_what_ran_minutes_ago(crossing: World) -> None:
    """Records of before were read while n8n still migrated."""
    crossing.machine.data["n8n"]["migrations"] = [*OLD, "Late2"]
    result = crossing.n8n("1.101.0-crash")
    assert result.exit_code == 3 and result.newer_data is None


def test_an_engine_killed_after_it_migrated_is_no_good_end_either(
    crossing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version of the history tells of the newer n8n then."""
    crossing.engine.outcomes.append("deadline-kill")
    call = crossing.call

    def migrate(name: str) -> None:
        if name == "up.apply" and crossing.engine.numbers == [1, 2]:
            crossing.machine.data["n8n"]["migrations"] = [*OLD, *NEW]
        call(name)

    monkeypatch.setattr(crossing, "call", migrate)
    result = crossing.n8n("1.123.5")
    assert result.exit_code == 4 and result.rolled_back_to == 1
    assert result.newer_data is not None and result.newer_data.migrations == NEW


def test_without_a_checkpoint_it_says_so(crossing: World) -> None:
    result = crossing.n8n("1.123.5-crash", checkpoint=False, no_way_back=True)
    assert result.exit_code == 4 and result.newer_data is not None and result.newer_data.restore == ""
    assert "No checkpoint holds the data" in (result.error_message or "")
    assert "`geusemaker checkpoints prod`" in result.next_step


# --- a manual one -------------------------------------------------------------------------------------------------


def test_a_rollback_with_consent_ends_well_and_says_it(crossing: World) -> None:
    crossing.n8n("1.123.5")

    result = crossing.rollback(allow_data_downgrade=True)

    assert result.success and result.exit_code == 0 and result.newer_data is not None
    assert "geusemaker restore prod --checkpoint v1/op-002" in result.next_step
    assert "logins and executions may fail" in result.warnings[0]
    assert crossing.engine.tags().verdicts.newer == (3,)
    assert any("logins" in message for message in crossing.messages("warning"))


def test_a_rollback_without_consent_is_refused_with_the_way_that_works(crossing: World) -> None:
    crossing.n8n("1.123.5")
    dry = crossing.rollback(allow_data_downgrade=True, dry_run=True)
    [check] = [check for check in dry.checks if check.name == "n8n data"]
    assert "--allow-data-downgrade, then run `geusemaker restore prod --checkpoint v1/op-002`" in check.detail
    assert "db:revert" not in check.detail


def test_the_version_on_newer_data_is_not_gone_to_by_itself(crossing: World) -> None:
    crossing.n8n("1.99.0", allow_data_downgrade=True)
    crossing.n8n("1.123.5", allow_data_downgrade=True)
    assert crossing.rollback(to_version=1, allow_data_downgrade=True).success
    result = crossing.update(images={"postgresql": "postgres:16.10-crash"})

    assert result.exit_code == 4 and result.rolled_back_to is None, "v1's config is on newer data, and nothing is older"
    assert "on data that newer software had migrated" in result.next_step


def test_what_follows_on_newer_data_stays_on_it(crossing: World) -> None:
    crossing.n8n("1.123.5")
    crossing.rollback(allow_data_downgrade=True)
    resized = crossing.update(instance_type="t3.xlarge")
    assert resized.success and crossing.engine.tags().verdicts.newer == (3, 4)
    forward = crossing.n8n("1.123.5")
    assert forward.success and crossing.engine.tags().verdicts.newer == (3, 4)


def test_a_recovery_across_migrations_is_no_repair(crossing: World) -> None:
    crossing.n8n("1.123.5-crash", auto_rollback=False)
    result = crossing.recover()
    assert result.exit_code == 4 and result.newer_data is not None and "v1/op-002" in result.next_step
    assert not crossing.state().unsettled


# --- the pure parts -----------------------------------------------------------------------------------------------


def with_n8n(image: ImageReference) -> StackConfig:
    whole = config()
    return whole.model_copy(update={"services": {**whole.services, "n8n": ServiceConfig(image=image)}})


def test_any_that_was_tried_since_may_have_migrated() -> None:
    a, b, c = (n8n(f"1.{which}.0@sha256:{str(which) * 64}") for which in (1, 2, 3))
    history = state(
        version(1, config=with_n8n(c)),
        version(2, config=with_n8n(a)),
        failed(3, config=with_n8n(b)),
        version(4, config=with_n8n(a), newer_data=True),
    )
    assert tried_since(history, a) == (b,), "not what ran before it"
    assert tried_since(history, b) == (c,), "not what is older"
    odd = n8n(f"latest@sha256:{'4' * 64}")
    assert tried_since(history, odd) == (a, b, c), "of which it cannot be told"
    alone = config().model_copy(update={"services": {"postgresql": config().services["postgresql"]}})
    assert tried_since(state(version(1, config=alone)), a) == ()


def checkpoint(operation: str, migrations: tuple[str, ...] | None, *services: str) -> Checkpoint:
    return Checkpoint(
        checkpoint=f"v1/{operation}",
        version=1,
        operation=operation,
        kind="update",
        taken_at=NIGHT + timedelta(minutes=int(operation[-1])),
        migrations=migrations,
        holds=tuple(Held(service=service, name="x") for service in services),
    )


def test_the_newest_checkpoint_from_before_holds_the_data() -> None:
    before, both = checkpoint("op-1", ("A",), "postgresql"), checkpoint("op-2", ("A",), "postgresql", "qdrant")
    after, other = checkpoint("op-3", ("A", "B"), "postgresql"), checkpoint("op-4", None, "qdrant")
    assert holding([before, both, after, other], {"A"}) == both
    assert holding([after, other], {"A"}) is None
    assert restore_command("prod", before) == "geusemaker restore prod --checkpoint v1/op-1"
    assert restore_command("prod", both).endswith("v1/op-2 --service postgresql"), "Qdrant's data is no part of it"
    assert restore_command("prod", None) == ""


def test_the_words() -> None:
    assert "one migration that" in newer_data("prod", n8n("1.1.0"), ["B"], False, None).message
