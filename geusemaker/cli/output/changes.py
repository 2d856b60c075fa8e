"""What a version changed, in the few words of the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from geusemaker.cli.output.plan import render_change
from geusemaker.cli.output.text import count

if TYPE_CHECKING:
    from geusemaker.models.base import Model
    from geusemaker.models.fields import Told
    from geusemaker.models.plan import ConfigChange
    from geusemaker.models.stack import StackConfig
    from geusemaker.models.version import Version


def config_changes(old: StackConfig | None, new: StackConfig) -> list[str]:
    """What differs between two configs, in a few words each: ``n8n 1.91.0 → 1.92.0``, ``+qdrant``, ``-ollama``."""
    from geusemaker.models.plan import ConfigChange

    if old is None:
        return [new.instance_type, f"{count(len(new.services), 'service')}"]
    changes: list[str] = []
    words: dict[str, bool] = {}
    for name, declared, before, after in _differing(old, new):
        if name == "services":
            continue
        if declared.history:
            words[declared.history] = declared.system
        elif not declared.not_shown:
            changes.append(f"{before} → {after}")
    for name in sorted({*old.services, *new.services}):
        if name not in old.services:
            changes.append(f"+{name}")
        elif name not in new.services:
            changes.append(f"-{name}")
        else:
            for _, declared, before, after in _differing(old.services[name], new.services[name]):
                step = ConfigChange(path=name, old=str(before), new=str(after))
                changes.append(f"{name} {declared.history}" if declared.history else _one(step))
    return [*changes, *sorted(words, key=lambda word: words[word])]  # settings of geusemaker's own first


def set_secrets(version: Version) -> list[str]:
    """The secrets whose value was set with a version."""
    return [f"secret {name} set" for name in version.provenance.set_secrets]


def _differing(old: Model, new: Model) -> Iterator[tuple[str, Told, Any, Any]]:
    """(name, how it is told, old value, new value) of the fields that differ."""
    from geusemaker.models.fields import told

    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield name, told(field.metadata), before, after


def _one(change: ConfigChange) -> str:
    what, step = render_change(change)
    return f"{what} {step}"


def predecessor(versions: Sequence[Version], index: int) -> StackConfig | None:
    """The config a version started from: for a rollback whatever was there, else the last one that worked."""
    earlier = versions[:index]
    if not earlier:
        return None
    if versions[index].provenance.kind in ("rollback", "recover"):
        return earlier[-1].config
    return next((version.config for version in reversed(earlier) if version.healthy), earlier[-1].config)
