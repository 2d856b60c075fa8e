"""An interruption that passed by itself: EC2 took the instance back and started it again, and its services are back."""

from __future__ import annotations

from geusemaker.models.ending import InstanceEnd
from geusemaker.models.plan import Event
from geusemaker.models.record import OperationRecord
from geusemaker.models.state import DeploymentState
from geusemaker.services import bookkeeping
from geusemaker.services.collaborators import Collaborators


def record_return(collaborators: Collaborators, state: DeploymentState, ended: InstanceEnd) -> None:
    """Put it on record, here and beside the data, where the note of it ends: it is recorded once.

    Raises:
        HostError: the instance does not answer.
    """
    assert state.active is not None and state.target is not None
    number, now = state.active.number, collaborators.clock.now()
    record = OperationRecord(
        operation_id=collaborators.clock.new_operation_id(),
        deployment=state.name,
        kind="recover",
        number=number,
        from_version=number,
        trigger="spot_interruption",
        actor=collaborators.actor,
        started_at=now,
        success=True,
        changes=[f"{ended.why}."],
    )
    instance = collaborators.cloud(state.target.region).find_instance(state.name)
    assert instance is not None
    with collaborators.open_host(instance.address, state.target, collaborators.engine.load_secrets()) as host:
        host.journal(append=record.model_dump(mode="json"), returned=True)
    bookkeeping.record(collaborators, record)
    collaborators.teller.ended(record)
    collaborators.on_event(Event(kind="note", message=f"Put on record: {ended.why}."))
