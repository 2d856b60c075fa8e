"""Which checkpoint is restored, what that replaces, and whether what runs now can read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.checkpoint import Checkpoint, CopiedService, DataNow, Held, Replacement
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult, CheckStatus
from geusemaker.models.stack import StackConfig
from geusemaker.services.compatibility import release

COPIED: Final[tuple[CopiedService, ...]] = ("postgresql", "qdrant")
OWN_DATABASE: Final = "postgres"
"""PostgreSQL's own: clients connect to it to rename the others, so it is left as it is."""
_NAME = re.compile(r"v[1-9]\d*(?:/[A-Za-z0-9][A-Za-z0-9._:-]*)?")
_LISTED: Final = 5


def default_checkpoint(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The newest that was taken before a change. Not one that a restore took: that would undo the restore."""
    return next((found for found in reversed(checkpoints) if not found.precedes_restore), None)


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
            state="Nothing was changed.",
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


def choose_services(
    deployment: str, checkpoint: Checkpoint, config: StackConfig, wanted: Sequence[str]
) -> tuple[CopiedService, ...]:
    """The services to restore: those asked for, or all that the checkpoint has data of and that run now.

    Raises:
        InvalidInputError: no checkpoint holds data of such a service.
        RefusedError: this one does not, or the service is not enabled.
    """
    for name in wanted:
        if name not in COPIED:
            raise InvalidInputError(
                f"No checkpoint has data of {name}: only {' and '.join(COPIED)} are copied.",
                state="Nothing was changed.",
            )
    chosen: tuple[CopiedService, ...] = tuple(name for name in COPIED if name in (wanted or checkpoint.services))
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
    checkpoint: Checkpoint, now: DataNow, services: Iterable[CopiedService]
) -> tuple[tuple[Replacement, ...], tuple[Held, ...]]:
    """(what is replaced by what, what is there now and stays because the checkpoint does not have it)"""
    chosen = set(services)
    there = {(held.service, held.name): held for held in now.holds if held.service in chosen}
    then = {
        (held.service, held.name): held
        for held in checkpoint.holds
        if held.service in chosen and (held.service, held.name) != ("postgresql", OWN_DATABASE)
    }
    replaced = tuple(Replacement(then=held, now=there.get(key)) for key, held in then.items())
    left = (held for key, held in there.items() if key not in then)
    return replaced, tuple(held for held in left if held.name != OWN_DATABASE or held.tables)


def restore_checks(
    checkpoint: Checkpoint, now: DataNow, services: Iterable[CopiedService], config: StackConfig
) -> list[CheckResult]:
    """Whether the software that runs can read what the checkpoint holds; see geusemaker.services.compatibility."""
    checks = []
    for name, judge in (("postgresql", _n8n), ("qdrant", _qdrant)):
        if name in tuple(services) and (check := judge(checkpoint, now, config)) is not None:
            checks.append(check)
    return checks


def n8n_files_notice(checkpoint: Checkpoint) -> str:
    """What becomes of the files of n8n's executions where its database is restored; empty: there is nothing to say."""
    if not any(held.workflows is not None for held in checkpoint.holds):
        return ""
    if checkpoint.n8n_files is None:
        return "The checkpoint has no files of n8n's executions (binary data); those of now stay as they are."
    files, noun = checkpoint.n8n_files.files, "file" if checkpoint.n8n_files.files == 1 else "files"
    return (
        f"n8n's executions have their {files} {noun} of then; those of now are set aside (binaryData_before_…, "
        "storage_before_…), since execution numbers are given again."
    )


def _n8n(checkpoint: Checkpoint, now: DataNow, config: StackConfig) -> CheckResult | None:
    n8n = config.services.get("n8n")
    if n8n is None or checkpoint.migrations is None:
        return None
    here = set(now.migrations or ())
    newer = [name for name in checkpoint.migrations if name not in here]
    if not newer:
        behind = len(here - set(checkpoint.migrations))
        what = f"n8n runs the {behind} since at its start" if behind else "as many as the database has now"
        return _result("n8n data", "pass", f"{len(checkpoint.migrations)} migrations, {what}")
    ran = _tag(checkpoint.images.get("n8n"))
    then, wanted = release(ran), release(n8n.image.tag)
    if then is not None and wanted is not None and wanted >= then:
        return _result("n8n data", "pass", f"left by n8n {ran}, which {n8n.image.tagged} follows")
    detail = f"the database has been through migrations that {n8n.image.tagged} may not know ({', '.join(newer[:3])})"
    if then is None or wanted is None:
        return _result("n8n data", "warn", detail)
    return _result("n8n data", "fail", f"{detail}: n8n {ran} left it, go to v{checkpoint.version} first")


def _qdrant(checkpoint: Checkpoint, now: DataNow, config: StackConfig) -> CheckResult | None:
    made_by, runs = checkpoint.versions.get("qdrant", ""), now.versions.get("qdrant", "")
    then, here = release(made_by), release(runs)
    if then is None or here is None:
        detail = f"whether Qdrant {runs or '?'} restores a snapshot that {made_by or '?'} made cannot be told"
        return _result("Qdrant data", "warn", detail)
    step = f"snapshots of {made_by}, restored by {runs}"
    if then[:2] == here[:2]:
        return _result("Qdrant data", "pass", f"{step}: the same minor version")
    if then[0] == here[0] and here[1] == then[1] + 1:
        return _result("Qdrant data", "warn", f"{step}: Qdrant promises that only within one minor version")
    return _result("Qdrant data", "fail", f"{step}: not within one minor version, go to v{checkpoint.version} first")


def _tag(image: str | None) -> str:
    try:
        return ImageReference.parse(image or "").tag
    except ValueError:
        return ""


def _result(name: str, status: CheckStatus, detail: str) -> CheckResult:
    return CheckResult(name=name, status=status, detail=detail)


def _those_there_are(deployment: str, checkpoints: Sequence[Checkpoint]) -> str:
    if not checkpoints:
        return "One is taken before a change of PostgreSQL's, n8n's or Qdrant's image."
    newest = ", ".join(found.checkpoint for found in list(reversed(checkpoints))[:_LISTED])
    return f"There is {newest}; `geusemaker checkpoints {deployment}` shows what is in them."
