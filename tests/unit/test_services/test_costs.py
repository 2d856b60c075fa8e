"""What a deployment costs a month."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from geusemaker.models.cost import Cost, Rates
from geusemaker.models.image import ImageReference
from geusemaker.models.inspection import FileSystemState, InstanceState
from geusemaker.models.plan import RestPlan
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.services import costs
from geusemaker.services.costs import Holding, Priced
from tests.unit.fakes import Shown, World
from tests.unit.samples import DIGEST, config, target

RATES = Rates(
    instances={"t3.large": 0.0832, "t3.xlarge": 0.1664, "g5.xlarge": 1.006},
    volume=0.08,
    address=0.005,
    efs=0.3,
    efs_read=0.03,
    efs_write=0.06,
    day=date(2026, 11, 30),
)
GIB = 2**30


class Fixed:
    """A price list of one page."""

    def __init__(self, rates: Rates = RATES) -> None:
        self.rates_told = rates

    def rates(self, region: str, partition: str, instance_types: Iterable[str]) -> Rates:
        return self.rates_told


def with_ollama(**environment: str) -> StackConfig:
    services = {
        **config().services,
        "ollama": ServiceConfig(image=ImageReference.parse(f"ollama/ollama:0.6.1@{DIGEST}"), environment=environment),
    }
    return config(services=services)


def lines(cost: Cost) -> dict[str, tuple[str, float | None, float | None]]:
    return {line.what: (line.detail, line.before, line.after) for line in cost.lines}


def test_each_thing_by_its_own_price() -> None:
    cost = costs.costs(Holding("t3.large", 60, True, 12 * GIB), Holding("t3.xlarge", 100, True, 12 * GIB), RATES)
    assert lines(cost) == {
        "instance": ("t3.large → t3.xlarge", 60.74, 121.47),
        "volumes": ("60 → 100 GiB", 4.8, 8.0),
        "address": ("", 3.65, 3.65),
        "EFS": ("12.0 GiB", 3.6, 3.6),
    }
    assert (cost.before, cost.after, cost.day) == (72.79, 136.72, date(2026, 11, 30))


def test_what_is_unknown_is_not_counted_as_nothing() -> None:
    rates = RATES.model_copy(update={"instances": {}, "problem": "nobody knows"})
    cost = costs.costs(Holding(), Holding("x9.large", 60, True, None), rates)
    assert lines(cost)["instance"] == ("x9.large", 0.0, None) and lines(cost)["EFS"] == ("", 0.0, None)
    assert (cost.before, cost.after, cost.problem) == (0.0, None, "nobody knows")


@pytest.mark.parametrize(
    ("instance", "wanted"),
    [
        (None, Holding("", 20, False, 5)),
        (InstanceState(id="i-1", type="t3.xlarge", state="running", address=""), Holding("t3.xlarge", 60, True, 5)),
        (InstanceState(id="i-1", type="t3.xlarge", state="stopped", address=""), Holding("", 60, True, 5)),
    ],
)
def test_what_there_is_now_is_what_aws_has(instance: InstanceState | None, wanted: Holding) -> None:
    known = target(kind="aws", data_volume_gib=20, root_volume_gib=40)
    assert costs.now(Priced(RATES, 5), known, config(), instance) == wanted
    assert costs.now(Priced(RATES, 5), None, None, instance) == Holding()


def test_without_a_public_address_none_is_paid_for() -> None:
    private = target(kind="aws", address="private", data_volume_gib=20, root_volume_gib=40)
    running = InstanceState(id="i-1", type="t3.large", state="running", address="10.0.0.5")
    assert costs.now(Priced(RATES, 0), private, config(), running) == Holding("t3.large", 60, False, 0)
    cost = costs.of_change(Priced(RATES, 0), private, config(), None, None, None)
    assert cost is not None and lines(cost) == {"instance": ("t3.large", 0.0, 60.74), "volumes": ("60 GiB", 0.0, 4.8)}


def test_on_the_local_cloud_nothing_is_asked_and_nothing_told(deployed: World) -> None:
    deployed.prices = Fixed()
    shown = Shown()
    deployed.update(shown, instance_type="t3.xlarge")
    assert shown.plans[0].cost is None


def on_aws(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    world.prices = Fixed()
    return world


def test_from_the_first_deploy_to_what_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_aws(world, monkeypatch)
    shown = Shown()
    assert world.deploy(DeployRequest(target="aws", ssh_cidrs=("10.0.0.0/8",)), shown).success
    first = shown.plans[-1].cost
    assert first is not None and (first.before, first.after) == (0.0, 69.19)
    assert first.notes == (
        "What is stored on EFS costs $0.3 a GiB and month, reading it $0.03 and writing $0.06 a GiB. Ollama reads a "
        "model from it whenever it loads one. Traffic, backups and tax are apart.",
    )
    world.cloud.file_system = FileSystemState(id="fs-1", mounted=False, state="available", size_bytes=12 * GIB)
    assert world.update(shown, instance_type="t3.xlarge").success
    grown = shown.plans[-1].cost
    assert grown is not None and (grown.before, grown.after, grown.notes) == (72.79, 133.52, ())

    rests: list[RestPlan] = []

    def agree(plan: RestPlan) -> bool:
        rests.append(plan)
        return True

    assert world.stop("n8n", confirm=agree).success and world.start(confirm=agree).success
    stop, start = (plan.cost for plan in rests)
    assert stop is not None and (stop.before, stop.after) == (133.52, 133.52) and start is None

    assert world.stop(instance=True, confirm=agree).success
    summary = world.inspect().summary
    assert world.start(confirm=agree).success
    stop, start = (plan.cost for plan in rests[2:])
    assert stop is not None and start is not None
    assert (stop.before, stop.after, start.before, start.after) == (133.52, 12.05, 12.05, 133.52)
    assert "What it keeps stays, and costs about $12.05 a month: volumes 60 GiB $4.80, address $3.65, EFS " in summary

    assert world.destroy(confirm=shown).success
    left = shown.plans[-1].cost
    assert left is not None and (left.before, left.after) == (133.52, 5.2)
    assert [event.message for event in world.events if "stays" in event.message] == [
        "The data stays, and costs about $5.20 a month: volumes 60 → 20 GiB $1.60, EFS 12.0 GiB $3.60; "
        "`geusemaker destroy prod --delete-data` removes it."
    ]
    assert world.destroy(confirm=shown, delete_data=True).success
    gone = shown.plans[-1].cost
    assert gone is not None and (gone.before, gone.after) == (5.2, 0.0)


def test_a_spot_instance_has_a_price_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_aws(world, monkeypatch).cloud.spot_prices = {"t3.large": 0.025}
    shown = Shown()
    assert world.deploy(DeployRequest(target="aws", ssh_cidrs=("10.0.0.0/8",), purchase="spot"), shown).success
    cost = shown.plans[0].cost
    assert cost is not None and lines(cost)["instance"] == ("t3.large (spot)", 0.0, 18.25)
    assert cost.notes[0] == "What a spot instance costs is its present price: AWS changes it."
    assert world.update(shown, purchase="on-demand", allow_replace=True).success
    back = shown.plans[-1].cost
    assert back is not None and lines(back)["instance"] == ("t3.large (spot) → t3.large", 18.25, 60.74)
    world.cloud.spot_prices = {}
    assert world.update(shown, purchase="spot", allow_replace=True).success
    unknown = shown.plans[-1].cost
    assert unknown is not None and lines(unknown)["instance"] == ("t3.large → t3.large (spot)", 60.74, None)
    assert unknown.problem == "AWS tells no spot price of t3.large"
    assert world.destroy(confirm=shown).success
    left = shown.plans[-1].cost
    assert left is not None and lines(left)["instance"] == ("t3.large (spot)", None, 0.0)


def test_a_price_that_cannot_be_had_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_aws(world, monkeypatch).prices = Fixed(Rates(problem="no route"))
    shown = Shown()
    assert world.deploy(DeployRequest(target="aws", ssh_cidrs=("10.0.0.0/8",)), shown).success
    cost = shown.plans[0].cost
    assert cost is not None and (cost.after, cost.problem, cost.notes) == (None, "no route", ())
    assert world.destroy(confirm=shown).success
    assert any("what it costs is unknown (no route)" in event.message for event in world.events)


@pytest.mark.parametrize(
    ("more", "models", "warns"),
    [
        ({}, {"llama3:8b": int(4.7 * GIB), "tiny": GIB}, True),
        ({}, {"tiny": GIB // 4}, False),
        ({}, {}, False),
        ({}, None, False),
        ({"config": with_ollama(OLLAMA_KEEP_ALIVE="24h")}, {"llama3:8b": 5 * GIB}, False),
        ({"config": config()}, {"llama3:8b": 5 * GIB}, False),
        ({"target": target(models_on="volume", data_volume_gib=100)}, {"llama3:8b": 5 * GIB}, False),
        ({"rates": RATES.model_copy(update={"efs_read": None})}, {"llama3:8b": 5 * GIB}, False),
        ({"rates": RATES.model_copy(update={"instances": {}})}, {"llama3:8b": 5 * GIB}, False),
        ({}, {"empty": 0}, False),
    ],
)
def test_models_that_cost_more_than_the_machine(
    more: dict[str, Any], models: dict[str, int] | None, warns: bool
) -> None:
    asked = {"config": with_ollama(), "target": target(), "rates": RATES} | more
    found = costs.check_models(asked["config"], asked["target"], models, asked["rates"])
    assert bool(found) == warns
    if warns:
        assert found[0].status == "warn" and found[0].detail == (
            "each load of llama3:8b (4.7 GiB) reads $0.14 worth from EFS: 14 a day cost as much as the machine ($61 a "
            "month), and Ollama forgets a model after five minutes; `--env ollama.OLLAMA_KEEP_ALIVE=24h` keeps it "
            "loaded"
        )


def test_the_plan_warns_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_aws(world, monkeypatch).machine.models = {"llama3:8b": 5 * GIB}
    assert world.deploy(DeployRequest(target="aws", ssh_cidrs=("10.0.0.0/8",))).success
    shown = Shown()
    world.update(shown, retention=4)
    assert "models on EFS" in [check.name for check in shown.plans[-1].checks if check.status == "warn"]
