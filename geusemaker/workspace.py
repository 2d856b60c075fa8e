"""A workspace: the folder, the backend and the deployments in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.policy import Scope, aws_policy, session_policy
from geusemaker.deployment import Deployment
from geusemaker.engine.binary import find_engine, require_engine
from geusemaker.engine.getting import prepare_engine
from geusemaker.engine.project import find_home
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import DeploymentNotFoundError, GeusemakerError, InvalidInputError
from geusemaker.models.doctor import DoctorReport, EngineInfo
from geusemaker.models.history import utc_now
from geusemaker.models.inspection import DeploymentSummary
from geusemaker.models.plan import CheckResult, Event
from geusemaker.models.stack import DEPLOYMENT_NAME
from geusemaker.services.doctor.service import defaults_check, examined, file_checks, plugin_check
from geusemaker.targets import local_cloud

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloud


def _ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


class Workspace:
    """Deployments that share a folder and a Pulumi backend.

    Args:
        home: the workspace's folder; it is made when something is first deployed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._settings = WorkspaceSettings(home)

    @classmethod
    def find(cls, home: Path | None = None) -> Workspace:
        """The workspace of the current folder: ``GEUSEMAKER_HOME``, the nearest Pulumi.yaml of ours, or the user's.

        Raises:
            WorkspaceError: a Pulumi.yaml on the way cannot be read.
        """
        return cls(home.resolve() if home is not None else find_home(Path.cwd()))

    @property
    def backend_url(self) -> str:
        """Where Pulumi keeps the deployments' state and history."""
        return self._settings.backend_url

    @property
    def backend_folder(self) -> Path | None:
        """The folder of a ``file://`` backend, which need not exist yet; None where the backend is something else."""
        return self._settings.backend_folder

    def prepare_engine(self, on_event: Callable[[Event], None] = _ignore) -> EngineInfo:
        """The Pulumi engine; installed or built first where this machine has none.

        Raises:
            EngineNotFoundError: there is none, and none could be had.
        """
        return prepare_engine(on_event)

    def require_engine(self) -> EngineInfo:
        """The Pulumi engine, for whoever only looks; installs nothing.

        Raises:
            EngineNotFoundError: there is none.
        """
        return require_engine()

    def local_cloud(self) -> LocalCloud:
        """The local cloud that ``--target local`` deploys to.

        Raises:
            InvalidInputError: it is not installed (the extra ``geusemaker[local]``).
        """
        return local_cloud()

    def deployment(self, name: str | None = None) -> Deployment:
        """A deployment by name; the only one there is, without.

        Nothing is read for a given name: it need not exist yet.

        Raises:
            InvalidInputError: the name cannot be one.
            DeploymentNotFoundError: no name was given, and there is not exactly one deployment.
        """
        if name is None:
            names = self.names()
            if len(names) != 1:
                raise DeploymentNotFoundError(
                    "There is no deployment yet."
                    if not names
                    else f"There are several deployments: {', '.join(names)}.",
                    state="Nothing was changed.",
                    next_step="`geusemaker deploy NAME` makes one." if not names else "Say which one.",
                )
            name = names[0]
        if not DEPLOYMENT_NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name!r} is no deployment name: use lower-case letters, digits and hyphens, at most 40, beginning "
                "with a letter.",
            )
        return Deployment(name, self._settings)

    def deployments(self) -> list[DeploymentSummary]:
        """The deployments of this workspace, by name."""
        stacks = self._stacks()
        return [self._summary(name, stacks[name]) for name in sorted(stacks)]

    def names(self) -> list[str]:
        """The deployments' names, in order."""
        return sorted(self._stacks())

    def doctor(self, name: str | None = None) -> DoctorReport:
        """What this machine has and what it lacks; with ``name``, whether that deployment's backend is whole as well.

        Installs nothing and changes nothing.

        Raises:
            InvalidInputError: the name cannot be one.
            DeploymentNotFoundError: there is no such deployment.
        """
        checks: list[CheckResult] = []
        engine = examined(checks, "engine", find_engine)
        if engine is None and not any(check.name == "engine" for check in checks):
            checks.append(
                CheckResult(
                    name="engine",
                    status="fail",
                    detail="no Pulumi engine found; `geusemaker doctor --get-engine`, or the first deploy, installs "
                    "one or builds one with Go (about 4 minutes, once), or set GEUSEMAKER_PULUMI to one you have",
                )
            )
        elif engine is not None:
            checks.append(
                CheckResult(name="engine", status="pass", detail=f"{engine.path} {engine.version} ({engine.source})")
            )
        if examined(checks, "workspace", self._settings.check) is not None:
            checks.append(CheckResult(name="workspace", status="pass", detail=str(self.home)))
        if engine is not None and self._settings.may_have_deployments:
            checks += self._backend_checks()
        checks.append(self._local_cloud_check())
        checks += [_credentials(), plugin_check(), defaults_check(utc_now().date())]
        if name is not None and engine is not None:
            told = {check.name for check in checks}
            checks += [check for check in self.deployment(name).examine() if check.name not in told]
        problems = [f"{check.name}: {check.detail}" for check in checks if check.status == "fail"]
        return DoctorReport(
            ok=not problems,
            engine=engine,
            problems=problems,
            checks=checks,
            details={"workspace": str(self.home), "backend": self.backend_url},
        )

    def aws_policy(self, name: str | None = None, *, read_only: bool = False, sessions: bool = False) -> dict[str, Any]:
        """The IAM policy that operators and pipelines need, as AWS takes it; AWS is not asked.

        Args:
            name: the deployment, which need not exist yet; None: all that there may be.
            read_only: for who looks and changes nothing.
            sessions: the other one, which is needed beside it to reach instances through Session Manager.

        Raises:
            InvalidInputError: the name cannot be one.
        """
        if name is not None:
            return self.deployment(name).aws_policy(read_only=read_only, sessions=sessions)
        return session_policy(Scope()) if sessions else aws_policy(Scope(), read_only=read_only)

    def _local_cloud_check(self) -> CheckResult:
        """Whether the local cloud runs; who deploys to AWS alone need not have it."""
        name = "local cloud"
        try:
            status = self.local_cloud().status()
        except InvalidInputError as error:
            detail = f"{error.message} {error.next_step}"
            return CheckResult(name=name, status="warn", detail=detail)
        except GeusemakerError as error:
            return CheckResult(name=name, status="fail", detail=str(error))
        detail = f"running, process {status.pid}" if status.running else "not running; it starts when it is needed"
        return CheckResult(name=name, status="pass", detail=detail)

    def _backend_checks(self) -> list[CheckResult]:
        """Whether the backend answers, and whether the passphrase opens the secrets in it."""
        checks: list[CheckResult] = []
        names = examined(checks, "backend", self.names)
        if names is None:
            return checks
        detail = f"{self.backend_url}, {len(names)} deployment(s)"
        checks.append(CheckResult(name="backend", status="pass", detail=detail))
        for name in names:
            checks += [check for check in file_checks(name, self.deployment(name).damage()) if check.status == "fail"]
        if not names:  # else each is asked: a cloud's key needs none
            examined(checks, "passphrase", self._settings.check_passphrase)
            return checks
        problems = []
        for name in names:
            try:
                self.deployment(name).check_secrets()
            except GeusemakerError as error:
                problems.append(f"{name}: {error}")
        opened = f"it opens the secrets of {', '.join(names)}"
        status: Literal["pass", "fail"] = "fail" if problems else "pass"
        return [*checks, CheckResult(name="passphrase", status=status, detail="; ".join(problems) or opened)]

    def _stacks(self) -> dict[str, str | None]:
        if not self._settings.may_have_deployments:
            return {}
        self._settings.prepare()
        from geusemaker.engine.cli import stack_times
        from geusemaker.engine.command import EngineCommand

        return stack_times(self._settings, EngineCommand(require_engine()))

    def _summary(self, name: str, updated: str | None) -> DeploymentSummary:
        if self.deployment(name).damage():
            return DeploymentSummary(
                name=name, target="", active_version=None, instance_type="", status="damaged", updated_at=None
            )
        state = self.deployment(name).state()
        active = state.active
        if state.unreadable or state.unreadable_intent:
            status = "unreadable"
        elif state.interrupted:
            status = "interrupted"
        elif state.destroyed:
            status = "destroyed"
        elif state.last_failed or active is None:
            status = "failed"
        else:
            status = "active"
        return DeploymentSummary(
            name=name,
            target=state.target.kind if state.target else "unknown",
            active_version=state.active_number,
            instance_type=active.config.instance_type if active else "",
            status=status,
            updated_at=datetime.fromisoformat(updated) if updated else None,
            labels=state.labels,
        )


_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables by which credentials are found (boto3's guide on credentials)."""


def _credentials() -> CheckResult:
    """Whose AWS credentials there are, by asking AWS; without any it is not asked."""
    name = "AWS credentials"
    found = any(key in os.environ for key in _CREDENTIALS) or (Path.home() / ".aws").exists()
    if not found:
        return CheckResult(name=name, status="warn", detail="none found; only --target aws needs them")
    try:
        caller = AwsCloud(os.environ.get("AWS_REGION") or "us-east-1", {}).identity()
    except GeusemakerError as error:
        return CheckResult(name=name, status="warn", detail=f"{error}; only --target aws needs them")
    return CheckResult(name=name, status="pass", detail=caller.told)
