"""How a deployment is, judged from what was looked at. Pure.

One judgement for ``status``, ``recover``, ``update`` and ``rollback``: what ``status`` calls not healthy, ``recover``
repairs or refuses to, and no verb says that there is nothing to do.
"""

from __future__ import annotations

from typing import Final

from geusemaker.services.judgement.facts import Facts, Judgement, Trouble
from geusemaker.services.judgement.interrupted import judge_interrupted
from geusemaker.services.judgement.running import drift, fails_by_itself, judge_services
from geusemaker.services.judgement.sight import judge_data, judge_lost_data, judge_rest, judge_sight
from geusemaker.services.rollback.target import advice
from geusemaker.services.states import USE_THAT_ONE, unreadable_notice

AS_IT_SHOULD_BE: Final = frozenset({"healthy", "stopped", "destroyed"})
"""Where there is nothing to repair."""


def judge(facts: Facts) -> Judgement:
    """Judge."""
    state, interruption = facts.state, facts.interruption
    name, active = state.name, state.active
    if notice := unreadable_notice(state):
        return Judgement("unreadable", f"{notice} {USE_THAT_ONE}")
    if facts.trouble is not None and facts.trouble.code == "account" and not state.destroyed:
        why = f"{facts.trouble.message} {facts.trouble.next_step}"
        return Judgement("unreachable", f"It could not be judged how {name} is: {why}")
    if interruption is not None:
        return judge_interrupted(name, interruption, f"v{active.number}" if active else "")
    if facts.lost:
        return Judgement("drifted", facts.lost, ("the history has lost what runs",))
    if state.destroyed:
        return Judgement("destroyed", f"Destroyed; its data is kept. `geusemaker deploy {name}` takes it up again.")
    if active is None:
        return Judgement("failed", f"No version was ever healthy. Run `geusemaker deploy {name}` again.")
    found = judge_lost_data(facts) or judge_rest(facts) or judge_sight(facts)
    if found is None and state.last_failed:
        found = Judgement(
            "failed",
            f"The last change failed and was not taken back; v{active.number} was the last healthy version. "
            f"{advice(state)}",
            ("the last change failed",),
        )
    found = found or judge_data(facts) or judge_services(facts)
    if facts.left_behind:
        return Judgement(
            found.status, f"{found.summary} {facts.left_behind}", found.repairs, found.restarts, found.failing
        )
    return found


__all__ = ["AS_IT_SHOULD_BE", "Facts", "Judgement", "Trouble", "drift", "fails_by_itself", "judge"]
