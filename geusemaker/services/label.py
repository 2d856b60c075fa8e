"""LabelService: writes labels where nothing else changes. No engine runs, and no version is made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from geusemaker.errors import ChangeFailedError, GeusemakerError, InterruptedOperationError
from geusemaker.models.request import ConfigRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.labels import label_changes, labels_of
from geusemaker.services.operation import Operation
from geusemaker.services.states import get_state, require_settled
from geusemaker.services.tag_lease import take_lease_of_tags


class LabelService:
    """Writes labels, which are stack tags: under the lease, announced and put on record, as marks are."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def write(self, labels: Mapping[str, str], request: ConfigRequest) -> OperationResult:
        """Write the labels that ``request`` asks for, of which ``labels`` are others than those there are.

        Raises:
            RefusedError, DeploymentBusyError: it cannot be done now; nothing was changed.
            ChangeFailedError, InterruptedOperationError: they may be written, or some of them.
        """
        state = self._state()
        if request.dry_run:
            return self._result(state, labels, dry_run=True)
        assert state.active is not None
        operation = Operation(self._with, self._with.clock.new_operation_id(), "label", state.active.number)
        with self._with.engine.turn(), ExitStack() as stack:
            host = take_lease_of_tags(self._with, operation, state, stack)
            state = self._state()  # read again: whoever had the lease before may have changed it
            labels = labels_of(request, state.labels)
            if not labels:
                return self._result(state, labels)
            operation.begin(host, beside=state)
            result = self._result(state, labels)
            told: dict[str, Any] = {"changes": result.changes, "reason": request.reason}
            try:
                self._with.engine.set_labels(labels)
            except (GeusemakerError, KeyboardInterrupt) as error:
                why = "interrupted" if isinstance(error, KeyboardInterrupt) else error.message
                operation.finish(host, success=False, error_message=why, **told)
                raise self._unsure(error) from error
            seconds = round(self._with.clock.monotonic() - self._started, 3)
            operation.finish(host, success=True, duration_seconds=seconds, **told)
        return result.model_copy(update={"operation_id": operation.id, "duration_seconds": seconds})

    def _state(self) -> DeploymentState:
        state = get_state(self._with)
        require_settled(self._with, state)
        return state

    @staticmethod
    def _result(state: DeploymentState, labels: Mapping[str, str], *, dry_run: bool = False) -> OperationResult:
        labelled = " ".join(f"--label {key}={state.labels.get(key, '')}" for key in labels)
        return OperationResult(
            success=True,
            deployment=state.name,
            kind="label",
            version=state.active.number if state.active is not None else None,
            dry_run=dry_run,
            changes=[str(change) for change in label_changes(state.labels, labels)],
            undo=f"geusemaker update {state.name} {labelled}" if labelled and not dry_run else "",
        )

    def _unsure(self, error: GeusemakerError | KeyboardInterrupt) -> GeusemakerError:
        name = self._with.deployment
        state = "Each label is the old one or the new one; nothing else was touched."
        next_step = f"`geusemaker inspect {name}` shows them; running the command again is safe."
        if isinstance(error, KeyboardInterrupt):
            return InterruptedOperationError("Interrupted.", state=state, next_step=next_step)
        return ChangeFailedError(error.message, restored=False, state=state, next_step=next_step)
