"""What a stop or a start would do, shown before the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.cost import told_cost
from geusemaker.cli.output.plan import TARGET_NAMES
from geusemaker.cli.output.text import Line, line

if TYPE_CHECKING:
    from geusemaker.models.plan import RestPlan


def render_rest_plan(plan: RestPlan) -> list[Line]:
    """The confirmation view, without the question."""
    title = f"{plan.kind} {plan.deployment} (v{plan.active_version})"
    lines: list[Line] = [[(title, "bold"), (f"  [{TARGET_NAMES[plan.target_kind]}]", "cyan")]]
    if plan.reason:
        lines.append(line(f"    reason: {plan.reason}"))
    lines += [line(f"    {plan.summary}"), *(line(f"    {why}") for why in plan.because)]
    if plan.cost is not None:
        goes_on = "" if plan.instance else "The instance goes on, and is paid for. "
        lines.append(line(f"    {goes_on}{told_cost(plan.cost)}"))
    return [*lines, line()]
