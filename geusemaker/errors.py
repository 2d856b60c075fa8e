"""Everything geusemaker raises on purpose.

    GeusemakerError                  exit code
    ├── InvalidInputError            2   a value the operator gave cannot be used
    ├── EnvironmentProblemError      1   something this machine needs is missing or unusable
    │   ├── EngineNotFoundError      1   no usable Pulumi engine
    │   ├── WorkspaceError           1   Pulumi.yaml, backend, passphrase or secrets unusable
    │   │   └── BackendDamagedError  1   a file of the backend is there and cannot be read
    │   └── LocalCloudError          1   the local cloud cannot be reached or started
    ├── DeploymentNotFoundError      1   no such deployment (or none, or several to choose from)
    ├── RefusedError                 5   validation, target choice or the plan guard said no
    │   ├── ValidationFailedError    5   at least one pre-flight check failed
    │   └── PlanRefusedError         5   the plan would hurt data, or is not what was shown
    ├── ConfirmationNeededError      1   no terminal to ask on, and no --yes
    ├── DeclinedError                1   the operator answered no
    ├── DeploymentBusyError          6   another operation holds the deployment
    ├── HostError                    1   the instance cannot be reached or its agent failed
    ├── EngineError                  1   a run of the Pulumi engine failed
    ├── ChangeFailedError            3/4 the change failed after it began (3: previous version is back)
    └── InterruptedOperationError    130 Ctrl-C

Each error is written for an operator: ``message`` says what happened, ``state`` what state things are in,
``next_step`` what to type next.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
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
]


class GeusemakerError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what happened, one sentence.
        state: what state things are in now; empty when nothing was changed.
        next_step: what to type or do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, state: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.state = state
        self.next_step = next_step

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.state, self.next_step) if part)

    def but(self, **fields: Any) -> Self:
        """The same error with other fields, as one of its own: what was raised keeps saying what it said."""
        values = {**vars(self), **fields}
        error = type(self).__new__(type(self), values["message"])
        vars(error).update(values)
        return error

    def completed(self, *, state: str = "", next_step: str = "") -> Self:
        """The same error, with what it leaves open told by whoever knows it."""
        return self.but(state=self.state or state, next_step=self.next_step or next_step)


class InvalidInputError(GeusemakerError):
    """A value the operator gave cannot be used; nothing was changed, and it says so by itself."""

    exit_code = 2

    def __init__(self, message: str, *, state: str = "Nothing was changed.", next_step: str = "") -> None:
        super().__init__(message, state=state, next_step=next_step)


class EnvironmentProblemError(GeusemakerError):
    """Something this machine needs is missing or unusable; nothing was changed."""


class EngineNotFoundError(EnvironmentProblemError):
    """No usable Pulumi engine was found, installed or built."""


class WorkspaceError(EnvironmentProblemError):
    """The workspace (Pulumi.yaml, backend, passphrase, stack secrets) cannot be used."""


class BackendDamagedError(WorkspaceError):
    """A file of the Pulumi backend is there and cannot be read.

    ``file`` is its name in the backend, empty where the engine does not tell; ``reason`` what is wrong with it.
    """

    def __init__(self, message: str, *, file: str = "", reason: str = "", state: str = "", next_step: str = "") -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.file = file
        self.reason = reason


class LocalCloudError(EnvironmentProblemError):
    """The local cloud cannot be reached, started or stopped."""


class DeploymentNotFoundError(GeusemakerError):
    """There is no such deployment, or the name is missing and there is not exactly one."""


class RefusedError(GeusemakerError):
    """The change was refused before anything was changed. ``checks`` holds the results of the pre-flight checks."""

    exit_code = 5

    def __init__(self, message: str, *, state: str = "", next_step: str = "", checks: tuple[Any, ...] = ()) -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.checks = checks


class ValidationFailedError(RefusedError):
    """At least one pre-flight check failed; nothing was changed."""


class PlanRefusedError(RefusedError):
    """The plan would hurt data, or is not the plan that was shown; nothing was changed."""


class ConfirmationNeededError(GeusemakerError):
    """The change needs a yes and there is no terminal to ask on."""


class DeclinedError(GeusemakerError):
    """The operator answered no; nothing was changed."""


class DeploymentBusyError(GeusemakerError):
    """Another operation holds the deployment; nothing was changed by this one.

    ``lock`` is who holds Pulumi's lock on the stack (a LockOwner), where it is that which stood in the way.
    """

    exit_code = 6

    def __init__(self, message: str, *, state: str = "", next_step: str = "", lock: Any = None) -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.lock = lock


class HostError(GeusemakerError):
    """The instance cannot be reached over SSH, or its agent reported a failure.

    ``code`` is the agent's machine-readable error code (``lease_held``, ``not_mounted`` …), or ``unreachable``;
    ``detail`` is what the agent added to it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        detail: dict[str, Any] | None = None,
        state: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.code = code
        self.detail = detail or {}


class EngineError(GeusemakerError):
    """A run of the Pulumi engine failed. ``diagnostics`` holds its error lines.

    ``operations`` is what a failed preview had planned: one that would touch protected resources plans them, and fails.
    """

    def __init__(
        self,
        message: str,
        *,
        diagnostics: tuple[str, ...] = (),
        operations: tuple[Any, ...] = (),
        state: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.diagnostics = diagnostics
        self.operations = operations


class ChangeFailedError(GeusemakerError):
    """The change failed after it began.

    ``restored`` tells whether the previous version is back and healthy (exit code 3) or a person is needed (4).
    """

    def __init__(self, message: str, *, restored: bool, state: str = "", next_step: str = "") -> None:
        super().__init__(message, state=state, next_step=next_step)
        self.restored = restored
        self.exit_code = 3 if restored else 4


class InterruptedOperationError(GeusemakerError):
    """The operator pressed Ctrl-C (or the process was told to end)."""

    exit_code = 130
