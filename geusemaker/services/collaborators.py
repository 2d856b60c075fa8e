"""What a service needs from outside, handed in; tests hand in fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from geusemaker.models.history import ApplyOutcome, HistoryEntry, Intent, IntentKind, LockOwner, StackTags
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import Event, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.result import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.stack import InstanceFacts, Secrets, StackConfig, Target
from geusemaker.models.version import Provenance

Confirm = Callable[[Plan], bool]
OnEvent = Callable[[Event], None]


class Engine(Protocol):
    """The deployment's Pulumi stack; see geusemaker.engine.stack.StackEngine."""

    def exists(self) -> bool: ...
    def create(self) -> None: ...
    def remove(self) -> None: ...
    def history(self, limit: int | None = ...) -> list[HistoryEntry]: ...
    def tags(self) -> StackTags: ...
    def set_intent(self, intent: Intent) -> None: ...
    def turn(self) -> AbstractContextManager[None]: ...
    def set_marks(self, bad: Iterable[int], pinned: Iterable[int]) -> None: ...
    def set_note(self, number: int, text: str) -> None: ...
    def write_candidate(
        self, config: StackConfig, provenance: Provenance, target: Target, new_secrets: Secrets | None = ...
    ) -> Path: ...
    def has_secrets(self) -> bool: ...
    def load_secrets(self) -> Secrets: ...
    def preview(self, candidate: Path, on_secrets: Callable[[], None] | None = ...) -> list[ResourceOperation]: ...
    def up(
        self,
        candidate: Path,
        message: str,
        on_event: OnEvent,
        deadline_seconds: float,
        on_stop: Callable[[], None] | None = ...,
        before_instance: Callable[[], None] | None = ...,
        only: list[str] | None = ...,
    ) -> ApplyOutcome: ...
    def destroy(self, on_event: OnEvent, before: Callable[[], None] | None = ...) -> ApplyOutcome: ...
    def resources(self) -> dict[str, dict[str, Any]]: ...
    def lock_owner(self) -> LockOwner | None: ...
    def remove_lock(self, owner: LockOwner) -> None: ...
    def missing_data(self, *, has_volume: bool) -> dict[str, str]: ...
    def pending_creates(self) -> dict[str, str]: ...
    def clear_pending(self, adopt: dict[str, str]) -> None: ...


class Host(Protocol):
    """The agent on the instance; see geusemaker.host.client.AgentClient."""

    def run(
        self,
        verb: str,
        document: dict[str, Any],
        on_line: Callable[[dict[str, Any]], None] | None = ...,
        timeout: float = ...,
    ) -> dict[str, Any]: ...


class Cloud(Protocol):
    """AWS; see geusemaker.cloud.aws.AwsCloud."""

    def prepare(self) -> None: ...
    def account(self) -> str: ...
    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None: ...
    def find_instance_type(self, instance_type: str) -> InstanceFacts | None: ...
    def is_offered(self, instance_type: str, availability_zone: str) -> bool: ...
    def find_debian_image(self, architecture: str) -> str | None: ...
    def find_image_architecture(self, ami: str) -> str | None: ...
    def find_instance(self, deployment: str) -> InstanceState | None: ...
    def find_file_system(self, deployment: str) -> FileSystemState | None: ...
    def mount_target_state(self, file_system_id: str) -> str: ...
    def is_backed_up(self, file_system_id: str) -> bool: ...
    def find_data_volume(self, deployment: str) -> DataVolumeState | None: ...
    def observe(self, deployment: str) -> dict[str, str]: ...
    def find_created(self, resource_type: str, deployment: str) -> str | None: ...
    def stop_instance(self, instance_id: str) -> None: ...
    def start_instance(self, instance_id: str) -> None: ...
    def wait_until_settled(self, instance: InstanceState) -> None: ...


class Registry(Protocol):
    """Image registries; see geusemaker.cloud.registry.Registry."""

    def digest(self, image: ImageReference) -> str: ...
    def architectures(self, image: ImageReference) -> set[str]: ...
    def layers(self, image: ImageReference, architecture: str) -> dict[str, int]: ...


class Journal(Protocol):
    """The workspace's journal of operations; see geusemaker.services.journal.FileJournal."""

    @property
    def damage(self) -> str: ...
    def append(self, record: OperationRecord) -> None: ...
    def read(self) -> list[OperationRecord]: ...
    def evidence_folder(self, operation_id: str) -> Path: ...


class Clock(Protocol):
    """The time, and operation ids."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def new_operation_id(self) -> str: ...


@dataclass(frozen=True)
class Collaborators:
    """Everything a service acts through."""

    deployment: str
    engine: Engine
    cloud: Callable[[str], Cloud]
    """Region → AWS there."""
    registry: Registry
    become: str
    """What turns the login into root on an instance of the target."""
    open_host: Callable[[str, Target, Secrets], AbstractContextManager[Host]]
    """(address, target, secrets) → a connection to the agent, closed at the end."""
    journal: Journal
    clock: Clock
    actor: str
    host_name: str
    pid: int
    born: str
    """When this process began, as the system counts; see geusemaker.engine.processes.process_birth."""
    is_alive: Callable[[int, str], bool]
    """(pid, born) → whether that process of this machine lives; an empty ``born`` is any."""
    on_event: OnEvent
    said: set[str] = field(default_factory=set)
    """The warnings that ``warn_once`` has given."""

    def warn_once(self, text: str) -> None:
        """Warn of something that is met again and again; of nothing, where the text is empty."""
        if text and text not in self.said:
            self.said.add(text)
            self.on_event(Event(kind="warning", message=text))

    @property
    def owner(self) -> dict[str, Any]:
        """This process, as a lease names its owner."""
        return {"host": self.host_name, "pid": self.pid, "born": self.born}

    def intent(self, operation_id: str, kind: IntentKind, number: int, outcome: str, **more: Any) -> Intent:
        """An operation of this process, as the intent tag tells it to others."""
        return Intent(
            operation_id=operation_id,
            kind=kind,
            number=number,
            actor=self.actor,
            started_at=self.clock.now(),
            outcome=outcome,
            **self.owner,
            **more,
        )
