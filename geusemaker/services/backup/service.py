"""BackupService: has the instance copy all data, and lists such copies.

A backup changes nothing, so it has no intent and takes no lease: the agent refuses it while an operation has the
deployment, and whoever takes the lease meanwhile ends it at once.
"""

from __future__ import annotations

from typing import Final

from geusemaker.agent.planned import LEAST_SECONDS
from geusemaker.agent.protocol.backups import BackupDocument, Backups, ScheduleDocument
from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import (
    DeploymentBusyError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
)
from geusemaker.host.instance import failure_detail
from geusemaker.models.checkpoint import BackupList, Checkpoint
from geusemaker.models.result import BackupResult, ScheduleResult
from geusemaker.services import lease, progress
from geusemaker.services.backup.state import backup_state
from geusemaker.services.before import find_copies, require_running
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.restore.plan import checkpoints_on
from geusemaker.services.states import get_state, with_article

_NOTHING: Final = "Nothing was changed, and no backup was made."
_AS_BEFORE: Final = "What was planned stays."
_ENDED: Final = ("cancelled", "agent_died")
"""Codes with which it is told that somebody ended the agent."""


class BackupService:
    """Makes a backup, and lists those there are. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def list(self) -> BackupList:
        """The backups there are.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run: they are on the file system.
            HostError: the instance does not answer.
        """
        state = get_state(self._with)
        target, instance = find_copies(self._with, state, "backups")
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            found = [one for one in checkpoints_on(host) if one.is_backup]
            told = host.health({}).backups or Backups()
        return BackupList(deployment=state.name, backups=found[::-1], state=backup_state(told, self._with.clock.now()))

    def schedule(self, every_seconds: float | None, keep: int) -> ScheduleResult:
        """Have one taken every so many seconds, of which ``keep`` stay; None: none is taken by itself any more.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: too often, or none is kept.
            RefusedError: nothing runs, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment.
            HostError: the instance does not answer.
        """
        if every_seconds is not None and every_seconds < LEAST_SECONDS:
            raise InvalidInputError(
                f"A backup every {every_seconds:g} s is too often: {LEAST_SECONDS // 60} min are the least.",
                state=_AS_BEFORE,
            )
        if every_seconds is not None and keep < 1:
            raise InvalidInputError("One backup at least has to be kept.", state=_AS_BEFORE)
        state = get_state(self._with)
        require_running(self._with, state, why="so nothing runs whose data could be copied")
        target, instance = find_copies(self._with, state, "backups")
        every, operation = every_seconds or 0, self._with.clock.new_operation_id()
        document = ScheduleDocument(operation, self._with.actor, every, keep if every else 0)
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            try:
                told = host.schedule(document).backups
            except HostError as error:
                raise self._refusal(host, state.name, error, "What was planned may have changed, or not.") from error
        return ScheduleResult(deployment=state.name, backups=backup_state(told, self._with.clock.now()))

    def take(self) -> BackupResult:
        """Copy all that services hold now.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: nothing runs that could be copied, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment, or took it meanwhile; no backup was made.
            InterruptedOperationError: Ctrl-C; no backup was made.
            HostError: it failed, or the instance does not answer.
        """
        state = get_state(self._with)
        active, _ = require_running(self._with, state, why="so nothing runs whose data could be copied")
        target, instance = find_copies(self._with, state, "backups")
        backup = self._with.clock.new_operation_id()
        document = BackupDocument(backup, active.number, self._with.actor)
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            try:
                with progress.phase(self._with.on_event, "backup", "copying the data while everything still runs"):
                    done = host.backup(document, self._with.on_event)
            except KeyboardInterrupt as error:
                raise self._interrupted(host, backup) from error
            except HostError as error:
                raise self._refusal(host, state.name, error) from error
        checkpoint = Checkpoint.model_validate(done.checkpoint)
        return BackupResult(
            deployment=state.name,
            backup=backup,
            checkpoint=checkpoint,
            bytes=checkpoint.bytes,
            duration_seconds=round(self._with.clock.monotonic() - self._started, 3),
        )

    def _interrupted(self, host: Host, backup: str) -> GeusemakerError:
        try:
            host.cancel(backup)
        except HostError as error:
            state = f"Nothing was changed; on the instance the backup may go on to its end: {error.message}"
            return InterruptedOperationError("Interrupted.", state=state)
        return InterruptedOperationError("Interrupted.", state=_NOTHING)

    def _refusal(self, host: Host, name: str, error: HostError, left: str = _NOTHING) -> GeusemakerError:
        if error.code == "lease_held":
            return lease.busy(name, failure_detail(error).holder or Lease())
        if error.code in _ENDED and (holder := _holder(host)) is not None:
            return DeploymentBusyError(
                f"The backup of {name} gave way to {with_article(str(holder.kind))} of {holder.actor}.",
                state=left,
                next_step=f"Once that has ended (`geusemaker status {name}`): `geusemaker backup {name}` again.",
            )
        return error.completed(state=left)


def _holder(host: Host) -> Lease | None:
    """Who has the deployment now; None: nobody, or the instance does not tell."""
    try:
        held = host.lease().lease
    except HostError:
        return None
    return held if held is not None and held.state == "held" else None
