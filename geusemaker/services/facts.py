"""Gathers what is known of the data, for the rules of geusemaker.services.compatibility."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from geusemaker.agent.protocol.data import Data
from geusemaker.agent.protocol.looks import Manifest
from geusemaker.agent.protocol.reading import read
from geusemaker.agent.protocol.stored import Served
from geusemaker.catalog import JUDGED, MIGRATED
from geusemaker.catalog.rules import DataFacts
from geusemaker.errors import HostError
from geusemaker.models.checkpoint import Checkpoint
from geusemaker.models.image import ImageReference
from geusemaker.models.record import OperationRecord
from geusemaker.models.stack import StackConfig, describe
from geusemaker.models.state import DeploymentState
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.checkpoints import read_checkpoints
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.compatibility import is_step_back
from geusemaker.services.newer_data import holding, restore_command, tried_since


def are_needed(state: DeploymentState, config: StackConfig) -> bool:
    """Whether the data may have a say: other software on it, or an earlier operation that left it who knows how."""
    base = state.last_healthy
    if base is None or state.unsettled:
        return bool(state.versions)
    return any(
        service is not None and (before is None or before.image.by_digest != service.image.by_digest)
        for service, before in ((config.services.get(one.name), base.config.services.get(one.name)) for one in JUDGED)
    )


def read_facts(
    host: Host | None, records: Iterable[OperationRecord], state: DeploymentState, config: StackConfig
) -> DataFacts:
    """What is on disk, as the agent tells it; without an instance to ask, what the history tells."""
    found = Manifest()
    if host is not None:
        with suppress(HostError):  # nothing is known then, and what is not known is a warning
            found = host.manifest()
    data = found.data
    now = data.of(MIGRATED.name).migrations
    served = {**served_by_history(state), **_served(found.served)}
    then = None if now is None else migrations_then(host, records, state, config)
    migrated = config.services.get(MIGRATED.name)
    crossed = now is not None and then is not None and bool(set(now) - then)
    back = crossed or any(
        is_step_back(served.get(name), service.image)
        for name, service in config.services.items()
        if describe(config, name).goes_back_by_checkpoint
    )
    checkpoints = read_all_checkpoints(host) if back else ()
    return DataFacts(
        versions={name: str(held.version) for name, held in data.services.items() if held.version},
        served=served,
        owners={name: (one.uid, one.path) for name, one in found.owners.items()},
        migrations=None if now is None else frozenset(now),
        migrations_then=then,
        deployment=state.name,
        checkpoints=checkpoints,
        known_to_work=migrated is not None
        and MIGRATED.known_to_work(migrated.image, tried_since(state, migrated.image)),
        data_return=found.data_return,
        restore=restore_command(state.name, holding(checkpoints, then or ())),
    )


def read_all_checkpoints(host: Host | None) -> tuple[Checkpoint, ...]:
    """Those there are, oldest first: one of them may be the way back. None where the instance cannot be asked."""
    if host is None:
        return ()
    try:
        return read_checkpoints(host.checkpoints().checkpoints)
    except HostError:
        return ()


def served_by_history(state: DeploymentState) -> dict[str, ImageReference]:
    """Service → the image of the newest healthy version that had it."""
    found: dict[str, ImageReference] = {}
    for version in state.versions:
        if version.healthy:
            found |= {name: service.image for name, service in version.config.services.items()}
    return found


def _served(served: Mapping[str, Served]) -> dict[str, ImageReference]:
    found = {}
    for name, value in served.items():
        try:
            found[name] = ImageReference.parse(value.image)
        except ValueError:
            continue  # written by another geusemaker's agent; the history knows as well
    return found


def migrations_then(
    host: Host | None, records: Iterable[OperationRecord], state: DeploymentState, config: StackConfig
) -> frozenset[str] | None:
    """The migrations that the image which ``config`` names has run healthy on; None where no record tells.

    Records are looked for on this machine, then on the file system, where they are kept beside the data.
    """
    service = config.services.get(MIGRATED.name)
    if service is None:
        return None
    operations = [
        version.provenance.operation_id
        for version in reversed(state.versions)
        if version.healthy
        # What ran on newer data knows no more for it.
        and not version.newer_data
        and (before := version.config.services.get(MIGRATED.name)) is not None
        and before.image.by_digest == service.image.by_digest
    ]
    known = {record.operation_id: recorded_migrations(record.manifest_after) for record in records}
    if found := _all_of(known, operations):
        return found
    if host is None or not operations:
        return None
    try:
        entries = host.journal(operations=operations).entries
    except HostError:
        return None
    kept = {entry.get("operation_id"): recorded_migrations(entry.get("manifest_after")) for entry in entries}
    return _all_of(kept, operations)


def _all_of(known: Mapping[Any, frozenset[str] | None], operations: Iterable[str]) -> frozenset[str] | None:
    found = [migrations for operation in operations if (migrations := known.get(operation)) is not None]
    return frozenset().union(*found) if found else None


def recorded_migrations(manifest: dict[str, Any] | None) -> frozenset[str] | None:
    """The migrations in a manifest that was read when what runs them was ready: in the middle they are no fact yet.

    Older records do not tell whether it was.
    """
    found = read(Data, manifest).of(MIGRATED.name)
    return None if found.migrations is None or not found.ready else frozenset(found.migrations)


def copy_record(collaborators: Collaborators, host: Host, record: OperationRecord) -> None:
    """Keep a record beside the data as well: it outlives this machine there. That it cannot be is a warning."""

    def write() -> None:
        document = record.model_dump(mode="json", exclude={"manifest_before", "manifest_after"})
        document["manifest_after"] = kept_beside_data(record.manifest_after)
        host.journal(append=document)

    attempt(collaborators.on_event, "The journal's copy was not written", write)


def kept_beside_data(manifest: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a manifest a record on the file system needs: all else is there to be looked at."""
    migrations = recorded_migrations(manifest)
    return None if migrations is None else {"services": {MIGRATED.name: {"migrations": sorted(migrations)}}}
