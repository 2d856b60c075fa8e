"""The outcome of an operation, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.plan import TARGET_NAMES, render_change_text, render_checks
from geusemaker.cli.output.text import Line, Row, columns, duration, line, one_line, verbatim
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from geusemaker.errors import GeusemakerError
    from geusemaker.models.result import MarkResult, OperationResult, RollbackResult

_DONE = {"deploy": "is deployed", "update": "is updated", "recover": "is repaired", "rollback": "is rolled back"}
_BESIDE_VERSIONS = ("rotate-ssh", "rotate-database", "import-n8n-key", "set-secret", "delete-secret", "label")
_CHANGES_SHOWN = 8
"""How many changes the end of a rollback lists."""
_RESTING = {"stop": "stopped on purpose", "start": "started"}


def render_result(result: OperationResult | RollbackResult, verb: str, target: str | None) -> list[Line]:
    """What was done, how the services are and how long it took.

    Args:
        result: a successful outcome.
        verb: the command's word.
        target: ``local`` or ``aws`` where known.
    """
    where: Line = [(f"  [{TARGET_NAMES[target]}]", "cyan")] if target else []
    text = told_outcome(result, verb)
    if result.dry_run:
        return [[(text, "bold"), *where]]
    lines: list[Line] = [[(text, "bold green"), (f" ({duration(result.duration_seconds)})", "dim"), *where]]
    lines += render_health(result.health_status)
    if verb == "rollback":
        lines += _taken_back(changes_of(result))
    lines += render_away(result.away_seconds)
    lines += _baked(result)
    lines += [line(f"    {text}") for text in result.data_kept]
    lines += [[("warning: ", "bold yellow"), (warning, "")] for warning in result.warnings]
    if still_opens := getattr(result, "still_opens", ""):
        lines.append(line(still_opens))
    if result.next_step:
        lines.append(line(f"next: {result.next_step}"))
    way = told_way_back(result)
    return [*lines, *([line(way)] if way else []), *render_undo(result.undo)]


def told_outcome(result: OperationResult | RollbackResult, verb: str) -> str:
    """What a successful operation came to, in a line."""
    if result.dry_run:
        return f"{result.deployment}: dry run, nothing was changed"
    if verb == "destroy":
        return f"{result.deployment}: destroyed"
    if verb == "recover" and not result.operation_id:
        return f"{result.deployment}: nothing to repair"
    if verb in _RESTING:
        done = ", ".join(change.partition(":")[0] for change in changes_of(result))
        return f"{result.deployment}: {f'{done} {_RESTING[verb]}' if result.operation_id else 'as before'}"
    if verb in ("update", "secrets set") and not result.operation_id and getattr(result, "kind", "") == "update":
        return f"{result.deployment}: nothing to change, {_version(result)}"
    if getattr(result, "kind", "") in _BESIDE_VERSIONS:
        return f"{result.deployment}: {', '.join(changes_of(result)) or 'nothing to change'}"
    return f"{result.deployment} {_DONE['update' if verb == 'secrets set' else verb]}: {_version(result)}"


def told_way_back(result: OperationResult | RollbackResult) -> str:
    """The way back, where it is more than the one command that is told as ``undo``."""
    way = getattr(result, "way_back", None)
    if way is None or result.version is None or way.kind == "rollback":
        return ""
    return f"way back: {way.told(result.version)}"


def told_away(seconds: dict[str, float]) -> str:
    """How long services were away, where they were."""
    return ", ".join(f"{name} {duration(away)}" for name, away in sorted(seconds.items()))


def _baked(result: OperationResult | RollbackResult) -> list[Line]:
    """How long the version was watched, and what was seen."""
    bake = getattr(result, "bake", None)
    if bake is None:
        return []
    rounds = "" if not bake.tests else f", all tests passed {'once' if bake.tests == 1 else f'{bake.tests} times'}"
    looks = "1 look" if bake.looks == 1 else f"{bake.looks} looks"
    return [line(f"    baked {duration(bake.lasted_seconds)}: {looks}, nothing worse than before{rounds}", "dim")]


def render_away(seconds: dict[str, float]) -> list[Line]:
    """The same as a line beneath the outcome."""
    told = told_away(seconds)
    return [line(f"    away: {told}", "dim")] if told else []


def render_undo(command: str) -> list[Line]:
    """The command that takes it back, on a line of its own that can be copied."""
    return [verbatim(f"undo: {command}", "dim")] if command else []


def render_failed_result(result: OperationResult | RollbackResult, verb: str, target: str | None) -> list[Line]:
    """What went wrong, what state things are in and what to type next."""
    where: Line = [(f"  [{TARGET_NAMES[target]}]", "cyan")] if target else []
    message = result.error_message or f"The {verb} of {result.deployment} failed."
    lines: list[Line] = [[("error: ", "bold red"), (message, ""), *where]]
    if any(check.status != "pass" for check in result.checks):
        lines += render_checks([check for check in result.checks if check.status != "pass"])
    state = failed_state(result)
    if state:
        lines.append(line(f"state: {state}"))
    lines += render_health(result.health_status)
    for service, logged in result.failure_logs.items():
        lines.append(line(f"the last lines of {service}'s log:", "bold"))
        lines += [Row([("    ", ""), (one_line(text), "dim")], 6) for text in logged]
    if result.evidence:
        lines.append(verbatim(f"evidence: {result.evidence}"))
    if result.next_step:
        lines.append(line(f"next: {result.next_step}"))
    return lines


def render_error(error: GeusemakerError, details: tuple[str, ...] = ()) -> list[Line]:
    """An error: what happened, what state things are in, what to type next."""
    lines: list[Line] = [[("error: ", "bold red"), (error.message, "")]]
    lines += [line(f"    {detail}", "dim") for detail in details]
    if error.state:
        lines.append(line(f"state: {error.state}"))
    if error.next_step:
        lines.append(line(f"next: {error.next_step}"))
    return lines


def render_mark(result: MarkResult, undo: str) -> list[Line]:
    """How a version stands, where a plain rollback goes now, and how to take it back where it was not so before."""
    words = [word for word in ("bad", "pinned", "archived") if getattr(result, word)]
    already = "" if result.changed else ", as before"
    note = f": {result.note}" if result.note else ""
    target = f"v{result.default_target}" if result.default_target else "nowhere: there is no version to go back to"
    return [
        line(
            f"{result.deployment} v{result.version} is {' and '.join(words) or 'good, not pinned'}{already}{note}",
            "bold",
        ),
        line(f"    a rollback without --to-version goes to {target}"),
        *render_undo(undo if result.changed else ""),
    ]


def _taken_back(changes: list[str]) -> list[Line]:
    """What a rollback took back; where that is much it is not said again, as the plan stands above."""
    if len(changes) > _CHANGES_SHOWN:
        return [line(f"    {len(changes)} changes, those of the plan")]
    return [line(f"    {render_change_text(change)}") for change in changes]


def changes_of(result: OperationResult | RollbackResult) -> list[str]:
    """What was changed, or for a rollback: what was taken back."""
    changes: list[str] = result.changes if hasattr(result, "changes") else result.changes_reverted
    return changes


def _version(result: OperationResult | RollbackResult) -> str:
    source = getattr(result, "source_version", None)
    active = f"v{result.version} is active" if result.version else "done"
    healthy = " and healthy" if result.health_status and all(result.health_status.values()) else ""
    data = f", with the data of {result.restored}" if result.restored else ""
    if parts := parts_told(getattr(result, "services_from", {})):
        return f"{active}{healthy}, {parts}{data}"
    config = f", with the config of v{source}" if source else ""
    return f"{active}{healthy}{config}" + (data.replace(", with", " and", 1) if config else data)


def failed_state(result: OperationResult | RollbackResult) -> str:
    """What state things are in after a failure; empty where the message says it."""
    if hasattr(result, "still_opens"):
        return ""  # the message says which secret holds
    bake, restored = getattr(result, "bake", None), getattr(result, "rolled_back_to", None)
    if bake is not None and bake.ended in ("gave_way", "unseen"):
        return f"The gate of v{result.version} had passed, and it was active and healthy then."
    if result.exit_code == 3:
        source = f", with the config of v{restored}" if restored else ""
        more = f" {result.newer_data.message}" if result.newer_data is not None else ""
        return f"The previous version is back and healthy: v{result.version} is active{source}.{more}"
    if result.exit_code == 4 and result.newer_data is not None:
        return f"v{result.version} is active, on data that newer software has migrated; a person is needed."
    if result.exit_code == 4 and result.version is None:
        return "The deployment is not complete, and there is no earlier version; a person is needed."
    if result.exit_code == 4:
        return "The previous version is not restored; a person is needed."
    if result.exit_code in (1, 2, 5, 6):
        return "Nothing was changed."
    return ""


def told_health(health: dict[str, bool]) -> list[tuple[str, str]]:
    """Each service, and whether it is healthy."""
    return [(name, "healthy" if good else "not healthy") for name, good in health.items()]


def render_health(health: dict[str, bool]) -> list[Line]:
    """One row a service."""
    style = {"healthy": "green", "not healthy": "bold red"}
    return columns([((name, ""), (told, style[told])) for name, told in told_health(health)], indent=4)
