"""What differs between two configs, or two looks at AWS, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geusemaker.catalog import COPIED, SERVICE_NAMES, SERVICES
from geusemaker.models.plan import ConfigChange
from geusemaker.models.shown import HIDDEN, shown_value
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.program.compose import expanded


def config_changes(old: StackConfig | None, new: StackConfig) -> tuple[ConfigChange, ...]:
    """Every difference, in a fixed order; all of ``new`` where there is no ``old``."""
    before = _flatten(old) if old is not None else {}
    after = _flatten(new)
    paths = [path for path in after if path not in before or before[path] != after[path]]
    paths += [path for path in before if path not in after]
    return tuple(_change(path, before.get(path), after.get(path)) for path in sorted(paths, key=_order))


def secret_changes(differs: Mapping[ServiceName, Sequence[str]] | None) -> tuple[ConfigChange, ...]:
    """The services whose generated secrets are others than those on the instance (``differs`` as its agent answers)."""
    return tuple(
        ConfigChange(path=f"{name}.secrets", old=HIDDEN, new=f"{HIDDEN}, changed")
        for name, what in (differs or {}).items()
        if "secrets" in what
    )


def same_system(old: StackConfig, new: StackConfig) -> bool:
    """Whether two configs ask for the same running system; settings of geusemaker's own do not count."""
    return old.system == new.system


def migrated_services(old: StackConfig, new: StackConfig) -> tuple[ServiceName, ...]:
    """The services that run now and whose data a change puts other software on, which may migrate it."""

    def is_other(name: ServiceName) -> bool:
        before, after = old.services.get(name), new.services.get(name)
        return after is not None and (before is None or before.image.by_digest != after.image.by_digest)

    def users(name: ServiceName) -> list[ServiceName]:
        return [name, *(service.name for service in SERVICES.values() if name in service.needs)]

    return tuple(name for name in COPIED if name in old.services and any(map(is_other, users(name))))


def _flatten(config: StackConfig) -> dict[str, str]:
    values = {
        "instance_type": config.instance_type,
        "ami": config.ami,
        "rendering": str(config.rendering),
    }
    for name in SERVICE_NAMES:
        service = config.services.get(name)
        if service is None:
            continue
        values[f"{name}.image"] = _short(str(service.image))
        for key, value in sorted(service.environment.items()):
            values[f"{name}.env.{key}"] = expanded(value) if config.rendering == 1 else value
    values["settings.health_deadline_seconds"] = str(config.health.deadline_seconds)
    values["settings.consecutive_successes"] = str(config.health.consecutive_successes)
    values["settings.auto_rollback_on_failure"] = str(config.rollback.auto_rollback_on_failure).lower()
    values["settings.deadline_minutes"] = str(config.rollback.deadline_minutes)
    values["settings.retention"] = str(config.rollback.retention)
    return values


def _change(path: str, old: str | None, new: str | None) -> ConfigChange:
    if ".env." not in path:
        return ConfigChange(path=path, old=old, new=new)
    name = path.rpartition(".")[2]
    shown_old, shown_new = shown_value(name, old), shown_value(name, new)
    if shown_new is not None and shown_old == shown_new:
        shown_new = f"{shown_new}, changed"
    return ConfigChange(path=path, old=shown_old, new=shown_new)


def _short(image: str) -> str:
    """An image with enough of its digest to tell two apart that carry the same tag."""
    tagged, _, digest = image.partition("@")
    return f"{tagged}@{digest[:19]}" if digest else tagged


def _order(path: str) -> tuple[int, str]:
    head = path.split(".")[0]
    order = ("instance_type", "ami", "rendering", *SERVICE_NAMES, "settings")
    return (order.index(head), path)


def movements(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, between two looks at the same things."""
    return [
        f"{thing} is gone"
        if thing not in now
        else f"{thing} is new ({now[thing]})"
        if thing not in before
        else f"{thing} was {before[thing]} and is {now[thing]}"
        for thing in sorted({*before, *now})
        if before.get(thing) != now.get(thing)
    ]
