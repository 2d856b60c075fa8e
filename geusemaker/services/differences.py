"""What differs between two configs, or two looks at AWS, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from geusemaker.catalog import COPIED, SERVICES
from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.plan import ConfigChange
from geusemaker.models.shown import HIDDEN, shown_value
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.program.compose import expanded, limits

_STARTED: Final = tuple(SERVICES)

_ENVIRONMENT: Final = f".{fields.ENVIRONMENT.path}."
SECRET_ENVIRONMENT: Final = f".{fields.SECRET_ENVIRONMENT.path}."
"""What the path of a change of a secret variable has after its service."""


def config_changes(old: StackConfig | None, new: StackConfig) -> tuple[ConfigChange, ...]:
    """Every difference, in a fixed order; all of ``new`` where there is no ``old``."""
    before = _flatten(old) if old is not None else {}
    after = _flatten(new)
    paths = [path for path in after if path not in before or before[path] != after[path]]
    paths += [path for path in before if path not in after]
    if old is not None:
        moved = _limits_moved(old, new)
        before |= {path: text for path, (text, _) in moved.items()}
        after |= {path: text for path, (_, text) in moved.items()}
        paths += moved
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


def another_instance(old: StackConfig, new: StackConfig) -> tuple[str, ...]:
    """The inputs of the instance that differ and that no instance changes, so that another one takes its place.

    As ``program/instance.py`` has it. An architecture comes with another machine image.
    """
    differs = {
        "ami": old.ami != new.ami,
        "instanceMarketOptions": old.purchase != new.purchase,
        "instanceType": old.purchase == new.purchase == "spot" and old.instance_type != new.instance_type,
    }
    return tuple(name for name, other in differs.items() if other)


def migrated_services(old: StackConfig, new: StackConfig) -> tuple[ServiceName, ...]:
    """The services that run now and whose data a change puts other software on, which may migrate it."""

    def is_other(name: ServiceName) -> bool:
        before, after = old.services.get(name), new.services.get(name)
        return after is not None and (before is None or before.image.by_digest != after.image.by_digest)

    def users(name: ServiceName) -> list[ServiceName]:
        return [name, *(user for user in new.services if name in new.needs(user))]

    return tuple(name for name in COPIED if name in old.services and any(map(is_other, users(name))))


def _flatten(config: StackConfig) -> dict[str, str]:
    values = dict(_leaves(config, ""))
    if config.rendering == 1:
        values.update({path: expanded(value) for path, value in values.items() if _ENVIRONMENT in path})
    return values


def _limits_moved(old: StackConfig, new: StackConfig) -> dict[str, tuple[str, str]]:
    """Path → the memory limit before and after, of services that another takes memory from, or gives it back to."""
    if old.instance.memory_mib != new.instance.memory_mib:
        return {}  # told by the instance type
    before, after = limits(old), limits(new)
    return {
        f"{name}.memory_mib": (str(before[name]), str(after[name]))
        for name in before.keys() & after.keys()
        if before[name] != after[name]
    }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, value as text) of all that is in a config, as its fields are declared to be told."""
    if isinstance(value, ImageReference):
        yield path, _short(str(value))
    elif isinstance(value, OwnService):
        yield from ((f"{path}.{part}", text) for part, text in value.told.items())
    elif isinstance(value, Model):
        for name, field in type(value).model_fields.items():
            declared = told(field.metadata)
            if not declared.not_shown:
                part = name if declared.path is None else declared.path
                yield from _leaves(getattr(value, name), f"{path}.{part}".strip("."))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}".strip("."))
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _change(path: str, old: str | None, new: str | None) -> ConfigChange:
    if SECRET_ENVIRONMENT in path:
        own = path.replace(SECRET_ENVIRONMENT, ".")
        return ConfigChange(path=path, old=_shown_secret(old, own), new=_shown_secret(new, own))
    if _ENVIRONMENT not in path:
        return ConfigChange(path=path, old=old, new=new)
    name = path.rpartition(".")[2]
    shown_old, shown_new = shown_value(name, old), shown_value(name, new)
    if shown_new is not None and shown_old == shown_new:
        shown_new = f"{shown_new}, changed"
    return ConfigChange(path=path, old=shown_old, new=shown_new)


def _shown_secret(name: str | None, own: str) -> str | None:
    """A secret, with its name where that is not the variable's own."""
    return name if name is None else HIDDEN if name == own else f"(secret {name})"


def _short(image: str) -> str:
    """An image with enough of its digest to tell two apart that carry the same tag."""
    tagged, _, digest = image.partition("@")
    return f"{tagged}@{digest[:19]}" if digest else tagged


def _order(path: str) -> tuple[int, int, str]:
    """What the instance is, then the services in the order in which they start, then settings of geusemaker's own."""
    head = path.partition(".")[0]
    if head in _STARTED:
        return 1, _STARTED.index(head), path
    if head not in StackConfig.model_fields and head not in (fields.SETTINGS.path,):
        return 1, len(_STARTED), path
    if head == fields.SETTINGS.path:
        return 2, 0, path
    return 0, list(StackConfig.model_fields).index(head) if head in StackConfig.model_fields else 99, path


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
