"""A plan as Markdown: what a pull request's reviewers see of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.markdown.pieces import bullets, document, heading, prose, table
from geusemaker.cli.output.plan import (
    TARGET_NAMES,
    change_rows,
    plan_notices,
    plan_reasons,
    plan_title,
    replacement_rows,
    resource_rows,
    told_left,
)
from geusemaker.cli.output.text import count

if TYPE_CHECKING:
    from geusemaker.models.plan import CheckResult, Plan, ResourceOperation


def plan_markdown(plan: Plan, *, verbose: bool = False) -> str:
    """What the confirmation view shows, as tables; ``verbose`` lists the checks that passed, too."""
    changes = table(("config", "now → then"), change_rows(plan)) or "The config stays as it is."
    parts = [
        heading(f"{plan_title(plan)} ({TARGET_NAMES[plan.target_kind]})"),
        bullets(plan_reasons(plan)),
        titled("Changes", changes),
        titled("Resources", resources_markdown(plan.operations)),
        titled("Checks", checks_markdown(plan.checks, passed=verbose)),
        titled("Repairs", bullets(plan.repairs)),
        titled("Internet", bullets(plan.exposure)),
        titled("Stopped on purpose", bullets(plan.stopped)),
    ]
    if plan.data_return is not None:
        rows = [[text for text, _ in row] for row in replacement_rows(plan.data_return.replaced)]
        left = prose(told_left(plan.data_return.left)) if plan.data_return.left else ""
        parts += [titled("Data", table(("", "service", "name", "now → then"), rows)), left]
    parts.append(titled("What it means", table(("", ""), [notice[:2] for notice in plan_notices(plan)])))
    return document(*parts)


def titled(title: str, content: str) -> str:
    """A part with its heading; nothing where there is no content."""
    return document(heading(title, 4), content).rstrip("\n") if content else ""


def resources_markdown(operations: Sequence[ResourceOperation]) -> str:
    """A row a resource that changes, and how many do not."""
    rows, unchanged = resource_rows(operations)
    told = table(("", "type", "name", "step", "why"), [[text for text, _ in row] for row in rows])
    return document(told, f"{unchanged} unchanged" if unchanged else "").strip("\n")


def checks_markdown(checks: Sequence[CheckResult], *, passed: bool) -> str:
    """A row a check that did not pass; those that did are counted, or listed if asked for."""
    rows = [(one.status, one.name, one.detail) for one in checks if passed or one.status != "pass"]
    good = sum(one.status == "pass" for one in checks)
    counted = f"{count(good, 'check')} passed" if good and not passed else ""
    return document(table(("verdict", "check", "why"), rows), counted).strip("\n")
