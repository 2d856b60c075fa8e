"""Older data that goes back with the software: which, whether it may, and what must be there afterwards.

n8n's alone, which lies in PostgreSQL: an older Qdrant cannot be given its snapshots before it runs, and it need not run
on what a newer one has written. That stays two commands, which the rule for Qdrant names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from geusemaker.agent.data.postgresql import own_name
from geusemaker.agent.protocol.answers import Applied
from geusemaker.catalog import MIGRATED
from geusemaker.catalog.rules import DataFacts
from geusemaker.checks import failures
from geusemaker.errors import HostError, RefusedError
from geusemaker.models.checkpoint import Checkpoint, DataNow
from geusemaker.models.held import DataReturn, Held
from geusemaker.models.plan import CheckResult
from geusemaker.models.version import Version
from geusemaker.services.change.model import Asked
from geusemaker.services.collaborators import Host
from geusemaker.services.compatibility import compatibility_checks
from geusemaker.services.newer_data import holding
from geusemaker.services.restore.choice import replacements
from geusemaker.services.rollback.target import flags_for, replacing

_STORE: Final = MIGRATED.needs
"""The services that hold the data."""


def find(host: Host | None, asked: Asked, known: DataFacts | None, now: datetime) -> DataReturn:
    """The data that goes back.

    Args:
        host: the instance.
        asked: the rollback.
        known: what is known of the data.
        now: the time, in UTC.

    Raises:
        RefusedError: no data of n8n stands in the way, or there is none that could go back.
    """
    name, untouched = asked.name, asked.untouched
    if host is None or known is None:
        raise RefusedError(
            f"The data of {name} cannot go back now: its instance does not answer, and {_title()} has to run for it.",
            state=untouched,
            next_step=f"`geusemaker status {name}` says what to do.",
        )
    if (pending := check_open(asked, known, any_version=True)) is not None:
        raise RefusedError(f"{pending.detail}.", state=untouched)
    checkpoint = choose(asked, known)
    if checkpoint is None:
        risk = _rollback(asked, "--allow-data-downgrade")
        raise RefusedError(
            "No checkpoint holds the data as it was before the migrations that stand in the way.",
            state=untouched,
            next_step=f"`geusemaker checkpoints {name}` shows those there are; `{risk}` goes back without, and takes "
            "the risk.",
        )
    try:
        there = DataNow.model_validate(host.checkpoints(_STORE).now)
    except HostError as error:
        raise RefusedError(
            f"What is there now cannot be looked at: {error.message}",
            state=untouched,
            next_step=f"`geusemaker status {name}` says what to do.",
        ) from error
    if checkpoint.n8n_key and there.n8n_key and checkpoint.n8n_key != there.n8n_key:
        raise RefusedError(
            f"Checkpoint {checkpoint.checkpoint} was made with another encryption key of {MIGRATED.title}: the "
            "credentials in it could not be read.",
            state=untouched,
            next_step=f"`geusemaker secrets import {name} --help` tells how that key comes back first.",
        )
    replaced, left = replacements(checkpoint, there, _STORE)
    return DataReturn(
        checkpoint=checkpoint.checkpoint,
        taken_at=checkpoint.taken_at,
        service=MIGRATED.name,
        services=_STORE,
        replaced=replaced,
        left=left,
        files=checkpoint.n8n_files is not None,
        since_seconds=max(0.0, (now - checkpoint.taken_at).total_seconds()),
    )


def choose(asked: Asked, known: DataFacts) -> Checkpoint | None:
    """The newest checkpoint whose data the software that comes back knows: of all such ones the least is lost with it.

    One that a restore took comes last: somebody wanted that data to go.

    Raises:
        RefusedError: no data of n8n stands in the way, or that cannot be told.
    """
    wanted = asked.change.config.services.get(MIGRATED.name)
    if wanted is not None and (known.migrations is None or known.migrations_then is None):
        raise RefusedError(
            f"Whether {MIGRATED.title} has migrated its data since {wanted.image.tagged} ran is not on record.",
            state=asked.untouched,
            next_step=f"Run `{_rollback(asked)}`; then `geusemaker restore {asked.name}` puts older data in place.",
        )
    then = known.migrations_then or frozenset()
    if wanted is None or not (known.migrations or frozenset()) - then:
        raise _needless(asked, known)
    return holding((one for one in known.checkpoints if not one.precedes_restore), then) or holding(
        known.checkpoints, then
    )


def _needless(asked: Asked, known: DataFacts) -> RefusedError:
    """No data of n8n stands in the way; it may be another service's that does."""
    others = failures(compatibility_checks(asked.change.config, known))
    if others:
        return RefusedError(
            f"With data goes {MIGRATED.title} alone, and its data does not stand in the way.",
            state=asked.untouched,
            next_step=f"{'; '.join(others)}.",
        )
    return RefusedError(
        f"No data stands in the way of v{_source(asked).number}: a plain rollback does it.",
        state=asked.untouched,
        next_step=f"Run `{_rollback(asked)}`; the data stays as it is.",
    )


