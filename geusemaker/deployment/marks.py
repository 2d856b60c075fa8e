"""What is said of a deployment's versions: bad, pinned."""

from __future__ import annotations

from geusemaker.models.result import MarkResult
from geusemaker.questions import Questions
from geusemaker.wiring import ignore


class Marks(Questions):
    """The verbs that mark versions."""

    def mark(self, version: int, *, bad: bool, reason: str = "") -> MarkResult:
        """Mark a version bad, or good again. A bad one is no target of a rollback unless it is asked for.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(ignore)).mark(version, bad=bad, reason=reason)

    def pin(self, version: int, reason: str = "") -> MarkResult:
        """Keep a version ready to go back to, with its images and its checkpoint, however old it gets.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(ignore)).pin(version, pinned=True, reason=reason)

    def unpin(self, version: int) -> MarkResult:
        """Let a version go the way of the others: past the deployment's retention it is archived.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
            DeploymentBusyError: another operation holds the deployment.
        """
        from geusemaker.services.mark.service import MarkService

        return MarkService(self._wiring.existing(ignore)).pin(version, pinned=False)
