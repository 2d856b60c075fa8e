"""What a change would do: config differences, resource operations, checks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from geusemaker.models import resource_types
from geusemaker.models.base import Model
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.models.version import OperationKind, Trigger

CheckStatus = Literal["pass", "warn", "fail"]


class CheckResult(Model):
    """The outcome of one pre-flight check: what was looked at, the verdict and why."""

    name: str
    status: CheckStatus
    detail: str


class ConfigChange(Model):
    """One difference between two configs, for people: ``n8n image  1.91.0 → 1.92.0``."""

    path: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        return f"{self.path}: {self.old or '(none)'} -> {self.new or '(none)'}"


class ResourceOperation(Model):
    """One step of a Pulumi plan. ``op`` is Pulumi's word: create, update, replace, delete, same …"""

    op: str
    type: str
    name: str
    urn: str
    changed: tuple[str, ...] = ()
    """Property paths that differ; never their values, which may be secret."""
    replaces: tuple[str, ...] = ()
    """Property paths that force the replacement."""
    inputs_digest: str = ""
    """SHA-256 of the planned inputs, by which two plans are compared without keeping values."""
    protected: bool = False
    unprotects: bool = False
    """Whether the plan takes the protection off a resource that has it."""
    provider_id: str = ""
    """The cloud's id of the existing resource, e.g. ``i-0abc…``; empty for creations."""


class Plan(Model):
    """Everything the operator is shown before a change, and everything that must still hold when it is applied."""

    deployment: str
    kind: OperationKind | Literal["destroy"]
    operation_id: str
    number: int
    """The number the new version will get."""
    active_version: int | None = None
    source_version: int | None = None
    trigger: Trigger = "manual"
    reason: str = ""
    config: StackConfig
    changes: tuple[ConfigChange, ...] = ()
    operations: tuple[ResourceOperation, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    repairs: tuple[str, ...] = ()
    """What is not as it should be and is put right, one phrase each."""
    stopped: tuple[str, ...] = ()
    """What stays stopped because somebody stopped it on purpose, one phrase each."""
    downtime: str = ""
    """One sentence: what stops, for about how long."""
    data_notice: str = ""
    """One sentence: what happens to the data."""
    checkpoint_of: int | None = None
    """The version whose data is copied before anything stops; None when none is."""
    replaced: tuple[ServiceName, ...] | None = None
    """The services whose container is another one afterwards, by what lies on the instance; None: it was not asked."""
    checkpoint_services: tuple[ServiceName, ...] = ()
    """The services whose data is copied then."""
    target_kind: Literal["local", "aws", "unknown"] = "unknown"

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """The checks that forbid the change."""
        return tuple(check for check in self.checks if check.status == "fail")

    @property
    def stops_instance(self) -> bool:
        """Whether the plan stops and starts the instance (a resize), or makes another one."""
        return any(
            operation.type == resource_types.INSTANCE
            and (
                operation.op in ("replace", "create-replacement", "delete-replaced")
                or (operation.op == "update" and {"instanceType", "userData"} & set(operation.changed))
            )
            for operation in self.operations
        )


class RestPlan(Model):
    """What a ``stop`` or a ``start`` would do, shown before it does."""

    deployment: str
    kind: Literal["stop", "start"]
    operation_id: str
    services: tuple[ServiceName, ...]
    summary: str
    """One sentence."""
    because: tuple[str, ...] = ()
    """Why services that were not named are among them."""
    reason: str = ""
    active_version: int
    target_kind: Literal["local", "aws"]


class Event(Model):
    """One step of progress, handed to the reporter callback while an operation runs.

    ``kind`` is ``phase`` (``name`` is the phase: resolve, validate, plan, prefetch, apply, verify, record, collect,
    revert; ``state`` is started, done or failed), ``resource`` (``name`` is the resource, ``state`` what the engine
    does to it), ``service`` (``name`` is the service, ``state`` e.g. pulling, starting, healthy, unhealthy),
    ``plan`` (``plan`` is what a dry run would have done, or what a change would do now that its plan does not hold any
    more), ``note`` or ``warning`` (``message`` only).
    """

    kind: Literal["phase", "resource", "service", "plan", "note", "warning"]
    name: str = ""
    state: str = ""
    message: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    plan: Plan | None = None
