"""The way back from a change to what ran before it, by the same rules that would judge that return. Pure, but ``note``.

They are asked about data as the change is about to leave it: served by the new images, and migrated where a release
does that. So a way that is called a plain rollback is not refused for its data afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from geusemaker.catalog import JUDGED, MIGRATED
from geusemaker.catalog.rules import Ask, DataFacts
from geusemaker.catalog.service import Service
from geusemaker.errors import RefusedError
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import Event, Plan
from geusemaker.models.request import ChangeOptions
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version, WayBack, WayBackKind
from geusemaker.services import verdicts
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.differences import another_instance, same_system
from geusemaker.services.facts import recorded_migrations
from geusemaker.services.newer_data import tried_since
from geusemaker.services.rollback.target import flags_for

_WORST_FIRST: Final[tuple[WayBackKind, ...]] = ("none", "unknown", "with-data", "rollback")
_DOWNGRADE: Final = "--allow-data-downgrade"
_NEW: Final = frozenset({"what it migrates"})
"""Migrations that are not known by name yet."""


@dataclass(frozen=True)
class _Way:
    """The way back of one service's data."""

    kind: WayBackKind
    because: str = ""
    data: tuple[ServiceName, ...] = ()
    """Whose data goes back as well."""


def way_back(plan: Plan, state: DeploymentState, *, migrated: bool | None = None) -> WayBack | None:
    """How one gets back from what a plan makes to the version that is active now.

    Args:
        plan: what is to be done.
        state: the deployment before it.
        migrated: whether the data was migrated, once that is known; None: it is foreseen by what the releases do.

    Returns:
        None where nothing ran, or nothing changes that a version has.
    """
    active = state.active
    if active is None or plan.kind == "destroy" or same_system(active.config, plan.config):
        return None
    ways: list[_Way] = [*_judged(plan, state, active.config, migrated), *_own(active.config, plan.config)]
    kind: WayBackKind = min((way.kind for way in ways), key=_WORST_FIRST.index, default="rollback")
    because = dict.fromkeys(way.because for way in ways if way.kind == kind and way.because)
    data = tuple(dict.fromkeys(name for way in ways for name in way.data))
    return WayBack(
        to_version=active.number, kind=kind, because=tuple(because), commands=_commands(plan, active, kind, data)
    )


def _judged(plan: Plan, state: DeploymentState, before: StackConfig, migrated: bool | None) -> Iterator[_Way]:
    for service in JUDGED:
        old, new = before.services.get(service.name), plan.config.services.get(service.name)
        if old is None or new is None or old.image.by_digest == new.image.by_digest:
            continue
        yield _way(service, old.image, new.image, plan, state, migrated)


def _way(
    service: Service,
    old: ImageReference,
    new: ImageReference,
    plan: Plan,
    state: DeploymentState,
    migrated: bool | None,
) -> _Way:
    migrates: bool | None = False
    if service.may_migrate is not None:
        migrates = migrated if migrated is not None else service.may_migrate(old, new)
    left = f"{service.title} {new.tag}"
    if migrates is None:
        return _Way("unknown", f"only its start tells whether {left} {service.closes}")
    facts = DataFacts(
        served={service.name: new},
        migrations=_NEW if migrates else frozenset(),
        migrations_then=frozenset(),
        deployment=state.name,
        known_to_work=service.known_to_work(old, {new, *tried_since(state, old)}),
    )
    found = service.compatibility(old, facts, Ask(lenient=False, back="fail", copied=()))
    if found is None or (found.status != "fail" and found.known):
        return _Way("rollback", f"{service.title} {old.tag}: {found.detail}" if found and facts.known_to_work else "")
    if not found.known:
        return _Way("unknown", found.detail)
    allowed = service.compatibility(old, facts, Ask(lenient=False, back="warn", copied=()))
    if allowed is not None and allowed.status == "fail":
        return _Way("none", found.detail)
    return _with_data(service, f"{left} {service.closes}", plan, state)


