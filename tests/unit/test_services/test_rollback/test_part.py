"""A rollback of some services alone: what is mixed, what is refused, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from geusemaker.errors import GeusemakerError, InvalidInputError, RefusedError, ValidationFailedError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.request import RollbackRequest
from geusemaker.models.stack import InstanceFacts, ServiceConfig, StackConfig
from geusemaker.models.version import Version
from geusemaker.services.differences import config_changes
from geusemaker.services.rollback.part import mixed_config
from geusemaker.services.rollback.target import default_target
from tests.unit.fakes import Killed, Shown, World
from tests.unit.samples import DIGEST, config, failed, state, version


def service(reference: str, own: OwnService | None = None, **environment: str) -> ServiceConfig:
    image = ImageReference.parse(f"{reference}@{DIGEST}")
    return ServiceConfig(image=image, environment=environment, own=own)


def own(**told: Any) -> OwnService:
    return OwnService.model_validate(told)


def having(base: StackConfig, without: tuple[str, ...] = (), **services: ServiceConfig) -> StackConfig:
    """A config with these services as well."""
    kept = {name: found for name, found in base.services.items() if name not in without}
    return base.model_copy(update={"services": {**kept, **services}})


def asked(*services: str, to: int = 1, **more: Any) -> RollbackRequest:
    return RollbackRequest(services=services, to_version=to, **more)


QDRANT = service("qdrant/qdrant:v1.15.0", QDRANT__LOG="info")
V1 = having(config("1.100.1", instance_type="t3.xlarge", retention=9), qdrant=QDRANT)
V2 = having(config("1.101.0"), ollama=service("ollama/ollama:0.9.0"))
TWO = (version(1, config=V1), version(2, config=V2))


# --- what is mixed ---------------------------------------------------------------------------------------------------


def test_only_the_service_comes_back() -> None:
    mixed, names = mixed_config(state(*TWO), asked("n8n"))
    assert names == ("n8n",) and mixed.services["n8n"] == V1.services["n8n"]
    assert mixed == having(V2, n8n=V1.services["n8n"]), "instance type, settings, PostgreSQL and Ollama as now"


def test_one_that_does_not_run_any_more_is_added_on_its_own() -> None:
    mixed, names = mixed_config(state(*TWO), asked("qdrant", "qdrant"))
    assert names == ("qdrant",) and mixed == having(V2, qdrant=QDRANT)


def test_several_come_back_together_whatever_they_are_called_by() -> None:
    mixed, names = mixed_config(state(*TWO), asked("postgres", "n8n"))
    assert names == ("postgresql", "n8n") and mixed.images["n8n"] == V1.images["n8n"]


images = st.sampled_from(["a/b:1", "a/b:2", "a/b:3"])
values = st.text("a$1{} ", max_size=6)


@st.composite
def configs(draw: st.DrawFn) -> StackConfig:
    names = draw(st.sets(st.sampled_from(["n8n", "qdrant", "ollama", "crawl4ai", "mine"])))
    services = {"postgresql": service(draw(images))}
    for name in sorted(names):
        own = OwnService(needs=("postgresql",)) if name == "mine" else None
        services[name] = service(draw(images), own, **({"NOTE": draw(values)} if draw(st.booleans()) else {}))
    return StackConfig(
        services=services,
        instance_type=draw(st.sampled_from(["t3.large", "t3.xlarge"])),
        ami=draw(st.sampled_from(["ami-1", "ami-2"])),
        rendering=draw(st.integers(1, 3)),
    )


@given(
    st.lists(configs(), min_size=2, max_size=4),
    st.lists(st.sampled_from(["n8n", "postgresql", "qdrant", "ollama", "crawl4ai", "mine"]), min_size=1, max_size=3),
)
def test_what_comes_of_it_differs_from_the_active_version_in_the_chosen_services_alone(
    made: list[StackConfig], chosen: list[str]
) -> None:
    found = state(*(version(number, config=one) for number, one in enumerate(made, 1)))
    try:
        mixed, names = mixed_config(found, asked(*chosen, allow_archived=True))
    except GeusemakerError as error:
        assert error.state.startswith("Nothing was changed")
        return
    now, then = made[-1], made[0]
    assert set(names) == set(chosen) and set(mixed.services) == {*now.services, *names}
    assert mixed.model_copy(update={"services": {}}) == now.model_copy(update={"services": {}})
    assert all(mixed.services[name] == one for name, one in now.services.items() if name not in names)
    for name in names:
        assert mixed.services[name].image == then.services[name].image
    told = {change.path.partition(".")[0] for change in config_changes(now, mixed) if "memory" not in change.path}
    assert told <= set(names)


@pytest.mark.parametrize(
    ("then", "now", "value", "meant"),
    [(1, 2, "a$$b", "a$b"), (2, 1, "a$b", "a$$b"), (1, 1, "a$$b", "a$$b"), (3, 2, "a$b", "a$b")],
)
def test_a_value_keeps_its_meaning_where_the_compose_file_is_made_in_another_way(
    then: int, now: int, value: str, meant: str
) -> None:
    old = having(config(rendering=then), n8n=service("n8nio/n8n:1.100.1", NOTE=value))
    new = config("1.101.0", rendering=now)
    mixed, _ = mixed_config(state(version(1, config=old), version(2, config=new)), asked("n8n"))
    assert mixed.rendering == now and mixed.services["n8n"].environment["NOTE"] == meant


def test_an_own_service_means_the_same_in_each() -> None:
    old = having(config(), mine=service("a/b:1", OwnService(), NOTE="a$b"))
    new = having(config(rendering=1), mine=service("a/b:2", OwnService()))
    mixed, _ = mixed_config(state(version(1, config=old), version(2, config=new)), asked("mine"))
    assert mixed.services["mine"].environment == {"NOTE": "a$b"}


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(*versions: Version, services: tuple[str, ...] = ("n8n",), **more: Any) -> RefusedError:
    """The refusal, for a request that its flag lets through."""
    with pytest.raises(RefusedError) as found:
        mixed_config(state(*versions), asked(*services, **more))
    assert "v2 stays active" in found.value.state or "v3 stays active" in found.value.state
    return found.value


def test_what_the_version_did_not_have_is_an_updates_to_take_out() -> None:
    error = refused(*TWO, services=("ollama",))
    assert "v1 of prod had no ollama" in error.message
    assert error.next_step == "`geusemaker update prod --without ollama` takes it out."


def test_what_neither_has_is_refused_and_shown_where_to_look() -> None:
    assert "`geusemaker inspect prod v1`" in refused(*TWO, services=("crawl4ai",)).next_step
    assert "domains" in refused(*TWO, services=("caddy",)).next_step


def test_no_such_service() -> None:
    with pytest.raises(InvalidInputError, match="no service 'qdrand'") as error:
        mixed_config(state(*TWO), asked("qdrand"))
    assert "qdrant" in error.value.next_step


def test_a_service_that_needs_one_that_does_not_run_is_refused_with_both_names() -> None:
    without = having(V2, without=("n8n", "postgresql"))
    pair = (version(1, config=V1), version(2, config=without))
    error = refused(*pair)
    assert error.message == "n8n as v1 of prod had it needs postgresql, which does not run now."
    assert "--service postgresql" in error.next_step
    mixed, _ = mixed_config(state(*pair), asked("n8n", "postgresql"))
    assert {"n8n", "postgresql", "ollama"} == set(mixed.services)


def test_what_a_variable_makes_it_need_counts_as_well() -> None:
    queue = service("n8nio/n8n:1.100.1", EXECUTIONS_MODE="queue", QUEUE_BULL_REDIS_HOST="redis")
    old = having(config(), n8n=queue, redis=service("redis:7", OwnService()))
    assert "needs redis" in refused(version(1, config=old), version(2, config=config("1.101.0"))).message


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        (
            {"one": service("a/b:1", own(ports=["9000"]))},
            {"two": service("a/b:1", own(ports=["9000"]))},
            "both publish port 9000",
        ),
        (
            {"one": service("a/b:1", OwnService(needs=("two",))), "two": service("a/b:1", OwnService())},
            {"one": service("a/b:1", OwnService()), "two": service("a/b:1", OwnService(needs=("one",)))},
            "in a circle",
        ),
    ],
)
def test_what_cannot_run_together_is_refused(then: dict[str, Any], now: dict[str, Any], why: str) -> None:
    old, new = having(config(), **then), having(config(), **now)
    error = refused(version(1, config=old), version(2, config=new), services=("one",))
    assert why in error.message and "one as v1 had" in error.message and "rollback prod v1" in error.next_step


def test_the_active_version_and_what_is_the_same_are_refused() -> None:
    assert "v2 is the active version" in refused(*TWO, to=2).message
    error = refused(*TWO, services=("postgresql",))
    assert error.message == "v2 of prod, which is active, has postgresql as v1 had: there is nothing to change."
    assert "no version 9" in refused(*TWO, to=9).message


@pytest.mark.parametrize(
    ("source", "flag", "said"),
    [
        (failed(1, config=V1), "allow_unhealthy", "never became healthy"),
        (version(1, config=V1, bad=True), "allow_bad", "is marked bad"),
    ],
)
def test_what_speaks_against_the_version_asks_for_its_flag(source: Version, flag: str, said: str) -> None:
    assert said in refused(source, TWO[1]).message
    insists = asked("n8n", allow_archived=True, **{flag: True})
    assert mixed_config(state(source, TWO[1]), insists)[0].images["n8n"] == V1.images["n8n"]


def test_an_archived_version_too() -> None:
    pair = (version(1, config=V1), version(2, config=config("1.101.0", retention=1)))
    assert "is archived" in refused(*pair).message
    assert mixed_config(state(*pair), asked("n8n", allow_archived=True))


@pytest.mark.parametrize(
    ("tried", "flag", "said"),
    [
        (
            version(2, config=having(V2, n8n=V1.services["n8n"]), bad=True),
            "allow_bad",
            "config of v2 of prod, which is",
        ),
        (failed(2, config=having(V2, n8n=V1.services["n8n"])), "allow_unhealthy", "which never became healthy"),
    ],
)
def test_what_is_known_of_the_config_that_comes_of_it_counts(tried: Version, flag: str, said: str) -> None:
    three = (version(1, config=V1), tried, version(3, config=V2))
    assert said in refused(*three).message
    assert mixed_config(state(*three), asked("n8n", **{flag: True}))[0] == tried.config


def test_one_that_ran_healthy_is_gone_to_again() -> None:
    three = (version(1, config=V1), version(2, config=having(V2, n8n=V1.services["n8n"])), version(3, config=V2))
    assert mixed_config(state(*three), asked("n8n"))[0] == three[1].config


def test_a_plain_rollback_afterwards_starts_from_its_own_number() -> None:
    part = version(3, kind="rollback", config=having(V2, n8n=V1.services["n8n"]))
    found = default_target(state(*TWO, part))
    assert found is not None and found.number == 2


# --- as an operation -------------------------------------------------------------------------------------------------


@pytest.fixture
def three(deployed: World) -> World:
    """v1 as deployed, v2 bigger with a newer n8n and no Crawl4AI, v3 with another Qdrant."""
    assert deployed.update(
        instance_type="t3.xlarge", images={"n8n": "n8nio/n8n:1.101.0"}, without=("crawl4ai",)
    ).success
    assert deployed.update(environment={"qdrant": {"QDRANT__LOG_LEVEL": "WARN"}}).success
    return deployed


def part(world: World, *services: str, to: int = 1, **more: Any) -> Any:
    return world.rollback(services=services, to_version=to, **more)


def test_a_version_has_to_be_named(three: World) -> None:
    three.calls.clear()
    with pytest.raises(InvalidInputError, match="n8n alone can go back to a version only if that is named") as error:
        three.rollback(services=("n8n",))
    assert error.value.exit_code == 2 and "--to-version" in error.value.next_step and three.calls == []


def test_it_makes_a_version_of_its_own_and_says_so_everywhere(three: World) -> None:
    shown = Shown()
    result = part(three, "n8n", reason="webhooks are lost", confirm=shown)

    assert (result.success, result.version, result.source_version, result.services_from) == (True, 4, None, {"n8n": 1})
    assert [change.partition(":")[0] for change in result.changes_reverted] == ["n8n.image"]
    [plan] = shown.plans
    assert plan.way_back is not None and plan.way_back.to_version == 3
    assert plan.services_from == {"n8n": 1} and plan.source_version is None and not plan.stops_instance
    active = three.state().active
    assert active is not None and active.number == 4
    assert (active.provenance.kind, active.provenance.services_from) == ("rollback", {"n8n": 1})
    assert active.provenance.source_version is None
    old, new = three.state().versions[0].config, three.state().versions[2].config
    assert active.config == having(new, n8n=old.services["n8n"]) and active.config.instance_type == "t3.xlarge"
    [record] = three.inspect().rollbacks
    assert (record.services_from, record.source_version, record.previous_state_version) == ({"n8n": 1}, None, 3)
    assert three.records.records[-1].services_from == {"n8n": 1}
    assert result.undo == "geusemaker rollback prod v3"


def test_another_machine_knows_it_from_the_history_alone(three: World) -> None:
    part(three, "n8n")
    three.records.records.clear()
    three.machine.journal.clear()
    [found] = [record for record in three.inspect().rollbacks if record.version == 4]
    assert found.services_from == {"n8n": 1}


def test_one_that_was_taken_out_comes_back(three: World) -> None:
    assert part(three, "crawl4ai").success
    assert "crawl4ai" in three.machine.services and three.machine.services["n8n"].startswith("n8nio/n8n")
    assert "1.101.0" in three.machine.services["n8n"]


def test_a_plain_rollback_takes_it_back(three: World) -> None:
    part(three, "n8n")
    assert three.rollback().source_version == 3


def test_one_that_fails_goes_back_to_what_was_active(three: World) -> None:
    three.engine.outcomes.append("timeout")
    result = part(three, "n8n")
    assert (result.success, result.exit_code, result.version) == (False, 3, 5)
    assert "1.101.0" in three.machine.services["n8n"]
    records = three.inspect().rollbacks
    assert [(one.success, one.services_from, one.source_version) for one in records] == [
        (False, {"n8n": 1}, None),
        (True, {}, 3),
    ]


def test_without_automatic_return_a_plain_rollback_goes_to_the_active_version(three: World) -> None:
    three.engine.outcomes.append("timeout")
    assert part(three, "n8n", auto_rollback=False).exit_code == 4
    assert three.rollback().source_version == 3


def test_after_a_failure_it_starts_from_the_active_version_and_may_bring_that_back_as_it_is(three: World) -> None:
    three.engine.outcomes.append("timeout")
    assert part(three, "n8n", auto_rollback=False).exit_code == 4
    result = part(three, "postgresql")
    assert result.success and "1.101.0" in three.machine.services["n8n"]


def test_after_a_kill_the_last_healthy_version_comes_first(three: World) -> None:
    three.kill_at = "up.gate"
    with pytest.raises(Killed):
        three.n8n("1.103.0")
    with pytest.raises(RefusedError, match="was killed") as error:
        part(three, "n8n")
    assert "geusemaker recover prod" in error.value.next_step
    assert three.rollback().success and part(three, "n8n").success


def test_a_mark_holds_for_the_mixed_config_and_not_for_its_source(three: World) -> None:
    part(three, "n8n")
    three.mark(4, bad=True)
    assert [one.number for one in three.state().versions if one.bad] == [4]
    assert three.rollback().source_version == 3
    with pytest.raises(RefusedError, match="config of v4 of prod, which is marked bad"):
        part(three, "n8n")
    assert part(three, "n8n", allow_bad=True).success


def test_an_interrupted_one_is_recovered_from(three: World) -> None:
    three.kill_at = "up.gate"
    with pytest.raises(Killed):
        part(three, "n8n")
    assert three.recover().success and "1.101.0" in three.machine.services["n8n"]


def test_a_dry_run_shows_it_and_changes_nothing(three: World) -> None:
    result = part(three, "n8n", dry_run=True)
    assert result.dry_run and result.services_from == {"n8n": 1} and result.version == 3
    assert "1.101.0" in three.machine.services["n8n"]


def test_a_secret_of_ones_own_has_todays_value(deployed: World) -> None:
    asked_for = {"n8n": {"SMTP_PASS": "n8n.SMTP_PASS"}}
    deployed.update(secret_environment=asked_for, secret_values={"n8n.SMTP_PASS": SecretStr("hunter2")})
    deployed.n8n("1.101.0", secret_environment={"n8n": {"SMTP_PASS": ""}})
    assert part(deployed, "n8n", to=2).success
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].secret_environment == {"SMTP_PASS": "n8n.SMTP_PASS"}


def test_what_the_mix_leaves_too_little_memory_is_refused_though_each_ran_healthy(deployed: World) -> None:
    """n8n 2 ran on a t3.large, and the smaller instance runs n8n 1."""
    deployed.cloud.types["t3.medium"] = InstanceFacts(memory_mib=4096)
    assert deployed.n8n("2.42.6").success and deployed.rollback(allow_data_downgrade=True).success
    assert deployed.update(instance_type="t3.medium").success
    with pytest.raises(ValidationFailedError, match=r"t3\.medium leaves n8n 421 MiB") as error:
        part(deployed, "n8n", to=2)
    assert "v4 stays active" in error.value.state
    assert deployed.rollback(to_version=2).success, "all of it, instance type included"
