"""Older n8n on data that a newer one has migrated: it starts, answers its probes, and need not work. Pure.

Tried with real n8n on real PostgreSQL: 1.100.1 on the data of 1.123.5 and of 2.41.1 is ready, and each login is HTTP
500 (a column is gone); webhooks answer and their executions fail. Restoring the dump from before repairs it.
n8n's own `db:revert` is no way back: it takes back one migration at a time and ends, with exit status 0, at the first
that is irreversible. Source: n8n, packages/cli/src/commands/db/revert.ts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from geusemaker.models.checkpoint import Checkpoint
from geusemaker.models.image import ImageReference
from geusemaker.models.result import NewerData
from geusemaker.models.state import DeploymentState
from geusemaker.services.compatibility import release

WORKS: Final[tuple[tuple[tuple[int, int, int], tuple[int, int]], ...]] = (((2, 41, 1), (1, 123)),)
"""(the n8n that migrated the data, the minor version of the older one that was seen to work on it). 1.123.5 and
1.123.81 on the data of 2.41.1: 48 questions to its REST API answered as before; binary data of 2.x is not found."""

_OFFICIAL: Final = "n8nio/n8n"


def known_to_work(wanted: ImageReference, migrated_by: Collection[ImageReference]) -> bool:
    """Whether ``wanted`` was seen to work on data that each of the others may have migrated."""

    def works(newer: ImageReference) -> bool:
        new, old = release(newer.tag), release(wanted.tag)
        official = all(image.repository.endswith(_OFFICIAL) for image in (newer, wanted))
        return official and new is not None and old is not None and (new, old[:2]) in WORKS

    return bool(migrated_by) and all(map(works, migrated_by))


def tried_since(state: DeploymentState, wanted: ImageReference) -> tuple[ImageReference, ...]:
    """The n8n images that were tried since ``wanted`` last ran on data of its own, and may have migrated it past that.

    Older ones have not. Of one whose tag names no release that cannot be told.
    """
    found: dict[str, ImageReference] = {}
    for version in reversed(state.versions):
        service = version.config.services.get("n8n")
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
    """The newest checkpoint with n8n's data as it was before migrations that are not ``known``."""
    fitting = [
        checkpoint
        for checkpoint in checkpoints
        if "postgresql" in checkpoint.services
        and checkpoint.migrations is not None
        and set(checkpoint.migrations) <= set(known)
    ]
    return fitting[-1] if fitting else None


def restore_command(deployment: str, checkpoint: Checkpoint | None) -> str:
    """What puts n8n's data back as a checkpoint holds it, and leaves Qdrant's as it is; empty without one."""
    if checkpoint is None:
        return ""
    services = [service for service in checkpoint.services if service != "qdrant"]
    chosen = [f"--service {service}" for service in services if len(services) < len(checkpoint.services)]
    return " ".join([f"geusemaker restore {deployment} --checkpoint {checkpoint.checkpoint}", *chosen])


def newer_data(
    deployment: str, wanted: ImageReference, migrations: Sequence[str], works: bool, checkpoint: Checkpoint | None
) -> NewerData:
    """What is to be said of ``wanted`` on data that has been through ``migrations`` which it does not know."""
    name = checkpoint.checkpoint if checkpoint is not None else ""
    command = restore_command(deployment, checkpoint)
    count = "one migration" if len(migrations) == 1 else f"{len(migrations)} migrations"
    sentence = f"{wanted.tagged} runs on data that a newer n8n has migrated: {count} that it does not know."
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
