"""Which checkpoint is restored, what that replaces, and whether what runs now can read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from geusemaker.catalog import COPIED, MIGRATED, SERVICES
from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.checkpoint import Checkpoint, DataNow, Held, Replacement
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.services.compatibility import as_check

_NAME = re.compile(r"v[1-9]\d*(?:/[A-Za-z0-9][A-Za-z0-9._:-]*)?")
_LISTED: Final = 5
LATEST: Final = "latest"


def default_checkpoint(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The newest that was taken before a change.

    Not one that a restore took, which would undo the restore; nor a backup, which may be of after what went wrong.
    """
    return next((found for found in reversed(checkpoints) if not (found.precedes_restore or found.is_backup)), None)


def choose_checkpoint(deployment: str, checkpoints: Sequence[Checkpoint], wanted: str | None) -> Checkpoint:
    """The checkpoint of that name, of that version, or the default one; ``checkpoints`` are oldest first.

    Raises:
        InvalidInputError: the name is none of a checkpoint.
        RefusedError: there is no such one.
    """
    if wanted is None:
        found = default_checkpoint(checkpoints)
        if found is not None:
            return found
        raise RefusedError(
            f"{deployment} has no checkpoint that was taken before a change.",
            state="Nothing was changed.",
            next_step=_those_there_are(deployment, checkpoints),
        )
    if not _NAME.fullmatch(wanted):
        raise InvalidInputError(
            f"{wanted!r} is not the name of a checkpoint.",
            next_step=f"Write vN or vN/OPERATION, as `geusemaker checkpoints {deployment}` shows them.",
        )
    named = [found for found in checkpoints if wanted in (found.checkpoint, f"v{found.version}")]
    # Of a version the one before a change comes first, whatever restores were made since.
    chosen = default_checkpoint(named) or next(reversed(named), None)
    if chosen is None:
        raise RefusedError(
            f"{deployment} has no checkpoint {wanted}.",
            state="Nothing was changed.",
            next_step=_those_there_are(deployment, checkpoints),
        )
    return chosen


def choose_backup(deployment: str, checkpoints: Sequence[Checkpoint], wanted: str) -> Checkpoint:
    """The backup of that id, or the ``latest``; ``checkpoints`` are oldest first.

    Raises:
        InvalidInputError: it is the name of a checkpoint that is no backup.
        RefusedError: there is no such one.
    """
    backups = [found for found in checkpoints if found.is_backup]
    if wanted == LATEST:
        # One that was never read again may be damaged; where there is no other, the restore itself tells.
        found = next((one for one in reversed(backups) if one.verified_at), next(reversed(backups), None))
    else:
        found = next((one for one in reversed(backups) if wanted in (one.operation, one.checkpoint)), None)
    if found is not None:
        return found
    if any(wanted in (one.operation, one.checkpoint) for one in checkpoints):
        raise InvalidInputError(
            f"{wanted} is no backup, but a checkpoint that a change took.",
            next_step=f"Name it with --checkpoint, as `geusemaker checkpoints {deployment}` shows it.",
        )
    raise RefusedError(
        f"{deployment} has no backup {wanted}." if backups else f"{deployment} has no backup.",
        state="Nothing was changed.",
        next_step=f"`geusemaker backup {deployment} --list` shows those there are."
        if backups
        else f"`geusemaker backup {deployment}` makes one.",
    )


def choose_services(
    deployment: str, checkpoint: Checkpoint, config: StackConfig, wanted: Sequence[str]
) -> tuple[ServiceName, ...]:
    """The services to restore: those asked for, or all that the checkpoint has data of and that run now.

    Raises:
        InvalidInputError: no checkpoint holds data of such a service.
        RefusedError: this one does not, or the service is not enabled.
    """
    for name in wanted:
        if name not in COPIED:
            raise InvalidInputError(
                f"No checkpoint has data of {name}: only {' and '.join(COPIED)} are copied.",
            )
    chosen: tuple[ServiceName, ...] = tuple(name for name in COPIED if name in (wanted or checkpoint.services))
    for name in chosen:
        if name not in checkpoint.services:
            raise RefusedError(
                f"Checkpoint {checkpoint.checkpoint} has nothing of {name}.",
                state="Nothing was changed.",
                next_step=f"`geusemaker checkpoints {deployment}` shows which one has.",
            )
    running = tuple(name for name in chosen if name in config.services)
    left_out = next((name for name in chosen if name not in running), None)
    if left_out is not None and (wanted or not running):
        raise RefusedError(
            f"{left_out} is not enabled now, so its data cannot be restored.",
            state="Nothing was changed.",
            next_step=f"Enable it first: `geusemaker update {deployment} --service {left_out}`.",
        )
    return running


def replacements(
    checkpoint: Checkpoint, now: DataNow, services: Iterable[ServiceName]
) -> tuple[tuple[Replacement, ...], tuple[Held, ...]]:
    """(what is replaced by what, what is there now and stays because the checkpoint does not have it)"""
    chosen = set(services)
    there = {(held.service, held.name): held for held in now.holds if held.service in chosen}
    then = {
        (held.service, held.name): held
        for held in checkpoint.holds
        if held.service in chosen and held.name not in SERVICES[held.service].left_alone
    }
    replaced = tuple(Replacement(then=held, now=there.get(key)) for key, held in then.items())
    left = (held for key, held in there.items() if key not in then)
    return replaced, tuple(held for held in left if held.name not in SERVICES[held.service].left_alone or held.tables)


def restore_checks(
    checkpoint: Checkpoint, now: DataNow, services: Iterable[ServiceName], config: StackConfig
) -> list[CheckResult]:
    """Whether the software that runs can read what the checkpoint holds."""
    chosen, checks = set(services), []
    for service in SERVICES.values():
        runs = config.services.get(service.name)
        if runs is None or chosen.isdisjoint({service.name, *service.needs}):
            continue
        if (verdict := service.restore_check(checkpoint, now, runs.image)) is not None:
            checks.append(as_check(service, verdict))
    return checks


def restore_downtime(services: Sequence[ServiceName], config: StackConfig) -> str:
    """What stops while services' data is replaced."""
    stops = f"{MIGRATED.title} stops until its data is in place. " if MIGRATED.name in config.services else ""
    return stops + next((SERVICES[name].restoring for name in services), "")


def kept_aside(services: Iterable[ServiceName]) -> str:
    """What is kept of what is replaced, beside the copy that is taken first, as the rest of that sentence."""
    return "".join(f", and {what} as well" for name in services if (what := SERVICES[name].kept_aside))


def restore_notice(checkpoint: Checkpoint, services: Iterable[ServiceName]) -> str:
    """What else becomes of the data of those that need what is restored; empty: there is nothing to say."""
    restored = set(services)
    users = (service for service in SERVICES.values() if not restored.isdisjoint(service.needs))
    return " ".join(notice for service in users if (notice := service.restore_notice(checkpoint)))


def _those_there_are(deployment: str, checkpoints: Sequence[Checkpoint]) -> str:
    if not checkpoints:
        return "One is taken before a change of PostgreSQL's, n8n's or Qdrant's image."
    newest = ", ".join(found.checkpoint for found in list(reversed(checkpoints))[:_LISTED])
    return f"There is {newest}; `geusemaker checkpoints {deployment}` shows what is in them."
