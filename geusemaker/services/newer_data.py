"""Older software on data that newer software has migrated (``geusemaker.catalog.n8n`` tells what that means). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from geusemaker.catalog import MIGRATED
from geusemaker.catalog.rules import release
from geusemaker.models.checkpoint import Checkpoint
from geusemaker.models.image import ImageReference
from geusemaker.models.result import NewerData
from geusemaker.models.state import DeploymentState


def tried_since(state: DeploymentState, wanted: ImageReference) -> tuple[ImageReference, ...]:
    """The images tried since ``wanted`` last ran on data of its own, which they may have migrated past that.

    Older ones have not. Of one whose tag names no release that cannot be told.
    """
    found: dict[str, ImageReference] = {}
    for version in reversed(state.versions):
        service = version.config.services.get(MIGRATED.name)
        if service is None:
            continue
        if service.image.by_digest != wanted.by_digest:
            tried, limit = release(service.image.tag), release(wanted.tag)
            if tried is None or limit is None or tried > limit:
                found[service.image.by_digest] = service.image
        elif version.healthy and not version.newer_data:
            break
    return tuple(found.values())


def holding(checkpoints: Iterable[Checkpoint], known: Collection[str]) -> Checkpoint | None:
    """The newest checkpoint with its data as it was before migrations that are not ``known``."""
    fitting = [
        checkpoint
        for checkpoint in checkpoints
        if set(MIGRATED.needs) <= set(checkpoint.services)
        and checkpoint.migrations is not None
        and set(checkpoint.migrations) <= set(known)
    ]
    return fitting[-1] if fitting else None


def restore_command(deployment: str, checkpoint: Checkpoint | None) -> str:
    """What puts its data back as a checkpoint holds it, and leaves all other as it is; empty without one."""
    if checkpoint is None:
        return ""
    services = [service for service in checkpoint.services if service in MIGRATED.needs]
    chosen = [f"--service {service}" for service in services if len(services) < len(checkpoint.services)]
    return " ".join([f"geusemaker restore {deployment} --checkpoint {checkpoint.checkpoint}", *chosen])


def newer_data(
    deployment: str, wanted: ImageReference, migrations: Sequence[str], works: bool, checkpoint: Checkpoint | None
) -> NewerData:
    """What is to be said of ``wanted`` on data that has been through ``migrations`` which it does not know."""
    name = checkpoint.checkpoint if checkpoint is not None else ""
    command = restore_command(deployment, checkpoint)
    count = "one migration" if len(migrations) == 1 else f"{len(migrations)} migrations"
    sentence = (
        f"{wanted.tagged} runs on data that a newer {MIGRATED.title} has migrated: {count} that it does not know."
    )
    if works:
        sentence += " It is known to work on it, but for binary data that the newer one wrote."
    else:
        sentence += " It answers, and may not work: logins and executions may fail."
    sentence += (
        f" Checkpoint {name} holds the data as it was before; `{command}` puts it back and keeps what came since aside."
        if name
        else f" No checkpoint holds the data as it was before (`geusemaker checkpoints {deployment}`)."
    )
    return NewerData(
        migrations=list(migrations), known_to_work=works, checkpoint=name, restore=command, message=sentence
    )
