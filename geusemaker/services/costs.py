"""What a deployment costs a month: what is paid for before and after, times what AWS asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from geusemaker.errors import GeusemakerError
from geusemaker.models.cost import HOURS_A_MONTH, Cost, CostLine, Rates
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig, Target, describe, root_volume_gib

if TYPE_CHECKING:
    from geusemaker.services.collaborators import Collaborators

_GIB: Final = 2**30
"""AWS counts EFS and EBS in these, and calls them GB: docs.aws.amazon.com/efs/latest/ug/metered-sizes.html."""

_DAYS_A_MONTH: Final = HOURS_A_MONTH / 24
_LOADS_A_DAY: Final = 24
"""A model that is asked something once an hour is loaded as often: Ollama forgets it after five minutes
(docs/faq.md of github.com/ollama/ollama, OLLAMA_KEEP_ALIVE)."""


@dataclass(frozen=True)
class Holding:
    """What is paid for by the month."""

    instance_type: str = ""
    """Empty: no instance runs."""
    volumes_gib: int = 0
    """EBS volumes together."""
    address: bool = False
    """Whether there is a public IPv4 address."""
    efs_bytes: int | None = 0
    """What is stored on EFS; None: not known."""
    spot: bool = False
    """Whether the instance is a spot one."""

    @property
    def instance(self) -> str:
        """What the instance is called."""
        return f"{self.instance_type} (spot)" if self.spot and self.instance_type else self.instance_type


def costs(before: Holding, after: Holding, rates: Rates, notes: tuple[str, ...] = ()) -> Cost:
    """What both cost, line by line. Pure."""

    def times(price: float | None, amount: float | None) -> float | None:
        if amount == 0:
            return 0.0
        return None if price is None or amount is None else round(price * amount, 2)

    def hours(holding: Holding) -> float | None:
        name, prices = holding.instance_type, rates.spot if holding.spot else rates.instances
        return times(prices.get(name), HOURS_A_MONTH if name else 0)

    def stored(holding: Holding) -> float | None:
        return None if holding.efs_bytes is None else holding.efs_bytes / _GIB

    efs = max(filter(None, (before.efs_bytes, after.efs_bytes)), default=0)
    lines = (
        CostLine(
            what="instance",
            detail=_step(before.instance, after.instance),
            before=hours(before),
            after=hours(after),
        ),
        CostLine(
            what="volumes",
            detail=f"{_step(str(before.volumes_gib or ''), str(after.volumes_gib or ''))} GiB",
            before=times(rates.volume, before.volumes_gib),
            after=times(rates.volume, after.volumes_gib),
        ),
        CostLine(
            what="address",
            before=times(rates.address, HOURS_A_MONTH * before.address),
            after=times(rates.address, HOURS_A_MONTH * after.address),
        ),
        CostLine(
            what="EFS",
            detail=f"{efs / _GIB:.1f} GiB" if efs else "",
            before=times(rates.efs, stored(before)),
            after=times(rates.efs, stored(after)),
        ),
    )
    there = tuple(line for line in lines if (line.before, line.after) != (0.0, 0.0))
    unknown = any(None in (line.before, line.after) for line in there)
    return Cost(lines=there, day=rates.day, problem=rates.problem if unknown else "", notes=notes)


def _step(before: str, after: str) -> str:
    return f"{before} → {after}" if before and after and before != after else after or before


def usage_notes(rates: Rates, config: StackConfig, target: Target) -> tuple[str, ...]:
    """What is paid for by use, where it is new: said once, when a deployment is made."""
    if rates.efs is None or rates.efs_read is None or rates.efs_write is None:
        return ()
    models = models_on_efs(config, target)
    also = f" {describe(config, models).title} reads a model from it whenever it loads one." if models else ""
    return (
        f"What is stored on EFS costs ${rates.efs:g} a GiB and month, reading it ${rates.efs_read:g} and writing "
        f"${rates.efs_write:g} a GiB.{also} Traffic, backups and tax are apart.",
    )


def models_on_efs(config: StackConfig, target: Target) -> str | None:
    """The service that reads models from EFS; None: none does."""
    if target.models_on == "volume":
        return None
    data = {name: describe(config, name).data for name in config.services}
    return next((name for name, one in data.items() if one is not None and one.models), None)


def check_models(
    config: StackConfig, target: Target, models: Mapping[str, int] | None, rates: Rates
) -> list[CheckResult]:
    """A warning where loading models from EFS is likely to cost more than the machine. Pure.

    Args:
        config: what is to run.
        target: where the deployment is.
        models: model → bytes, as Ollama tells it; None: not asked.
        rates: what AWS asks for.
    """
    name = models_on_efs(config, target)
    hour = rates.instances.get(config.instance_type)
    if name is None or not models or rates.efs_read is None or hour is None:
        return []
    largest = max(models, key=lambda one: models[one])
    once = models[largest] / _GIB * rates.efs_read
    machine = hour * HOURS_A_MONTH
    keeps = "OLLAMA_KEEP_ALIVE" in config.services[name].environment
    if once == 0 or machine / _DAYS_A_MONTH / once > _LOADS_A_DAY or keeps:
        return []
    detail = (
        f"each load of {largest} ({models[largest] / _GIB:.1f} GiB) reads ${once:.2f} worth from EFS: "
        f"{machine / _DAYS_A_MONTH / once:.0f} a day cost as much as the machine (${machine:.0f} a month), and Ollama "
        f"forgets a model after five minutes; `--env {name}.OLLAMA_KEEP_ALIVE=24h` keeps it loaded"
    )
    return [CheckResult(name="models on EFS", status="warn", detail=detail)]


@dataclass(frozen=True)
class Priced:
    """What was asked for a plan's cost."""

    rates: Rates
    efs_bytes: int | None = None
    """What AWS says is stored on EFS; None: there is none, or it was not to be had."""


