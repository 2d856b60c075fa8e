"""What can be told of one deployment's backend: each check does what its name says, and says only what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Literal, TypeVar

from geusemaker.catalog import defaults
from geusemaker.errors import EnvironmentProblemError, GeusemakerError
from geusemaker.host.forwarding import INSTALL, PLUGIN, require_plugin
from geusemaker.models.doctor import RepairStep
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import Target
from geusemaker.services.collaborators import Cloud, Engine

_Answer = TypeVar("_Answer")


def file_checks(deployment: str, steps: Iterable[RepairStep]) -> list[CheckResult]:
    """A failed check for each damaged file, with the command that mends it; a passed one where there is none."""
    by = f"`geusemaker doctor {deployment} --repair` does that, and asks first"
    checks = [
        CheckResult(
            name=f"{deployment}: {step.kind}",
            status="fail",
            detail=f"{step.file} cannot be used ({step.reason}): {step.action}{f' ({by})' if step.possible else ''}",
        )
        for step in steps
    ]
    return checks or [CheckResult(name=f"{deployment}: files", status="pass", detail="no damaged file found")]


def deployment_checks(
    deployment: str,
    engine: Engine,
    steps: Sequence[RepairStep],
    open_cloud: Callable[[Target], Cloud],
    where: Callable[[], Target | None],
) -> list[CheckResult]:
    """All checks of one deployment: its files, state, history, secrets and credentials."""
    checks = file_checks(deployment, steps)
    damaged = {step.kind for step in steps}
    if not damaged & {"state", "store"}:
        resources = examined(checks, f"{deployment}: state", engine.resources)
        if resources is not None:
            detail = f"{len(resources)} resources"
            checks.append(CheckResult(name=f"{deployment}: state", status="pass", detail=detail))
    if "store" not in damaged:
        history = examined(checks, f"{deployment}: history", lambda: engine.history(None))
        if history is not None and "history" not in damaged:
            lost = [entry.unreadable for entry in history if entry.kind == "damaged"]
            detail = f"cannot be read: {'; '.join(lost)}" if lost else f"{len(history)} entries, all read"
            name = f"{deployment}: history"
            checks.append(CheckResult(name=name, status="fail" if lost else "pass", detail=detail))
    if "config" not in damaged and examined(checks, f"{deployment}: passphrase", engine.load_secrets) is not None:
        detail = "it opens the secrets"
        checks.append(CheckResult(name=f"{deployment}: passphrase", status="pass", detail=detail))
    told = len(checks)
    target = examined(checks, f"{deployment}: credentials", where)
    if target is None and len(checks) == told:
        detail = "where it is cannot be told from its config file, so AWS was not asked"
        checks.append(CheckResult(name=f"{deployment}: credentials", status="warn", detail=detail))
    elif target is not None:
        found = target
        caller = examined(checks, f"{deployment}: credentials", lambda: open_cloud(found).identity())
        if caller is not None:
            is_other = bool(target.account_id) and caller.account_id != target.account_id
            detail = caller.told + (f"; {deployment} is in {target.account_id}" if is_other else "")
            status: Literal["pass", "fail"] = "fail" if is_other else "pass"
            checks.append(CheckResult(name=f"{deployment}: credentials", status=status, detail=detail))
    return checks


def defaults_check(today: date) -> CheckResult:
    """When the images of new deployments were chosen; since then holes may have become known."""
    day = defaults.read().day
    ago = (today - day).days
    when = f"{day}, {ago} {'day' if ago == 1 else 'days'} ago" if ago > 0 else str(day)
    detail = f"chosen on {when}, for new deployments; `status --updates` tells what is newer"
    return CheckResult(name="default images", status="pass", detail=detail)


def plugin_check() -> CheckResult:
    """Whether AWS's program for Session Manager is here; most do without."""
    name = "Session Manager"
    try:
        return CheckResult(name=name, status="pass", detail=require_plugin(PLUGIN))
    except EnvironmentProblemError:
        detail = f"{PLUGIN} is not on this machine; only --connect ssm needs it. {INSTALL}"
        return CheckResult(name=name, status="warn", detail=detail)


def examined(checks: list[CheckResult], name: str, question: Callable[[], _Answer]) -> _Answer | None:
    """The answer; where there is none, the reason as a failed check."""
    try:
        return question()
    except GeusemakerError as error:
        checks.append(CheckResult(name=name, status="fail", detail=str(error)))
        return None
