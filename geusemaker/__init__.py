"""geusemaker: a self-hosted AI stack on AWS, and a safe way back from any change of it.

    from geusemaker import UpdateRequest, Workspace

    prod = Workspace.find().deployment("prod")
    result = prod.update(UpdateRequest(images={"n8n": "n8nio/n8n:1.101.0"}))
    print(result.success, result.version, result.health_status)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geusemaker.deployment import Deployment, yes
    from geusemaker.errors import (
        BackendDamagedError,
        ChangeFailedError,
        ConfirmationNeededError,
        DeclinedError,
        DeploymentBusyError,
        DeploymentNotFoundError,
        EngineError,
        EngineNotFoundError,
        EnvironmentProblemError,
        GeusemakerError,
        HostError,
        InterruptedOperationError,
        InvalidInputError,
        LocalCloudError,
        PlanRefusedError,
        RefusedError,
        ValidationFailedError,
        WorkspaceError,
    )
    from geusemaker.models.checkpoint import Checkpoint, RestorePlan
    from geusemaker.models.plan import CheckResult, ConfigChange, Event, Plan, ResourceOperation, RestPlan
    from geusemaker.models.request import ChangeOptions, DeployRequest, RestoreRequest, RollbackRequest, UpdateRequest
    from geusemaker.models.result import (
        CheckpointList,
        DeploymentInfo,
        DeploymentSummary,
        DoctorReport,
        EngineInfo,
        Inspection,
        MarkResult,
        OperationResult,
        RestoreRecord,
        RestoreResult,
        RollbackResult,
        StoppedService,
    )
    from geusemaker.models.stack import StackConfig
    from geusemaker.models.version import RollbackRecord, Version
    from geusemaker.workspace import Workspace

_HOMES = {
    "geusemaker.workspace": ("Workspace",),
    "geusemaker.deployment": ("Deployment", "yes"),
    "geusemaker.errors": (
        "BackendDamagedError",
        "ChangeFailedError",
        "ConfirmationNeededError",
        "DeclinedError",
        "DeploymentBusyError",
        "DeploymentNotFoundError",
        "EngineError",
        "EngineNotFoundError",
        "EnvironmentProblemError",
        "GeusemakerError",
        "HostError",
        "InterruptedOperationError",
        "InvalidInputError",
        "LocalCloudError",
        "PlanRefusedError",
        "RefusedError",
        "ValidationFailedError",
        "WorkspaceError",
    ),
    "geusemaker.models.checkpoint": ("Checkpoint", "RestorePlan"),
    "geusemaker.models.plan": ("CheckResult", "ConfigChange", "Event", "Plan", "ResourceOperation", "RestPlan"),
    "geusemaker.models.request": (
        "ChangeOptions",
        "DeployRequest",
        "RestoreRequest",
        "RollbackRequest",
        "UpdateRequest",
    ),
    "geusemaker.models.result": (
        "CheckpointList",
        "DeploymentInfo",
        "DeploymentSummary",
        "DoctorReport",
        "EngineInfo",
        "Inspection",
        "MarkResult",
        "OperationResult",
        "RestoreRecord",
        "RestoreResult",
        "RollbackResult",
        "StoppedService",
    ),
    "geusemaker.models.stack": ("StackConfig",),
    "geusemaker.models.version": ("RollbackRecord", "Version"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BackendDamagedError",
    "ChangeFailedError",
    "ChangeOptions",
    "CheckResult",
    "Checkpoint",
    "CheckpointList",
    "ConfigChange",
    "ConfirmationNeededError",
    "DeclinedError",
    "DeployRequest",
    "Deployment",
    "DeploymentBusyError",
    "DeploymentInfo",
    "DeploymentNotFoundError",
    "DeploymentSummary",
    "DoctorReport",
    "EngineError",
    "EngineInfo",
    "EngineNotFoundError",
    "EnvironmentProblemError",
    "Event",
    "GeusemakerError",
    "HostError",
    "Inspection",
    "InterruptedOperationError",
    "InvalidInputError",
    "LocalCloudError",
    "MarkResult",
    "OperationResult",
    "Plan",
    "PlanRefusedError",
    "RefusedError",
    "ResourceOperation",
    "RestPlan",
    "RestorePlan",
    "RestoreRecord",
    "RestoreRequest",
    "RestoreResult",
    "RollbackRecord",
    "RollbackRequest",
    "RollbackResult",
    "StackConfig",
    "StoppedService",
    "UpdateRequest",
    "ValidationFailedError",
    "Version",
    "Workspace",
    "WorkspaceError",
    "yes",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'geusemaker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
