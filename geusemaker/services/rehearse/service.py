"""RehearseService: tries other images on a copy of the data, beside what runs, and measures the way back.

It has the lease, so that nobody changes what it copies, and no intent: nothing that runs changes, and no version is
made. A rollback or `recover` from anywhere takes the lease from it, and so ends it. The agent does all of it in one
verb, which removes what it made whatever it comes to; what a killed one left goes with the next lease.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from geusemaker.agent.protocol.rehearsal import Rehearsal, RehearseDocument
from geusemaker.agent.protocol.stored import Lease
from geusemaker.catalog import MIGRATED, REHEARSED, SERVICES
from geusemaker.errors import (
    DeploymentBusyError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import RehearseRequest, UpdateRequest
from geusemaker.models.result import RehearsalResult
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version, WayBack
from geusemaker.program.compose import probes
from geusemaker.services import bookkeeping, facts, progress
from geusemaker.services.before import find_answering, require_data, require_running
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.completing import complete_config
from geusemaker.services.configure import service_name
from geusemaker.services.desired import wished_config
from geusemaker.services.identity import require_account
from geusemaker.services.lease import REHEARSAL
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.rehearse import verdict
from geusemaker.services.states import get_state, with_article

_ENDED: Final = ("cancelled", "agent_died", "lease_lost", "unreachable")
"""Codes of errors after which another operation may have the lease."""


class RehearseService:
    """Rehearses a change of images. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def rehearse(self, request: RehearseRequest) -> RehearsalResult:
        """Try ``request.images`` on a copy of the data.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a service is not rehearsed, or an image cannot be one.
            RefusedError: nothing runs that could be copied, or it runs these images already.
            ValidationFailedError: an image does not exist.
            DeploymentBusyError: another operation holds the deployment, or took it: the rehearsal gave way.
            HostError: there is no room for it (``no_room``), or it could not be done.
            InterruptedOperationError: Ctrl-C.
        """
        state = get_state(self._with)
        active, target = require_running(self._with, state, why="so there is no data to rehearse on")
        target = require_account(self._with, target)
        config = self._wished(request, state, active, target)
        instance = find_answering(self._with, target, ", and a rehearsal runs beside its services")
        operation = Operation(self._with, self._with.clock.new_operation_id(), REHEARSAL, active.number)
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            require_data(state.name, host.health(probes(active.config)))
            operation.take_over(host, instance.id, state)
            try:
                with progress.phase(self._with.on_event, "rehearse", "beside what runs, on a copy of its data"):
                    found = host.rehearse(_document(operation.id, active.config, config), self._with.on_event)
            except (HostError, KeyboardInterrupt) as error:
                raise self._ended(host, operation, error) from error
            try:
                result = self._result(state, active, operation.id, found)
                self._record(host, request, result, active)
            finally:
                operation.give_back(host, "done")
        return result

    def _wished(self, request: RehearseRequest, state: DeploymentState, active: Version, target: Target) -> StackConfig:
        """What the update to these images would make, with the same digests.

        Raises:
            InvalidInputError, RefusedError, ValidationFailedError
        """
        rehearsed = " and ".join(SERVICES[name].title for name in REHEARSED)
        named = {service_name(text, active.config.services) for text in request.images}
        if not named or not named <= set(REHEARSED):
            raise InvalidInputError(
                f"Only {rehearsed} are rehearsed: what other services make of their data is not tried.",
                next_step="Give one or both an --image, such as --image n8n=n8nio/n8n:2.42.6.",
            )
        if missing := [SERVICES[name].title for name in REHEARSED if name not in active.config.services]:
            raise RefusedError(
                f"{' and '.join(missing)} is not part of v{active.number}, and a rehearsal needs {rehearsed}.",
                state=UNTOUCHED,
                next_step="Without n8n there are no migrations, so there is nothing to rehearse.",
            )
        wished = wished_config(UpdateRequest(images=request.images), active.config, state.versions, target.site)
        cloud = self._with.cloud(target.region)
        config, _ = complete_config(wished, active.config, None, cloud, self._with.registry, resolve=named)
        if all(config.services[name].image.by_digest == active.config.services[name].image.by_digest for name in named):
            raise RefusedError(
                f"v{active.number} of {state.name} runs {' and '.join(sorted(request.images.values()))} already.",
                state=UNTOUCHED,
                next_step=f"`geusemaker status {state.name} --updates` lists newer ones.",
            )
        return config

    def _ended(self, host: Host, operation: Operation, error: HostError | KeyboardInterrupt) -> GeusemakerError:
        """What is said of one that did not come to its end; nothing of it is left, or that goes with the next lease."""
        if isinstance(error, KeyboardInterrupt):
            operation.cancel(host, "The rehearsal")
            operation.give_back(host, "abandoned")
            return InterruptedOperationError("Interrupted.", state=f"The rehearsal was removed. {UNTOUCHED}")
        holder = self._holder(host) if error.code in _ENDED else None
        if holder is not None and holder.operation != operation.id:
            operation.has_lease = False
            return DeploymentBusyError(
                f"The rehearsal gave way to {with_article(holder.kind or 'operation')} of {holder.actor}.",
                state=UNTOUCHED,
                next_step=f"`geusemaker status {self._with.deployment}` tells how that goes.",
            )
        operation.give_back(host, "abandoned")
        return error.completed(state=UNTOUCHED)

    @staticmethod
    def _holder(host: Host) -> Lease | None:
        try:
            return host.lease().lease
        except HostError:
            return None

    def _result(self, state: DeploymentState, active: Version, operation_id: str, found: Rehearsal) -> RehearsalResult:
        kind, why = verdict.measured(found)
        broken = verdict.first_broken(found.ahead)
        problem = ""
        if broken is not None:
            problem = f"{found.images[broken].partition('@')[0]} does not work on a copy of the data: " + (
                verdict.problem_of(found.ahead[broken]).rstrip(".")
            )
        back = f"geusemaker rollback {state.name} v{active.number}"
        commands = {
            # By the rules an older n8n need not bear what a newer one migrated, and a rollback asks for a word on it.
            "rollback": f"{back} --allow-data-downgrade" if verdict.asks_for_a_word(found) else back,
            "with-data": f"{back} --with-data",
        }
        return RehearsalResult(
            success=not problem,
            deployment=state.name,
            version=active.number,
            operation_id=operation_id,
            duration_seconds=round(self._with.clock.monotonic() - self._started, 3),
            error_message=f"{problem}." if problem else None,
            exit_code=5 if problem else 0,
            next_step=f"Nothing that runs was changed. `geusemaker logs {state.name}` shows what runs now."
            if problem
            else "",
            rehearsed_at=datetime.fromisoformat(found.at).astimezone(UTC),
            starts=verdict.starts(found),
            ahead=verdict.results(found.ahead, found.images),
            migrations=list(found.migrations),
            migration_seconds=found.ahead[MIGRATED.name].migrated_seconds if MIGRATED.name in found.ahead else 0.0,
            back=verdict.results(found.back, found.before),
            way_back=WayBack(
                to_version=active.number,
                kind=kind,
                because=(why,) if why else (),
                commands=(commands[kind],) if kind in commands else (),
            ),
            copied_bytes=found.copied_bytes,
            isolated=found.isolated,
        )

    def _record(self, host: Host, request: RehearseRequest, result: RehearsalResult, active: Version) -> None:
        images = [f"{name}: rehearsed {one.image}" for name, one in result.ahead.items()]
        record = OperationRecord(
            operation_id=result.operation_id,
            deployment=result.deployment,
            kind=REHEARSAL,
            number=active.number,
            from_version=active.number,
            actor=self._with.actor,
            reason=request.reason,
            started_at=self._with.clock.now(),
            duration_seconds=result.duration_seconds,
            success=result.success,
            error_message=result.error_message,
            changes=images,
        )
        bookkeeping.record(self._with, record)
        facts.copy_record(self._with, host, record)


def _document(operation: str, before: StackConfig, after: StackConfig) -> RehearseDocument:
    """What the agent is told: how the services run now, how they are to, and what is asked of them."""
    now, then = probes(before), probes(after)
    least = [
        max(SERVICES[name].least_memory(config.services[name].image) for config in (before, after))
        for name in REHEARSED
    ]
    works = {
        name: {**ask(after.services[name].environment), "port": SERVICES[name].port}
        for name in REHEARSED
        if (ask := SERVICES[name].works) is not None
    }
    return RehearseDocument(
        operation,
        before={name: now[name] for name in REHEARSED},
        target={name: then[name] for name in REHEARSED},
        environment={name: dict(SERVICES[name].rehearsed or {}) for name in REHEARSED},
        works=works,
        memory_mib=sum(least),
        deadline_seconds=after.health.deadline_seconds,
    )
