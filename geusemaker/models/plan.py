"""What a change would do: config differences, resource operations, checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from geusemaker.models import resource_types
from geusemaker.models.advisory import KnownHoles
from geusemaker.models.base import Model
from geusemaker.models.cost import Cost
from geusemaker.models.held import DataReturn
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.models.version import OperationKind, Trigger, WayBack

CheckStatus = Literal["pass", "warn", "fail"]


class CheckResult(Model):
    """The outcome of one pre-flight check: what was looked at, the verdict and why."""

    name: str
    """What was looked at, in a word or two."""
    status: CheckStatus
    """The verdict; ``fail`` forbids the change."""
    detail: str
    """Why, in a sentence."""


class ConfigChange(Model):
    """One difference between two configs, for people: ``n8n image  1.91.0 → 1.92.0``."""

    path: str
    """Where it stands, as ``n8n.image`` or ``settings.retention``."""
    old: str | None
    """The value before, as people may see it; None: there was none."""
    new: str | None
    """The value afterwards; None: there is none any more."""

    def __str__(self) -> str:
        return f"{self.path}: {self.old or '(none)'} -> {self.new or '(none)'}"


class ResourceOperation(Model):
    """One step of a Pulumi plan. ``op`` is Pulumi's word: create, update, replace, delete, same …"""

    op: str
    type: str
    """Pulumi's type token."""
    name: str
    """The resource's logical name."""
    urn: str
    """Pulumi's name for it in the stack."""
    changed: tuple[str, ...] = ()
    """Property paths that differ; never their values, which may be secret."""
    replaces: tuple[str, ...] = ()
    """Property paths that force the replacement."""
    inputs_digest: str = ""
    """SHA-256 of the planned inputs, by which two plans are compared without keeping values."""
    protected: bool = False
    """Whether Pulumi protects it from being deleted."""
    unprotects: bool = False
    """Whether the plan takes the protection off a resource that has it."""
    provider_id: str = ""
    """The cloud's id of the existing resource, e.g. ``i-0abc…``; empty for creations."""


def cut_off(operations: Iterable[ResourceOperation]) -> frozenset[str]:
    """The URNs of what is made in place of something that a replacement has deleted already, and then was cut off.

    By the engine's knowledge alone: there is no step that deletes (``PendingReplacement`` in step_generator.go of
    github.com/pulumi/pulumi).
    """
    operations = tuple(operations)
    made = {each.urn for each in operations if each.op == "create-replacement"}
    return frozenset(made - {each.urn for each in operations if each.op == "delete-replaced"})


class Plan(Model):
    """Everything the operator is shown before a change, and everything that must still hold when it is applied."""

    deployment: str
    """The deployment's name."""
    kind: OperationKind | Literal["destroy"]
    """What is to be done."""
    operation_id: str
    """The operation's own id, which sorts by time."""
    number: int
    """The number the new version will get."""
    active_version: int | None = None
    """The version that runs before; None: none does."""
    source_version: int | None = None
    """The version whose config it has, all of it; None: it is no rollback, or one of some services alone."""
    services_from: dict[ServiceName, int] = Field(default_factory=dict)
    """A rollback of some services alone: service → the version whose config of it comes back."""
    trigger: Trigger = "manual"
    """What set it off: a person, or what failed."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    config: StackConfig
    """What will run."""
    changes: tuple[ConfigChange, ...] = ()
    """How that differs from what runs now."""
    operations: tuple[ResourceOperation, ...] = ()
    """What Pulumi would do, one entry a step."""
    checks: tuple[CheckResult, ...] = ()
    """What was looked at before anything was changed, with the verdicts."""
    repairs: tuple[str, ...] = ()
    """What is not as it should be and is put right, one phrase each."""
    reboots: tuple[str, ...] = ()
    """Why the instance boots anew before anything else is done, one phrase each; empty: it does not."""
    renewals: tuple[str, ...] = ()
    """Packages of Docker that are renewed while all services are stopped, one phrase each; empty: none is."""
    stopped: tuple[str, ...] = ()
    """What stays stopped because somebody stopped it on purpose, one phrase each."""
    exposure: tuple[str, ...] = ()
    """What is open to the internet afterwards, or not any more, one phrase each."""
    machine: tuple[str, ...] = ()
    """What is to be known of the instance where it changes: its GPUs, its image, what fits into its memory."""
    downtime: str = ""
    """One sentence: what stops, for about how long."""
    cost: Cost | None = None
    """What it costs a month, before and after; None: nothing, as on the local cloud."""
    data_notice: str = ""
    """One sentence: what happens to the data."""
    way_back: WayBack | None = None
    """How one gets back to what runs now; None: nothing that a version has is changed, or nothing ran."""
    rehearsed: str = ""
    """What a rehearsal of just these images came to, and when; empty: there was none."""
    holes: KnownHoles | None = None
    """The published holes that come back with an image; None: no image comes back, or nobody was asked."""
    data_return: DataReturn | None = None
    """The older data that goes back as well; None: the data stays as it is."""
    checkpoint_of: int | None = None
    """The version whose data is copied before anything stops; None when none is."""
    replaced: tuple[ServiceName, ...] | None = None
    """The services whose container is another one afterwards, by what lies on the instance; None: it was not asked."""
    checkpoint_services: tuple[ServiceName, ...] = ()
    """The services whose data is copied then."""
    target_kind: Literal["local", "aws", "unknown"] = "unknown"
    """Where it is."""

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """The checks that forbid the change."""
        return tuple(check for check in self.checks if check.status == "fail")

    @property
    def holds_all(self) -> bool:
        """Whether all services are stopped before the engine's run, for a reboot or another Docker."""
        return bool(self.reboots or self.renewals)

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
    """The deployment's name."""
    kind: Literal["stop", "start"]
    """What is to be done."""
    operation_id: str
    """The operation's own id, which sorts by time."""
    services: tuple[ServiceName, ...]
    """Those that it is done to, in that order."""
    instance: str = ""
    """The instance that stops as well, or starts before them; empty: it goes on."""
    summary: str
    """One sentence."""
    because: tuple[str, ...] = ()
    """Why services that were not named are among them."""
    cost: Cost | None = None
    """What is paid now and afterwards, where services stop or the instance does either; None: nothing, as on the local
    cloud."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    active_version: int
    """The number of the version that runs now."""
    target_kind: Literal["local", "aws"]
    """Where it is."""


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
    """What else is known, by name: ``op`` and ``type`` of a resource."""
    plan: Plan | None = None
