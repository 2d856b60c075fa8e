"""How a verb asks before it acts: each is handed its plan, and says whether to go on."""

from __future__ import annotations

from collections.abc import Callable

from geusemaker.models.checkpoint import RestorePlan
from geusemaker.models.doctor import RepairStep
from geusemaker.models.plan import Plan, RestPlan

Confirm = Callable[[Plan], bool]
ConfirmRestore = Callable[[RestorePlan], bool]
ConfirmRest = Callable[[RestPlan], bool]
ConfirmRepair = Callable[[tuple[RepairStep, ...]], bool]


def yes(plan: Plan | RestorePlan | RestPlan | tuple[RepairStep, ...]) -> bool:
    """Confirm any plan: what a pipeline that has decided already passes."""
    return True
