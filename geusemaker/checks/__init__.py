"""Pre-flight checks: what must hold before anything is changed. One function each, all of the same shape."""

from __future__ import annotations

from collections.abc import Iterable

from geusemaker.models.plan import CheckResult


def failures(checks: Iterable[CheckResult]) -> list[str]:
    """What failed, and why, in words."""
    return [f"{check.name}: {check.detail}" for check in checks if check.status == "fail"]