def ask(
    collaborators: Collaborators, target: Target, instance_types: Iterable[str], *, spot: bool = False
) -> Priced | None:
    """Ask AWS; None where nothing is to be paid. What cannot be had stays unknown: no plan waits for a price.

    Args:
        collaborators: who is asked.
        target: where the deployment is.
        instance_types: those it has or gets.
        spot: whether one of them is, or is to be, a spot instance.
    """
    if target.kind != "aws":
        return None
    types = tuple(instance_types)
    rates = collaborators.prices.rates(target.region, target.partition, types)
    cloud = collaborators.cloud(target.region)
    try:
        if spot:
            prices = {name: cloud.find_spot_price(name, target.availability_zone) for name in types}
            untold = [f"AWS tells no spot price of {name}" for name, price in prices.items() if price is None]
            problem = "; ".join(filter(None, (rates.problem, *untold)))
            rates = rates.model_copy(update={"spot": prices, "problem": problem})
        found = cloud.find_file_system(collaborators.deployment, target.stack_id)
    except GeusemakerError as error:
        return Priced(rates.model_copy(update={"problem": rates.problem or error.message.rstrip(".")}))
    return Priced(rates, found.size_bytes if found is not None else 0)


def now(priced: Priced, target: Target | None, config: StackConfig | None, instance: InstanceState | None) -> Holding:
    """What a deployment holds now, by what AWS has of it. Pure.

    Args:
        priced: what was asked.
        target: where it is, with the disks as they are; None: a new one.
        config: what ran last; None: nothing ever did.
        instance: the one there is.
    """
    if target is None or config is None:
        return Holding()
    if instance is None:
        return Holding(volumes_gib=target.data_volume_gib, efs_bytes=priced.efs_bytes)
    return Holding(
        instance_type=instance.type if instance.state in ("running", "pending") else "",
        volumes_gib=target.data_volume_gib + root_volume_gib(target, config),
        address=target.address != "private",
        efs_bytes=priced.efs_bytes,
        spot=config.purchase == "spot",
    )


def of_change(
    priced: Priced | None,
    target: Target,
    config: StackConfig,
    known: Target | None,
    running: StackConfig | None,
    instance: InstanceState | None,
) -> Cost | None:
    """What a change does to the cost. Pure.

    Args:
        priced: what was asked; None: nothing is to be paid.
        target: where the deployment is, with the disks as they are to be.
        config: what is to run.
        known: where it is, with the disks as they were; None: a new one.
        running: what ran last; None: nothing ever did.
        instance: the one there is.
    """
    if priced is None:
        return None
    volumes = target.data_volume_gib + root_volume_gib(target, config)
    spot = config.purchase == "spot"
    after = Holding(config.instance_type, volumes, target.address != "private", priced.efs_bytes, spot)
    notes = usage_notes(priced.rates, config, target) if running is None else ()
    if spot:
        notes = ("What a spot instance costs is its present price: AWS changes it.", *notes)
    return costs(now(priced, known, running, instance), after, priced.rates, notes)


def of_destroy(
    priced: Priced | None, target: Target, config: StackConfig, instance: InstanceState | None, *, delete_data: bool
) -> Cost | None:
    """What a destroy leaves to be paid: the data, unless that goes as well. Pure."""
    if priced is None:
        return None
    after = Holding() if delete_data else now(priced, target, config, None)
    return costs(now(priced, target, config, instance), after, priced.rates)


def of_rest(
    priced: Priced | None, target: Target, config: StackConfig, instance: InstanceState, *, runs: bool
) -> Cost | None:
    """What it does to the cost that the instance stops, or runs again. Pure.

    A stopped instance costs nothing; its disks and an Elastic IP do, whether or not it runs
    (docs.aws.amazon.com/AWSEC2/latest/UserGuide/Stop_Start.html, aws.amazon.com/vpc/pricing).
    """
    if priced is None:
        return None
    after = now(priced, target, config, instance.model_copy(update={"state": "running" if runs else "stopped"}))
    return costs(now(priced, target, config, instance), after, priced.rates)


def what_stays(cost: Cost | None) -> str:
    """``costs about $5.32 a month: volumes 20 GiB $1.60, EFS 12.4 GiB $3.72``; empty where nothing is to be paid."""
    if cost is None:
        return ""
    left = [line for line in cost.lines if line.after != 0]
    if any(line.after is None for line in left):
        return f"what it costs is unknown ({cost.problem})"
    parts = ", ".join(" ".join(filter(None, (one.what, one.detail, f"${one.after:,.2f}"))) for one in left)
    return f"costs about ${cost.after:,.2f} a month: {parts}" if left else ""
