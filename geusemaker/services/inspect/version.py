"""Everything that is known about one version, and what a return to it would do."""

from __future__ import annotations

from geusemaker.errors import GeusemakerError
from geusemaker.models.record import OperationRecord
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.models.version_report import VersionReport
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.diff.compare import Side, compare
from geusemaker.services.differences import config_changes
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.records import read_records
from geusemaker.services.rollback.target import default_target, flags_for, known_version, objections, replacing
from geusemaker.services.states import get_state, has_volume, models_on_volume


class VersionService:
    """Looks at one version; changes nothing."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def report(self, number: int) -> VersionReport:
        """Everything known about a version.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
        """
        state = get_state(self._with, whole=True)
        version = known_version(state, number)
        active, target = state.active, default_target(state)
        is_active = active is not None and active.number == number
        notes: list[str] = []
        record = self._record(state, version, notes)
        back = None
        if active is not None and not is_active:
            site = state.target.site if state.target is not None else None
            sides = (Side(f"v{each.number}", each.config, each.number, site) for each in (active, version))
            back = compare(state.name, *sides, data_volume=has_volume(state), models_on_volume=models_on_volume(state))
        goes = back is not None and (not back.same or state.unsettled)
        flags = (*flags_for(version), *replacing(state, version))
        return VersionReport(
            deployment=state.name,
            version=version,
            config_told=list(config_changes(None, version.config)),
            active=is_active,
            default_target=target is not None and target.number == number,
            error_message=record.error_message if record is not None else None,
            health_status=record.health_status if record is not None else {},
            operation_seconds=record.duration_seconds if record is not None else None,
            evidence=record.evidence if record is not None else None,
            back=back,
            objections=objections(version) if goes else [],
            command=" ".join([f"geusemaker rollback {state.name} v{number}", *flags]) if goes else "",
            notes=notes,
        )

    def _record(self, state: DeploymentState, version: Version, notes: list[str]) -> OperationRecord | None:
        """What the journal says of the operation that made it: this machine's, else its copy on the instance."""
        operation = version.provenance.operation_id
        for record in self._with.journal.read():
            if record.operation_id == operation:
                return record
        if state.target is None or state.destroyed:
            return None
        elsewhere = "How it went is not known on this machine, and the instance, which has a copy,"
        try:
            require_account(self._with, state.target)
            instance = self._with.cloud(state.target.region).find_instance(state.name)
            if instance is None or not instance.may_answer:
                notes.append(f"{elsewhere} does not run.")
                return None
            secrets = self._with.engine.load_secrets()
            with self._with.open_host(instance.address, state.target, secrets) as host:
                return read_records(host.journal(operations=[operation]).entries).get(operation)
        except GeusemakerError as error:
            notes.append(f"{elsewhere} was not asked: {error.message}")
            return None
