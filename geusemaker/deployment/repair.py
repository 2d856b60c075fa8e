"""A deployment's files in the backend, mended."""

from __future__ import annotations

from geusemaker.deployment.confirm import ConfirmRepair, yes
from geusemaker.errors import DeclinedError, WorkspaceError
from geusemaker.models.doctor import RepairReport
from geusemaker.questions import Questions
from geusemaker.wiring import OnEvent, ignore


class Repair(Questions):
    """The verb that mends files."""

    def repair_backend(self, confirm: ConfirmRepair = yes, on_event: OnEvent = ignore) -> RepairReport:
        """Bring damaged files of the backend back from their newest good copies; what is damaged is kept.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: a run of the engine holds the deployment.
            WorkspaceError: a file cannot be mended.
        """
        engine, salvage = self._wiring.salvage(on_event)
        steps = salvage.steps()
        if not steps and not engine.exists():
            raise self._wiring.not_found()
        possible = tuple(step for step in steps if step.possible)
        impossible = [f"{step.file} ({step.reason}): {step.action}" for step in steps if not step.possible]
        if impossible:
            raise WorkspaceError(
                f"What is damaged cannot all be mended: {'; '.join(impossible)}.",
                state="Nothing was changed.",
                next_step=f"Then run `geusemaker doctor {self.name}` again.",
            )
        if not possible:
            return RepairReport(deployment=self.name)
        if not confirm(possible):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        kept = salvage.mend(possible)
        return RepairReport(
            deployment=self.name, steps=list(possible), kept=kept, next_step=f"Run `geusemaker recover {self.name}`."
        )
