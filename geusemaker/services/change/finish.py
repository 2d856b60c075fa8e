"""Ends a change whose version runs: warnings, the record, the intent's outcome, old images, the lease."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from geusemaker.catalog import REPOSITORIES
from geusemaker.errors import ChangeFailedError, InterruptedOperationError
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event
from geusemaker.models.record import OperationRecord
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import StackConfig
from geusemaker.models.version import WayBack
from geusemaker.services import bookkeeping, collation, crossing, facts, manifest, notices, verdicts, way_back
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change.meanwhile import Meanwhile
from geusemaker.services.change.record import make_result, tell
from geusemaker.services.change.verify import Seen
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.notices import data_kept
from geusemaker.services.outcomes import applied_of, health_of
from geusemaker.services.reach.ports import way_in
from geusemaker.services.site import dns_notice
from geusemaker.services.undo import undo_of_change


def finish(
    work: Work,
    meanwhile: Meanwhile,
    outcome: ApplyOutcome,
    seen: Seen,
    before: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
    *,
    bakes: bool = False,
) -> OperationResult:
    """Say and write down what a change came to whose services are healthy.

    With ``bakes`` its lease is not given back yet, unless there is a problem.
    """
    with_, asked, plan = work.collaborators, work.asked, work.plan
    warnings = manifest.told(seen.became, (checkpoint or {}).get("checkpoint", ""))
    warnings += collation.told(seen.after, plan.config)
    for text in seen.became.notes:
        with_.on_event(Event(kind="note", message=f"{text}."))
    for text in warnings:
        work.warn(text)
    told: dict[str, Any] = {
        "warnings": warnings,
        "away_seconds": work.away.seconds,
        "undo": undo_of_change(plan, asked.state),
    }
    if notice := dns_notice(asked.name, asked.state.target if plan.kind != "deploy" else None, work.change.target):
        with_.on_event(Event(kind="note", message=notice))
    if plan.kind in ("deploy", "update"):
        told["next_step"] = way_in(plan.config, asked.name)
    applied = applied_of(outcome)
    if plan.data_return is not None:
        told |= {"restored": plan.data_return.checkpoint, "kept": applied.kept, "set_aside": applied.set_aside}
    told["data_kept"] = [*data_kept(plan), *notices.kept(plan, applied)]
    if seen.problem:
        told |= {
            "exit_code": 4,
            "error_message": f"v{plan.number} runs, but {seen.problem}.",
            "next_step": f"Look at `geusemaker inspect {asked.name}` before anything else is changed.",
            "undo": "",
        }
    result = make_result(plan, work.elapsed, success=not seen.problem, health=health_of(outcome))
    result = result.model_copy(update=told)
    meanwhile.keep_secrets()
    if work.change.found_failing is not None and not seen.problem:
        verdicts.note(with_, failed=work.change.found_failing)
    stays = crossing.stays_on_newer_data(asked.state, plan.config)
    crossing.record(with_, plan.number, seen.crossed, stays=stays)
    if not seen.problem:
        found = way_back.note(with_, plan, asked.state, before, seen.after)
        result = result.model_copy(update={"way_back": found, "undo": _undo(result.undo, found)})
    if work.change.labels:
        labels = work.change.labels
        attempt(with_.on_event, "The labels were not written", lambda: with_.engine.set_labels(labels))
    record = write_record(work, result, before, seen.after, checkpoint)
    _settle(work, seen.host, record, keeps_lease=bakes and not seen.problem)
    if seen.crossed is None or seen.problem:
        return result
    return crossing.told(result, seen.crossed, accepted=asked.options.allow_data_downgrade)


def _undo(command: str, way: WayBack | None) -> str:
    """The command that takes the change back, where one command does."""
    if not command or way is None or way.kind in ("rollback", "unknown"):
        return command
    return way.commands[0] if len(way.commands) == 1 else ""


def write_record(
    work: Work,
    result: OperationResult,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
    *,
    tells: bool = True,
) -> OperationRecord:
    """Put it into the journal, in the place of what is there of this operation."""
    now = work.collaborators.clock.now()
    told = tell(work.found, work.plan, result, now=now, before=before, after=after, checkpoint=checkpoint)
    return work.operation.record(tells=tells, **told)


@contextmanager
def afterwards(work: Work) -> Iterator[None]:
    """What follows the engine's run: an error there does not come out as one that changed nothing.

    Raises:
        InterruptedOperationError: Ctrl-C.
        ChangeFailedError: something that nobody foresaw.
    """
    look = f"`geusemaker status {work.asked.name}` tells what runs and what to do."
    state = f"v{work.plan.number} was applied, and it was not looked at to the end."
    try:
        yield
    except KeyboardInterrupt as error:
        work.operation.settle(work.connection.host, "failed")
        work.operation.interrupted()
        raise InterruptedOperationError("Interrupted.", state=state, next_step=look) from error
    except (InterruptedOperationError, ChangeFailedError):
        raise
    except Exception as error:
        work.operation.settle(work.connection.host, "failed")
        raise ChangeFailedError(
            f"Something unforeseen went wrong after v{work.plan.number} was applied: {bookkeeping.reason(error)}",
            restored=False,
            state=state,
            next_step=look,
        ) from error


def _settle(work: Work, host: Host | None, record: OperationRecord, *, keeps_lease: bool) -> None:
    """Settle the intent, copy the record to EFS, remove images that no kept version needs, give the lease back."""
    outcome = "done" if record.success else "failed"
    with ThreadPoolExecutor(1) as pool:
        intent = pool.submit(work.operation.write_end, outcome)
        if host is not None:
            facts.copy_record(work.collaborators, host, record)
            if record.success and work.operation.has_lease:
                _collect_images(work, host)
        intent.result()
    if not keeps_lease:
        work.operation.give_back(host, outcome)


def _collect_images(work: Work, host: Host) -> None:
    plan = work.plan
    versions = [version for version in work.asked.state.versions if version.healthy and not version.archived]
    kept = [plan.config, *(version.config for version in versions)]
    keep = _images(kept)
    former = sorted({*_images([version.config for version in work.asked.state.versions])} - {*keep})
    numbers = [plan.number, *(version.number for version in versions)]
    # The change itself is done and recorded; old images cost disk space, no more.
    attempt(
        work.collaborators.on_event,
        "Old images were not removed",
        lambda: host.gc(plan.operation_id, keep, numbers, REPOSITORIES, former),
    )


def _images(configs: Iterable[StackConfig]) -> list[str]:
    return sorted({service.image.by_digest for config in configs for service in config.services.values()})
