"""Copies of a deployment's data, whatever changes: no version changes, and nothing stops."""

from __future__ import annotations

from geusemaker.models.checkpoint import BackupList
from geusemaker.models.result import BackupResult, ScheduleResult
from geusemaker.questions import Questions
from geusemaker.wiring import OnEvent, ignore


class Backups(Questions):
    """The verbs that copy data."""

    def backup(self, on_event: OnEvent = ignore) -> BackupResult:
        """Copy PostgreSQL's databases, n8n's files and Qdrant's collections while everything runs; read it once more.

        It gives way: an operation that takes the deployment meanwhile ends it. No change removes it.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: nothing runs that could be copied, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment, or took it meanwhile; no backup was made.
            HostError: it failed, or the instance does not answer; no backup was made.
        """
        from geusemaker.services.backup.service import BackupService

        return self._in_turn(lambda: BackupService(self._wiring.existing(on_event)).take(), on_event)

    def schedule_backups(self, every_seconds: float | None, keep: int = 7) -> ScheduleResult:
        """Have the instance take one every so many seconds (900 at least), of which the newest ``keep`` stay.

        None ends it; the backups there are stay. Those that somebody asked for are never removed.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: too often, or none is kept.
            RefusedError: nothing runs, or an operation was killed before.
            DeploymentBusyError: another operation holds the deployment.
            HostError: the instance does not answer.
        """
        from geusemaker.services.backup.service import BackupService

        return self._in_turn(lambda: BackupService(self._wiring.existing(ignore)).schedule(every_seconds, keep), ignore)

    def backups(self) -> BackupList:
        """The backups there are, newest first.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run.
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.backup.service import BackupService

        return BackupService(self._wiring.existing(ignore)).list()
