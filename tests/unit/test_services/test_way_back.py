"""The way back that a plan foretells: a table of steps, and that a plain one is never stopped by the data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.catalog import JUDGED, MIGRATED
from geusemaker.catalog.rules import DataFacts
from geusemaker.errors import RefusedError, ValidationFailedError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService, OwnVolume
from geusemaker.models.plan import Plan
from geusemaker.models.request import ChangeOptions, DeployRequest
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import WayBack
from geusemaker.services.compatibility import compatibility_checks
from geusemaker.services.differences import migrated_services
from geusemaker.services.way_back import require_way_back, way_back
from tests.unit import samples
from tests.unit.fakes import Shown, World

IMAGES = {"n8n": "n8nio/n8n", "postgresql": "postgres", "qdrant": "qdrant/qdrant", "ollama": "ollama/ollama"}


def config(**tags: str) -> StackConfig:
    services = {name: ServiceConfig(image=ImageReference.parse(f"{IMAGES[name]}:{tag}")) for name, tag in tags.items()}
    if "n8n" in services and "postgresql" not in services:
        services["postgresql"] = ServiceConfig(image=ImageReference.parse("postgres:16.9"))
    return StackConfig(services=services)


def found(before: StackConfig, after: StackConfig, *, copies: bool = True, **more: Any) -> WayBack | None:
    plan, state = planned(before, after, copies=copies)
    return way_back(plan, state, **more)


def planned(before: StackConfig, after: StackConfig, *, copies: bool = True) -> tuple[Plan, DeploymentState]:
    state = samples.state(samples.version(6, config=before))
    services = migrated_services(before, after) if copies else ()
    plan = Plan(
        deployment="prod",
        kind="update",
        operation_id="op-7",
        number=7,
        active_version=6,
        config=after,
        checkpoint_of=6 if services else None,
        checkpoint_services=services,
    )
    return plan, state


TABLE = [
    ({"n8n": "1.100.1"}, {"n8n": "1.101.0"}, "with-data"),
    ({"n8n": "1.100.1"}, {"n8n": "2.41.1"}, "with-data"),
    ({"n8n": "1.123.5"}, {"n8n": "2.41.1"}, "rollback"),  # seen to work on it: catalog/n8n.py
    ({"n8n": "1.100.1"}, {"n8n": "1.100.2"}, "unknown"),
    ({"n8n": "1.100.1"}, {"n8n": "1.100.1-debian"}, "rollback"),
    ({"n8n": "2.41.1"}, {"n8n": "1.123.5"}, "rollback"),
    ({"n8n": "1.100.1"}, {"n8n": "latest"}, "unknown"),
    ({"n8n": "nightly"}, {"n8n": "1.100.1"}, "unknown"),
    ({"qdrant": "v1.13.4"}, {"qdrant": "v1.14.1"}, "with-data"),
    ({"qdrant": "v1.14.0"}, {"qdrant": "v1.14.1"}, "rollback"),
    ({"qdrant": "v1.14.1"}, {"qdrant": "v1.13.4"}, "rollback"),
    ({"qdrant": "v1.14.1"}, {"qdrant": "v1.12.0"}, "none"),  # forward it goes a minor version at a time
    ({"qdrant": "v1.14.1"}, {"qdrant": "dev"}, "unknown"),
    ({"postgresql": "16.9"}, {"postgresql": "16.10"}, "rollback"),
    ({"postgresql": "16.9"}, {"postgresql": "latest"}, "rollback"),  # its data says of which major version it is
    ({"ollama": "0.5.0"}, {"ollama": "0.9.0"}, "rollback"),
    ({"n8n": "1.100.1"}, {"n8n": "1.100.1", "ollama": "0.9.0"}, "rollback"),
    ({"n8n": "1.100.1", "qdrant": "v1.13.4"}, {"n8n": "1.100.2", "qdrant": "v1.14.1"}, "unknown"),
    ({"n8n": "1.100.1", "qdrant": "v1.14.1"}, {"n8n": "1.101.0", "qdrant": "v1.12.0"}, "none"),
]


@pytest.mark.parametrize(("before", "after", "kind"), TABLE)
def test_each_step_has_its_way_back(before: dict[str, str], after: dict[str, str], kind: str) -> None:
    way = found(config(**before), config(**after))
    assert way is not None and way.kind == kind, way
    assert way.to_version == 6
    assert bool(way.commands) is (kind != "none")
    assert bool(way.because) or kind == "rollback"


def test_a_plain_way_back_is_one_command() -> None:
    way = found(config(qdrant="v1.14.0"), config(qdrant="v1.14.1"))
    assert way is not None and way.told(7) == "v7 → v6: `geusemaker rollback prod v6`"


def test_what_is_known_of_a_plain_way_back_is_said() -> None:
    way = found(config(n8n="1.123.5"), config(n8n="2.41.1"))
    assert way is not None and "n8n 1.123.5: " in way.told(7) and "it is known to work on them" in way.told(7)


def test_with_the_data_it_is_one_command_but_for_collections() -> None:
    way = found(config(n8n="1.100.1", qdrant="v1.14.0"), config(n8n="1.101.0", qdrant="v1.14.1"))
    assert way is not None
    assert way.commands == ("geusemaker rollback prod v6 --with-data",)
    assert "n8n 1.101.0 migrates its database; what is written after this change is not in that copy" in way.told(7)
    both = found(config(n8n="1.100.1", qdrant="v1.13.4"), config(n8n="1.101.0", qdrant="v1.14.1"))
    assert both is not None and both.commands == (
        "geusemaker rollback prod v6 --with-data --allow-data-downgrade",
        "geusemaker restore prod --checkpoint v6/op-7 --service qdrant",
    )
    collections = found(config(qdrant="v1.13.4"), config(qdrant="v1.14.1"))
    assert collections is not None and collections.commands == (
        "geusemaker rollback prod v6 --allow-data-downgrade",
        "geusemaker restore prod --checkpoint v6/op-7",
    )


def test_without_a_copy_there_is_no_way_back_with_the_data() -> None:
    way = found(config(n8n="1.100.1"), config(n8n="1.101.0"), copies=False)
    assert way is not None
    expected = (
        "v7 → v6: none, because n8n 1.101.0 migrates its database, and no copy of the data of postgresql is taken"
    )
    assert way.told(7) == f"{expected} first"


def test_the_same_software_once_more_has_its_copy_from_the_attempt_before() -> None:
    """It asks for no flag: to refuse what repairs would be no help."""
    plan, state = planned(config(n8n="1.100.1"), config(n8n="1.101.0"), copies=False)
    way = way_back(plan, state.model_copy(update={"last_failed": True}))
    assert way is not None and way.kind == "unknown"
    assert "what an earlier attempt left may be all there is of postgresql" in way.because[0]


def test_what_turned_out_counts_more_than_what_was_foreseen() -> None:
    before, minor, patch = config(n8n="1.100.1"), config(n8n="1.101.0"), config(n8n="1.100.2")
    kinds = {
        (name, migrated): way.kind
        for name, after in (("minor", minor), ("patch", patch))
        for migrated in (True, False)
        if (way := found(before, after, migrated=migrated)) is not None
    }
    assert kinds == {
        ("minor", True): "with-data",
        ("minor", False): "rollback",
        ("patch", True): "with-data",
        ("patch", False): "rollback",
    }


def test_a_service_of_one_s_own_that_keeps_data_is_unknown() -> None:
    def own(tag: str, volumes: tuple[OwnVolume, ...] = ()) -> StackConfig:
        image = ImageReference.parse(f"mariadb:{tag}")
        return StackConfig(services={"mariadb": ServiceConfig(image=image, own=OwnService(volumes=volumes))})

    data = (OwnVolume(folder="data", path="/var/lib/mysql"),)
    kept = found(own("11.0", data), own("11.1", data))
    assert kept is not None and kept.kind == "unknown" and "mariadb is a service of your own" in kept.because[0]
    keeps_nothing = found(own("11.0"), own("11.1"))
    assert keeps_nothing is not None and keeps_nothing.kind == "rollback"


def test_the_commands_have_the_flags_that_they_need() -> None:
    before = config(qdrant="v1.14.0").model_copy(update={"ami": "ami-1"})
    other = config(qdrant="v1.14.1").model_copy(update={"ami": "ami-2"})
    way = found(before, other)
    assert way is not None and way.commands == ("geusemaker rollback prod v6 --allow-replace",)
    plan, _ = planned(before, other)
    bad = way_back(plan, samples.state(samples.version(6, config=before, bad=True)))
    assert bad is not None and bad.commands == ("geusemaker rollback prod v6 --allow-bad --allow-replace",)


def test_where_nothing_is_left_there_is_nothing_to_go_back_to() -> None:
    same = config(qdrant="v1.14.0")
    assert found(same, same) is None
    plan, _ = planned(same, config(qdrant="v1.14.1"))
    assert way_back(plan, samples.state()) is None
    assert way_back(plan.model_copy(update={"kind": "destroy"}), samples.state(samples.version(6))) is None


class TestWithout:
    PLAN = planned(config(n8n="1.100.1"), config(n8n="1.101.0"), copies=False)[0].model_copy(
        update={"way_back": WayBack(to_version=6, kind="none", because=("n8n 1.101.0 migrates its database",))}
    )

    def test_an_update_without_one_is_refused_with_what_to_type(self) -> None:
        with pytest.raises(RefusedError) as refused:
            require_way_back(self.PLAN, ChangeOptions(), "Nothing was changed; v6 stays active.")
        assert "no way back to v6: n8n 1.101.0 migrates its database." in str(refused.value)
        assert refused.value.next_step == ("If that is what you want, run the same command again with --no-way-back.")
        with pytest.raises(RefusedError) as refused:
            require_way_back(self.PLAN, ChangeOptions(checkpoint=False), "")
        assert refused.value.next_step.startswith("Without --no-checkpoint the data is copied")

    @pytest.mark.parametrize(
        ("options", "changes"),
        [
            ({"no_way_back": True}, {}),
            ({}, {"kind": "rollback"}),
            ({}, {"trigger": "health_check_failed"}),
            ({}, {"way_back": None}),
            ({}, {"way_back": WayBack(to_version=6, kind="unknown")}),
        ],
    )
    def test_everything_else_goes_on(self, options: dict[str, Any], changes: dict[str, Any]) -> None:
        plan = self.PLAN.model_copy(update=changes)
        require_way_back(plan, ChangeOptions(**options), "")
        assert plan.deployment == "prod"


N8N = st.sampled_from(["1.100.1", "1.100.2", "1.101.0", "1.123.5", "2.41.1", "2.41.1-debian", "latest"])
QDRANT = st.sampled_from(["v1.12.0", "v1.13.4", "v1.14.0", "v1.14.1", "v2.0.0", "dev"])
POSTGRES = st.sampled_from(["16.9", "16.10", "16.9-alpine", "16.9-bookworm"])


@given(st.tuples(N8N, QDRANT, POSTGRES), st.tuples(N8N, QDRANT, POSTGRES), st.booleans())
def test_a_plain_rollback_is_never_stopped_by_the_data(
    before: tuple[str, str, str], after: tuple[str, str, str], migrates: bool
) -> None:
    old = config(n8n=before[0], qdrant=before[1], postgresql=before[2])
    new = config(n8n=after[0], qdrant=after[1], postgresql=after[2])
    assert MIGRATED.may_migrate is not None
    may = MIGRATED.may_migrate(old.services["n8n"].image, new.services["n8n"].image)
    migrated = migrates if may is None else may  # what n8n's start does is as the catalog says, where it says
    way = found(old, new)
    if way is None or way.kind != "rollback":
        return
    then = frozenset({"first"})
    facts = DataFacts(
        versions={"postgresql": "16"},
        served={service.name: new.services[service.name].image for service in JUDGED if service.name in new.services},
        migrations=then | ({"second"} if migrated else set()),
        migrations_then=then,
        known_to_work=MIGRATED.known_to_work(old.services["n8n"].image, [new.services["n8n"].image]),
    )
    assert [check for check in compatibility_checks(old, facts) if check.status == "fail"] == []


class TestInAChange:
    """The plan says it, the version keeps it, and what was seen afterwards counts more."""

    @pytest.fixture
    def deployed(self, world: World) -> World:
        """n8n 1.100.1 runs; 1.101.1, a patch of what comes next, migrates its data although patches seldom do."""
        world.machine.migrates = {tag: ["Late1"] for tag in ("1.101.0", "1.123.5")}
        world.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.100.1"}, services=("n8n", "postgresql")))
        return world

    @staticmethod
    def kinds(world: World) -> list[str | None]:
        return [version.way_back for version in world.state().versions]

    def test_a_foreseen_way_stays_with_the_version(self, deployed: World) -> None:
        shown = Shown()
        result = deployed.n8n("1.101.0", confirm=shown)

        assert result.success and result.way_back is not None and result.way_back == shown.plans[0].way_back
        assert result.way_back.kind == "with-data"
        assert self.kinds(deployed) == [None, "with-data"]
        assert deployed.state().versions[-1].provenance.way_back == result.way_back
        assert deployed.engine.tags().verdicts.returns == {}
        assert result.way_back.commands == (result.undo,) == ("geusemaker rollback prod v1 --with-data",)
        assert deployed.rollback(to_version=1, with_data=True).success

    def test_a_migration_that_did_not_run_makes_it_plain(self, deployed: World) -> None:
        result = deployed.n8n("1.102.0")

        assert any(text.startswith("n8n has not migrated its data. Way back: v2 → v1: ") for text in told(deployed))
        assert result.way_back is not None and result.way_back.kind == "rollback"
        assert result.undo == "geusemaker rollback prod v1"
        assert self.kinds(deployed) == [None, "rollback"]
        assert deployed.engine.tags().verdicts.returns == {2: "rollback"}
        assert deployed.rollback().success, "the data does not stop it"

    def test_one_that_ran_although_it_seldom_does_needs_the_data(self, deployed: World) -> None:
        deployed.machine.migrates["1.100.2"] = ["Odd1"]
        result = deployed.n8n("1.100.2")

        assert any(text.startswith("n8n has migrated its data. ") for text in told(deployed))
        assert result.way_back is not None and result.way_back.kind == "with-data"
        assert self.kinds(deployed) == [None, "with-data"]
        with pytest.raises(ValidationFailedError, match="does not know"):
            deployed.rollback()

    def test_what_could_not_be_looked_at_stays_as_foreseen(self, deployed: World) -> None:
        deployed.machine.data["n8n"]["ready"] = False
        result = deployed.n8n("1.102.0")
        assert result.way_back is not None and result.way_back.kind == "with-data"
        assert self.kinds(deployed) == [None, "with-data"]

    def test_without_a_copy_it_is_refused_before_anything_changes(self, deployed: World) -> None:
        with pytest.raises(RefusedError, match="no way back to v1"):
            deployed.n8n("1.123.5", checkpoint=False)
        assert len(deployed.state().versions) == 1 and "host.begin" not in deployed.calls
        assert deployed.n8n("1.123.5", checkpoint=False, no_way_back=True).success
        assert self.kinds(deployed) == [None, "none"]

    def test_a_return_by_itself_says_nothing_of_one(self, deployed: World) -> None:
        result = deployed.n8n("1.102.0-crash")
        assert result.rolled_back_to == 1
        assert self.kinds(deployed) == [None, None, None]


def told(world: World) -> list[str]:
    return world.messages("note")
