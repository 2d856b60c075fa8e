"""The command that takes an outcome back. Pure."""

from __future__ import annotations

from geusemaker.models.plan import Plan, RestPlan
from geusemaker.models.state import DeploymentState
from geusemaker.services.differences import another_instance, same_system
from geusemaker.services.rollback.target import objections


def undo_of_change(plan: Plan, state: DeploymentState) -> str:
    """What takes back a change that was carried out; empty where no one command does.

    A change goes back to the version that was active before, where nothing speaks against that one and it was what ran.
    Of settings alone there is nothing for a rollback to bring back.

    Args:
        plan: what was done.
        state: the deployment before it.
    """
    before = state.active
    if plan.kind == "deploy":
        return f"geusemaker destroy {plan.deployment}"
    # Data that was replaced does not come back with a version: it lies under other names, and in a checkpoint.
    if before is None or state.unsettled or plan.kind == "recover" or plan.data_return is not None:
        return ""
    if objections(before) or same_system(before.config, plan.config):
        return ""
    if another_instance(plan.config, before.config):
        return f"geusemaker rollback {plan.deployment} v{before.number} --allow-replace"
    return f"geusemaker rollback {plan.deployment} v{before.number}"


def undo_of_rest(plan: RestPlan) -> str:
    """What takes back a stop or a start of one service, or of all.

    Of some that depend on each other no one command does.
    """
    if plan.instance and plan.kind == "stop":
        return f"geusemaker start {plan.deployment}"
    if plan.because:
        return ""
    if plan.instance:
        return f"geusemaker stop {plan.deployment} --instance"
    service = plan.services[0] if len(plan.services) == 1 else ""
    command = f"geusemaker start {plan.deployment}" if plan.kind == "stop" else f"geusemaker stop {plan.deployment}"
    return f"{command} {service}".rstrip()