def _with_data(service: Service, because: str, plan: Plan, state: DeploymentState) -> _Way:
    """The data of before goes back as well, where it is copied before the change."""
    holds = service.needs if service is MIGRATED else (service.name,)
    lacking = " and ".join(name for name in holds if name not in plan.checkpoint_services)
    if not lacking:
        return _Way("with-data", because, holds)
    if state.unsettled:
        # The same software once more: if its data was copied, then before the attempt that failed or was killed.
        return _Way("unknown", f"{because}, and what an earlier attempt left may be all there is of {lacking}")
    return _Way("none", f"{because}, and no copy of the data of {lacking} is taken first")


def _own(before: StackConfig, after: StackConfig) -> Iterator[_Way]:
    """Services of one's own that keep data: no rule tells what their releases make of it."""
    for name, old in before.services.items():
        new = after.services.get(name)
        if new is None or old.own is None or not old.own.volumes or old.image.by_digest == new.image.by_digest:
            continue
        yield _Way("unknown", f"{name} is a service of your own that keeps data, and {new.image.tagged} may change it")


def _commands(plan: Plan, active: Version, kind: WayBackKind, data: tuple[ServiceName, ...]) -> tuple[str, ...]:
    if kind == "none":
        return ()
    flags = flags_for(active)
    replaces = ["--allow-replace"] if another_instance(plan.config, active.config) else []
    back = f"geusemaker rollback {plan.deployment} v{active.number}"
    if kind != "with-data":
        return (" ".join([back, *flags, *replaces]),)
    # With its data it does not run on newer data, whatever it did before.
    own = [flag for flag in flags if flag != _DOWNGRADE]
    together = ["--with-data"] if set(MIGRATED.needs) <= set(data) else []
    apart = [name for name in data if name not in MIGRATED.needs]
    if not apart:
        return (" ".join([back, *own, *together, *replaces]),)
    chosen = [f"--service {name}" for name in apart if len(apart) < len(plan.checkpoint_services)]
    copy = f"v{plan.checkpoint_of}/{plan.operation_id}"
    restore = " ".join([f"geusemaker restore {plan.deployment} --checkpoint {copy}", *chosen])
    return " ".join([back, *own, *together, _DOWNGRADE, *replaces]), restore


def require_way_back(plan: Plan, options: ChangeOptions, untouched: str) -> None:
    """Refuse an update that cannot be taken back, unless that was said in so many words.

    Raises:
        RefusedError
    """
    way = plan.way_back
    if plan.kind != "update" or plan.trigger != "manual" or way is None or way.kind != "none" or options.no_way_back:
        return
    copied = "" if options.checkpoint else "Without --no-checkpoint the data is copied first. "
    raise RefusedError(
        f"This update has no way back to v{way.to_version}: {'; '.join(way.because)}.",
        state=untouched,
        next_step=f"{copied}If that is what you want, run the same command again with --no-way-back.",
    )


def note(
    collaborators: Collaborators,
    plan: Plan,
    state: DeploymentState,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> WayBack | None:
    """The way back now that it is seen what the change did to the data; put on record where it is another one.

    Args:
        collaborators: the tags, and who is told.
        plan: what was done.
        state: the deployment before it.
        before: the manifest of the data before it.
        after: the manifest of the data after it.
    """
    foreseen = plan.way_back
    then, now = recorded_migrations(before), recorded_migrations(after)
    if foreseen is None or then is None or now is None:
        return foreseen
    found = way_back(plan, state, migrated=bool(now - then))
    if found is None or found.kind == foreseen.kind:
        return foreseen
    verdicts.note(collaborators, returns={plan.number: found.kind})
    seen = f"{MIGRATED.title} {'has' if now - then else 'has not'} migrated its data"
    collaborators.on_event(Event(kind="note", message=f"{seen}. Way back: {found.told(plan.number)}."))
    return found
