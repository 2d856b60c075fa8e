"""The timer of planned backups, which follows the plan beside the data."""

from __future__ import annotations

from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.timers import Timer, end_timer, put_timer

LEAST_SECONDS: Final = 900
"""The timer looks so often whether one is due: one that could not be taken comes so much later, and not a day."""
BACKUP: Final = Timer("backup", "a copy of all data, if one is due", "schedule_failed", 120, LEAST_SECONDS)


def follow_plan(agent: Agent) -> None:
    """Have the timer where a plan is, and none where there is none.

    Raises:
        AgentError: schedule_failed, and what ``Agent.on_efs`` raises
    """
    if agent.on_efs(agent.store.backup_plan):
        put_timer(agent, BACKUP)
    else:
        end_timer(agent, BACKUP)


def follow_plan_or_note(agent: Agent) -> None:
    """The same, for whoever brings services up: a timer must not keep them from it."""
    try:
        follow_plan(agent)
    except (AgentError, OSError) as error:
        what = error.message if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"
        agent.reporter.note(f"Whether backups are taken by themselves could not be set: {what}")
