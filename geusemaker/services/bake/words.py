"""What is said of a bake, and what it is to the rest of an operation. Pure."""

from __future__ import annotations

from geusemaker.agent.protocol.stored import Lease
from geusemaker.models.bake import BakeReport
from geusemaker.models.history import ApplyOutcome
from geusemaker.services.settling import not_healthy_after_all
from geusemaker.services.states import with_article


def failed_by(report: BakeReport) -> ApplyOutcome:
    """To the rest of an operation it is the gate that failed, of those services or of nobody in particular. Pure."""
    after = f"{report.lasted_seconds:.0f} s after the gate had passed"
    if report.failed_test is None:
        told: dict[str, list[str]] = {}
        for one in report.regressions:
            told.setdefault(one.service, []).append(one.message)
        return not_healthy_after_all({name: f"{', '.join(all_)} ({after})" for name, all_ in told.items()})
    failed = report.failed_test
    said = f": {' / '.join(failed.lines[-3:])}" if failed.lines else ""
    message = f"The test `{failed.test}` failed {after} ({failed.message}){said}"
    error = {"event": "error", "code": "unhealthy", "message": message, "detail": {}}
    return ApplyOutcome(succeeded=False, agent_error=error)


def who(holder: Lease | None, operation: str) -> str:
    """Who took over, in words."""
    if holder is None or not holder.kind:
        return "another operation took over"
    if holder.operation == operation:
        return "its lease was given back from elsewhere, as `geusemaker recover` does"
    return f"{with_article(holder.kind)} of {holder.actor or 'somebody'} took over"


def span(seconds: float) -> str:
    """``10 min``, ``45 s``."""
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:.0f} s"
