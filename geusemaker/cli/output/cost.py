"""What a change does to the monthly cost, in a sentence or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geusemaker.models.cost import Cost, CostLine


def told_cost(cost: Cost) -> str:
    """``about $72.79 → $133.53 a month: instance t3.large → t3.xlarge $60.74 → $121.47. (Prices of …)``

    What stays as it is, is not told line by line where something else changes; all of it where nothing was before.
    """
    changed = [line for line in cost.lines if line.before != line.after]
    unknown = [line for line in cost.lines if None in (line.before, line.after)]
    first = cost.before == 0
    if unknown and len(unknown) == len(cost.lines):
        return f"Unknown: {cost.problem}."
    known = [line for line in cost.lines if line not in unknown]
    before, after = (_money(sum(getattr(line, side) for line in known)) for side in ("before", "after"))
    steps = after if first or before == after else f"{before} → {after}"
    same = ", as now" if not first and not changed and not unknown else ""
    told = [_line(line, first=first) for line in (known if first else changed) if line in known]
    also = f"; the price of {_what(unknown)} is unknown ({cost.problem})" if unknown else ""
    about = "At least" if unknown else "About"
    parts = f": {', '.join(told)}" if told else ""
    day = f" (Prices of {cost.day}.)" if cost.day is not None else ""
    return " ".join([f"{about} {steps} a month{same}{parts}{also}.{day}", *cost.notes])


def _line(line: CostLine, *, first: bool) -> str:
    after = _money(line.after or 0.0)
    price = after if first else f"{_money(line.before or 0.0)} → {after}"
    return " ".join(part for part in (line.what, line.detail, price) if part)


def _what(lines: list[CostLine]) -> str:
    return " and ".join(f"{line.what} {line.detail}".strip() for line in lines)


def _money(amount: float) -> str:
    return f"${amount:,.2f}"