def check_open(asked: Asked, known: DataFacts, *, any_version: bool = False) -> CheckResult | None:
    """Refuses other software while older data is in place for a version that did not become healthy.

    It makes way for what was there before, as soon as anything is applied: only what ran on that may come first.

    Args:
        asked: the change.
        known: what is known of the data.
        any_version: that one as well is refused.
    """
    active, operation = asked.state.active, known.data_return
    if not operation or active is None or operation == active.provenance.operation_id:
        return None
    before, wanted = (config.services.get(MIGRATED.name) for config in (active.config, asked.change.config))
    same = before is not None and wanted is not None and before.image.by_digest == wanted.image.by_digest
    if same and not any_version:
        return None
    detail = (
        f"older data is in place of that of v{active.number}, for a rollback that did not become healthy: first "
        f"`{_to(asked, active)}`, which puts back what was there"
    )
    return CheckResult(name=f"{MIGRATED.title} data", status="fail", detail=detail)


def as_returned(known: DataFacts, found: DataReturn) -> DataFacts:
    """What is known of the data, once it has gone back: of the service that goes with it, there is nothing to say."""
    return replace(known, served={name: image for name, image in known.served.items() if name != found.service})


def check(found: DataReturn) -> CheckResult:
    """Says in the checks that the data goes back as well."""
    detail = f"goes back as well, to {found.checkpoint}, which holds it as it was before it was migrated"
    return CheckResult(name=f"{MIGRATED.title} data", status="pass", detail=detail)


def named(found: DataReturn | None, operation: str) -> DataReturn | None:
    """With the names under which databases of now are kept by an operation."""
    if found is None:
        return None
    kept = {
        one.now.name: own_name(one.now.name, "before", operation)
        for one in found.replaced
        if one.now is not None and one.now.service in _STORE
    }
    return found.model_copy(update={"kept": kept})


def comparable(before: dict[str, Any] | None, found: DataReturn | None, applied: Applied) -> dict[str, Any] | None:
    """What of the data must still be there after a change: not what made way for other data, which is kept elsewhere.

    Args:
        before: the manifest before the change.
        found: the data that went back.
        applied: what the instance said it did.
    """
    if before is None or not (found is not None or applied.put_back):
        return before
    went = {one.then.name for one in found.replaced} if found is not None else {*applied.kept}
    went |= {own_name(name, "before", applied.put_there_by) for name in applied.kept if applied.put_back}
    services: dict[str, Any] = {**before.get("services", {})}
    services.pop(MIGRATED.name, None)
    for name in _STORE:
        held = services.get(name)
        if isinstance(held, dict) and isinstance(held.get("databases"), dict):
            stays = {database: tables for database, tables in held["databases"].items() if database not in went}
            services[name] = {**held, "databases": stays}
    return {**before, "services": services}


def lacking(found: DataReturn, now: DataNow, databases: Collection[str]) -> list[str]:
    """What of the checkpoint is not there, or what of before is not kept; one phrase each.

    Args:
        found: the data that went back.
        now: what is there now.
        databases: all that there are, those that are kept among them.
    """
    there = {held.name: held for held in now.holds}
    gone = [f"database {old} is not kept as {new}" for old, new in found.kept.items() if new not in databases]
    for one in found.replaced:
        has = there.get(one.then.name)
        if has is None:
            gone.append(f"database {one.then.name} of {found.checkpoint} is not there")
        elif less := _less(one.then, has):
            gone.append(f"database {one.then.name} has {less} of {found.checkpoint}")
    return gone


def _less(then: Held, now: Held) -> str:
    """What there is less of; rows may be fewer: n8n removes executions."""
    numbers = (("tables", then.tables, now.tables), ("workflows", then.workflows, now.workflows))
    fewer = [f"{has} of {had} {what}" for what, had, has in numbers if had and has is not None and has < had]
    return " and ".join(fewer)


def all_databases(manifest: dict[str, Any] | None) -> Sequence[str]:
    """The names of all databases in a manifest."""
    services = (manifest or {}).get("services", {})
    return [name for one in _STORE for name in (services.get(one, {}).get("databases") or ())]


def _rollback(asked: Asked, *flags: str) -> str:
    """The rollback that was asked for, with other flags."""
    version, services = _source(asked), [f"--service {name}" for name in asked.change.services_from]
    return _to(asked, version, *services, *flags)


def _source(asked: Asked) -> Version:
    """The version that is gone to, or that services come from."""
    number = next(iter(asked.change.services_from.values()), asked.change.source_version)
    found = asked.state.find_version(number or 0)
    assert found is not None
    return found


def _to(asked: Asked, version: Version, *flags: str) -> str:
    """The command that goes to a version."""
    all_flags = dict.fromkeys([*flags_for(version), *replacing(asked.state, version), *flags])
    return " ".join([f"geusemaker rollback {asked.name} v{version.number}", *all_flags])


def _title() -> str:
    return " and ".join(_STORE)
