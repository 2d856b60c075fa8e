"""Whether a service does worse than before the change: decided from figures of before and of now. Pure.

Two kinds of mistake are weighed. A regression that is missed is found by somebody later, who can roll back. A version
that goes back for nothing costs an outage, and people stop using the bake. So what is certain (a container that was
started again) decides at once, what comes and goes has to be seen more than once, and what a service is like by its
nature is compared with itself before the change, by a wide margin and above a floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from geusemaker.agent.protocol.looks import Figures, Life
from geusemaker.models.bake import Regression
from geusemaker.services.settling import other_lives

LOOK_SECONDS: Final = 2.0
"""Between two looks. What needs three of them is seen within 15 s, answers of two seconds included."""
NOT_READY_LOOKS: Final = 2
"""In a row. One answer that is missing is a blip; the instance's own watch counts in the same way."""
ERRORS_LEAST: Final = 10
"""Lines in a minute, and not fewer: a failing workflow of the user's writes one now and then."""
ERRORS_TIMES: Final = 3
"""So many times as many as before."""
MEMORY_PART: Final = 0.9
"""Of its limit, pages of files left out: at all of it the kernel kills, and what is left is a moment's work."""
MEMORY_LOOKS: Final = 3
"""In a row: a model that is being loaded passes by."""
SLOW_SECONDS: Final = 1.0
"""An answer to "are you ready" below this is not called slow, whatever it was before: it takes milliseconds."""
SLOW_TIMES: Final = 5
"""So many times as long as before."""
SLOW_OF: Final = (3, 5)
"""So many of the last so many looks: a pause of the garbage collector is one."""


def judge(
    before: Mapping[str, Figures], lives: Mapping[str, Life], looks: Sequence[Mapping[str, Figures]]
) -> tuple[Regression, ...]:
    """What does worse, by service.

    Args:
        before: measured before the change; services that were not there are not compared.
        lives: the containers that passed the gate, of all services that are to run.
        looks: measured since, oldest first.
    """
    found: list[Regression] = []
    for name, life in sorted(lives.items()):
        then, seen = before.get(name), [look.get(name) or Figures() for look in looks]
        if not seen:
            continue
        if (again := _restarted(name, life, seen[-1])) is not None:
            found.append(again)  # of a new life all else says nothing
            continue
        rules = (_not_ready, _errors, _memory, _slow)
        found += [one for rule in rules if (one := rule(name, then, seen)) is not None]
    return tuple(found)


def _restarted(name: str, life: Life, now: Figures) -> Regression | None:
    how = other_lives({name: life}, {name: now}).get(name)
    if how is None:
        return None
    count = f" (restarts: {life.restarts} → {now.restarts})" if now.container == life.container else ""
    return Regression(service=name, figure="restarts", before=life.restarts, now=now.restarts, message=f"{how}{count}")


def _not_ready(name: str, then: Figures | None, seen: Sequence[Figures]) -> Regression | None:
    if len(seen) < NOT_READY_LOOKS or (then is not None and then.ready is False):
        return None
    if any(one.ready for one in seen[-NOT_READY_LOOKS:]):
        return None
    return Regression(
        service=name, figure="readiness", before=1, now=0, message=seen[-1].detail or "it does not say that it is ready"
    )


def _errors(name: str, then: Figures | None, seen: Sequence[Figures]) -> Regression | None:
    if then is None or then.log_seconds <= 0:
        return None
    # Never told of a part of a minute what a whole one would have come to: a burst at the start is no rate.
    rate, now = then.error_lines * 60 / max(60.0, then.log_seconds), seen[-1].error_lines
    if now <= max(ERRORS_LEAST, ERRORS_TIMES * rate):
        return None
    message = f"{now} lines of trouble in its log within a minute, {rate:.1f} a minute before"
    return Regression(service=name, figure="error_lines", before=round(rate, 1), now=now, message=message)


def _memory(name: str, then: Figures | None, seen: Sequence[Figures]) -> Regression | None:
    parts = [_part(one) for one in seen[-MEMORY_LOOKS:]]
    old = _part(then) if then is not None else None
    if len(parts) < MEMORY_LOOKS or (old is not None and old >= MEMORY_PART):
        return None
    if any(part is None or part < MEMORY_PART for part in parts):
        return None
    now = parts[-1] or 0.0
    message = f"it uses {now:.0%} of the memory that it may have" + (f", {old:.0%} before" if old is not None else "")
    return Regression(
        service=name, figure="memory", before=None if old is None else round(old, 3), now=round(now, 3), message=message
    )


def _part(figures: Figures) -> float | None:
    """Of the memory that it may have, what it uses."""
    if figures.memory_bytes is None or not figures.memory_limit_bytes:
        return None
    return figures.memory_bytes / figures.memory_limit_bytes


def _slow(name: str, then: Figures | None, seen: Sequence[Figures]) -> Regression | None:
    if then is None or then.answer_seconds is None:
        return None
    least, of = SLOW_OF
    bound = max(SLOW_SECONDS, SLOW_TIMES * then.answer_seconds)
    slow = [one.answer_seconds for one in seen[-of:] if one.answer_seconds is not None and one.answer_seconds > bound]
    if len(slow) < least:
        return None
    message = f"its answers take {slow[-1]:.1f} s, {then.answer_seconds:.2f} s before"
    return Regression(service=name, figure="answer_seconds", before=then.answer_seconds, now=slow[-1], message=message)
