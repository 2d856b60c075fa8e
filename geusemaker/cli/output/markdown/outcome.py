"""What an operation came to, or why there is nothing of it, as Markdown: a pipeline's job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.markdown.pieces import bullets, document, fenced, heading, prose, table
from geusemaker.cli.output.markdown.plan import checks_markdown, plan_markdown, titled
from geusemaker.cli.output.plan import TARGET_NAMES, render_change_text
from geusemaker.cli.output.result import changes_of, failed_state, told_away, told_health, told_outcome, told_way_back
from geusemaker.cli.output.text import duration
from geusemaker.errors import ConfirmationNeededError, EngineError, RefusedError

if TYPE_CHECKING:
    from geusemaker.errors import GeusemakerError
    from geusemaker.models.plan import Plan
    from geusemaker.models.result import OperationResult, RollbackResult


def result_markdown(result: OperationResult | RollbackResult, verb: str, plan: Plan | None, *, verbose: bool) -> str:
    """The outcome: what was done and how the services are; of a dry run, and what was refused, the plan.

    Args:
        result: what came of it.
        verb: the command's word.
        plan: the one that was shown last.
        verbose: list the plan's checks that passed, too.
    """
    shown = plan_markdown(plan, verbose=verbose) if plan is not None else ""
    if result.success and result.dry_run:
        return document(prose(told_outcome(result, verb)) + ".", shown.rstrip("\n"))
    return (
        _done(result, verb, plan) if result.success else _failed(result, verb, shown if result.exit_code == 5 else "")
    )


def _done(result: OperationResult | RollbackResult, verb: str, plan: Plan | None) -> str:
    target = f", {TARGET_NAMES[plan.target_kind]}" if plan is not None else ""
    away = told_away(result.away_seconds)
    notes = [
        *([f"away: {away}"] if away else []),
        *result.data_kept,
        *(f"warning: {warning}" for warning in result.warnings),
        *([f"next: {result.next_step}"] if result.next_step else []),
        told_way_back(result),
        *([f"undo: `{result.undo}`"] if result.undo else []),
    ]
    changes = bullets(render_change_text(change) for change in changes_of(result)) if result.operation_id else ""
    return document(
        heading(f"{told_outcome(result, verb)} ({duration(result.duration_seconds)}{target})"),
        titled("Taken back" if verb == "rollback" else "Changes", changes),
        titled("Services", _health(result)),
        bullets(notes),
    )


def _failed(result: OperationResult | RollbackResult, verb: str, plan: str) -> str:
    state = failed_state(result)
    logs = [
        document(prose(f"The last lines of {service}'s log:"), fenced(lines)).rstrip("\n")
        for service, lines in result.failure_logs.items()
    ]
    parts = [
        heading(f"{verb} {result.deployment} failed"),
        prose(result.error_message or f"The {verb} of {result.deployment} failed."),
        bullets(
            [*([f"state: {state}"] if state else []), *([f"next: {result.next_step}"] if result.next_step else [])]
        ),
        "" if plan else titled("Checks", checks_markdown(result.checks, passed=False)),
        titled("Services", _health(result)),
        *logs,
        _facts(evidence=f"`{result.evidence}`" if result.evidence else ""),
        plan.rstrip("\n"),
    ]
    return document(*parts)


def _facts(**facts: str) -> str:
    """Those that there are, a line each."""
    return bullets(f"{name}: {text}" for name, text in facts.items() if text)


def _health(result: OperationResult | RollbackResult) -> str:
    return table(("service", "is"), told_health(result.health_status))


def error_markdown(error: GeusemakerError, verb: str, deployment: str | None, plan: Plan | None, details: int) -> str:
    """An error: what happened, what state things are in, what to type next.

    Args:
        error: it.
        verb: the command's word.
        deployment: whose; None: it is not known.
        plan: the one that was shown last, which is told where it was refused.
        details: how many of the engine's last lines are shown.
    """
    told = plan is not None and isinstance(error, RefusedError | ConfirmationNeededError)
    checks = error.checks if isinstance(error, RefusedError) and not told else ()
    lines = error.diagnostics[-details:] if isinstance(error, EngineError) else ()
    return document(
        heading(" ".join(filter(None, (verb, deployment, "failed")))),
        prose(error.message),
        fenced(lines) if lines else "",
        _facts(state=error.state, next=error.next_step),
        titled("Checks", checks_markdown(checks, passed=False)),
        plan_markdown(plan).rstrip("\n") if plan is not None and told else "",
    )
