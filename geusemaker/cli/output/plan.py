"""What a change would do, shown before the question, in the style of ``pulumi preview``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.cost import told_cost
from geusemaker.cli.output.text import Line, columns, count, line, one_line, short_digest
from geusemaker.models import resource_types
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from geusemaker.models.held import Held, Replacement
    from geusemaker.models.plan import CheckResult, ConfigChange, Plan, ResourceOperation

Cells = tuple[tuple[str, str], ...]
"""A row: each cell's text and style."""

# Pulumi's own symbols (pkg/resource/deploy/display: StepOp.RawPrefix), not its colours: what is planned is no alarm.
# Only what ends something stands out, and red is left for what has gone wrong, or cannot be had back.
_SYMBOLS = {
    "create": ("+", "green"),
    "update": ("~", "cyan"),
    "delete": ("-", "yellow"),
    "replace": ("+-", "yellow"),
    "import": ("=", "cyan"),
    "read": (">", "cyan"),
    "refresh": ("~", "cyan"),
}
_REPLACEMENTS = {"replace", "create-replacement", "delete-replaced", "discard-replaced", "import-replacement"}
_CHECK_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_CHANGE_TEXT = re.compile(r"(?P<path>[^:]+): (?P<old>.+) -> (?P<new>.+)")
TARGET_NAMES = {"local": "local cloud", "aws": "AWS", "unknown": "nobody knows where"}


def render_plan(plan: Plan, verb: str = "", *, verbose: bool = False) -> list[Line]:
    """The confirmation view, without the question: what matters most stands last, next to it.

    Args:
        plan: what would be done.
        verb: the command's word where it is not the plan's kind (``destroy``).
        verbose: list the checks that passed, too.
    """
    verb = verb or plan.kind
    sections: list[tuple[str, list[Line]]] = [
        ("Resources", render_resources(plan.operations)),
        ("Checks", render_checks(plan.checks, passed=verbose)),
    ]
    if verb != "destroy":
        sections.append(("Repairs", [line(f"    {what}") for what in plan.repairs]))
        sections.append(("Internet", [line(f"    {what}") for what in plan.exposure]))
        sections.append(("Stopped on purpose", [line(f"    {what}") for what in plan.stopped]))
        sections.append(("Changes", _changes(plan)))
        sections.append(("Data, now → then", _returned(plan)))
    lines: list[Line] = [[(plan_title(plan, verb), "bold"), (f"  [{TARGET_NAMES[plan.target_kind]}]", "cyan")]]
    lines += [line(f"    {why}") for why in plan_reasons(plan)]
    for title, content in sections:
        if content:
            lines += [line(), line(title, "bold"), *content]
    notices = [((title, "bold"), (text, style)) for title, text, style in plan_notices(plan)]
    return [*lines, line(), *columns(notices), line()]


def plan_reasons(plan: Plan) -> list[str]:
    """What set it off where that was no person, and why in the words of whoever did it."""
    by_itself = "" if plan.trigger == "spot_interruption" else "automatic, "
    trigger = [f"{by_itself}because of {plan.trigger}"] if plan.trigger != "manual" else []
    return [*trigger, *([f"reason: {one_line(plan.reason)}"] if plan.reason else [])]


def plan_notices(plan: Plan) -> list[tuple[str, str, str]]:
    """(title, sentence, style) of what it means: downtime, cost, data, the way back."""
    notices = [
        ("Instance", " ".join(plan.machine), ""),
        ("Downtime", plan.downtime, ""),
        ("Cost", told_cost(plan.cost) if plan.cost is not None else "", ""),
        ("Data", plan.data_notice, ""),
        *_known_holes(plan),
        ("Way back", _way_back(plan), ""),
    ]
    return [notice for notice in notices if notice[1]]


def _way_back(plan: Plan) -> str:
    """By the rules, and as it was measured where just this change was rehearsed."""
    foreseen = plan.way_back.told(plan.number) if plan.way_back is not None else ""
    return "; ".join(filter(None, (foreseen, plan.rehearsed)))


def _known_holes(plan: Plan) -> list[tuple[str, str, str]]:
    """What comes back of them; that it is not known is one dim line, so that nobody offline is nagged."""
    title, found = "Known holes", plan.holes
    if found is None:
        return []
    if found.told:
        more = f" Of the rest it is unknown: {found.unknown}." if found.unknown else ""
        return [(title, f"{found.told[:1].upper()}{found.told[1:]}.{more}", "yellow")]
    return [(title, f"unknown: {found.unknown}", "dim")] if found.unknown else []


def plan_title(plan: Plan, verb: str = "") -> str:
    """``rollback prod: v3 → v4 (config of v2)``."""
    verb = verb or plan.kind
    if verb == "destroy":
        return f"destroy {plan.deployment}" + (f" (v{plan.active_version})" if plan.active_version else "")
    step = f"v{plan.active_version} → v{plan.number}" if plan.active_version else f"v{plan.number}"
    source = f" (config of v{plan.source_version})" if plan.source_version else ""
    source += f" ({parts})" if (parts := parts_told(plan.services_from)) else ""
    return f"{verb} {plan.deployment}: {step}{source}"


def question(plan: Plan, verb: str = "", *, details: bool = False) -> str:
    """The question that follows the view; ``details``: an answer is offered that lists the checks that passed."""
    verb = verb or plan.kind
    offered = "(d lists the checks) [y/N] " if details else "[y/N] "
    if verb == "rollback":
        if parts := parts_told(plan.services_from):
            return f"Roll {parts.replace(' back ', f' of {plan.deployment} back ')}? {offered}"
        source = f" to the config of v{plan.source_version}" if plan.source_version else ""
        data = f", with the data of {plan.data_return.checkpoint}" if plan.data_return is not None else ""
        return f"Roll {plan.deployment} back{source}{data}? {offered}"
    without = ", with no way back" if plan.way_back is not None and plan.way_back.kind == "none" else ""
    return f"{verb.capitalize()} {plan.deployment}{without}? {offered}"


def render_change(change: ConfigChange) -> tuple[str, str]:
    """What changes, and ``old → new``: digests only where the tag alone does not tell the difference."""
    old, new = change.old, change.new
    if old is not None and new is not None and "@sha256:" in old + new:
        bare_old, bare_new = old.partition("@")[0], new.partition("@")[0]
        if bare_old != bare_new:
            old, new = bare_old, bare_new
            if old.rpartition(":")[0] == new.rpartition(":")[0]:
                old, new = old.rpartition(":")[2], new.rpartition(":")[2]
    else:
        old, new = (value.partition("@sha256:")[0] if value else value for value in (old, new))
    return change.path, f"{short_digest(old or '(none)')} → {short_digest(new or '(none)')}"


def render_change_text(text: str) -> str:
    """A change that the library has put in words (``path: old -> new``), shortened as ``render_change`` does."""
    from geusemaker.models.plan import ConfigChange

    match = _CHANGE_TEXT.fullmatch(text)
    if match is None:
        return short_digest(text)
    old, new = (None if value == "(none)" else value for value in (match["old"], match["new"]))
    what, step = render_change(ConfigChange(path=match["path"], old=old, new=new))
    return f"{what}: {step}"


def render_checks(checks: Sequence[CheckResult], *, passed: bool = True) -> list[Line]:
    """The validation table: verdict, what was looked at, why.

    Args:
        checks: what was looked at.
        passed: list those that passed; else they are counted, on a line of their own.
    """
    good = [check for check in checks if check.status == "pass"]
    rows = [
        ((check.status, _CHECK_STYLES[check.status]), (check.name, ""), (check.detail, ""))
        for check in checks
        if passed or check.status != "pass"
    ]
    lines = columns(rows, indent=4)
    return lines if passed or not good else [line(f"    {count(len(good), 'check')} passed", "dim"), *lines]


def change_rows(plan: Plan) -> list[tuple[str, str]]:
    """What changes in the config, and ``old → new``."""
    if plan.active_version is None and all(change.old is None for change in plan.changes):
        # Nothing is there yet: what there will be, without an arrow from nowhere in each row.
        return [(change.path, (change.new or "").partition("@sha256:")[0]) for change in plan.changes]
    return [render_change(change) for change in plan.changes]


def _changes(plan: Plan) -> list[Line]:
    rows = change_rows(plan)
    if not rows:
        return [line("    none: the config stays as it is")]
    return columns([((what, ""), (step, "")) for what, step in rows], indent=4)


def _returned(plan: Plan) -> list[Line]:
    """The data that goes back as well, a row each."""
    found = plan.data_return
    return render_replacements(found.replaced, found.left) if found is not None else []


def render_replacements(replaced: Sequence[Replacement], left: Sequence[Held]) -> list[Line]:
    """A row for each database or collection that older data takes the place of; then what stays."""
    lines = columns(replacement_rows(replaced), indent=4)
    if left:
        lines.append(line(f"        {told_left(left)}", "dim"))
    return lines


def replacement_rows(replaced: Sequence[Replacement]) -> list[Cells]:
    """Sign, service, what it is called, and ``now → then``."""
    return [
        (
            ("~" if one.now is not None else "+", "yellow" if one.now is not None else "green"),
            (one.then.service, ""),
            (one.then.name, ""),
            (f"{amount(one.now) if one.now is not None else '(not there)'} → {amount(one.then)}", ""),
        )
        for one in replaced
    ]


def told_left(left: Sequence[Held]) -> str:
    """What stays as it is, since the checkpoint does not have it."""
    names = ", ".join(f"{held.service} {held.name}" for held in left)
    return f"not in the checkpoint, stays as it is: {names}"


def amount(held: Held) -> str:
    """``3 tables, 12 rows, 2 workflows`` or ``5 points``."""
    numbers = ((held.tables, "table"), (held.rows, "row"), (held.workflows, "workflow"), (held.points, "point"))
    return ", ".join(count(number, noun) for number, noun in numbers if number is not None) or "not counted"


def render_resources(operations: Sequence[ResourceOperation]) -> list[Line]:
    """One row a resource that changes; our own commands in one row; the unchanged ones counted."""
    rows, unchanged = resource_rows(operations)
    lines = columns(rows, indent=4)
    if unchanged:
        lines.append(line(f"        {unchanged} unchanged", "dim"))
    return lines


def resource_rows(operations: Sequence[ResourceOperation]) -> tuple[list[Cells], int]:
    """Sign, type, name, what is done and why; and how many stay as they are."""
    steps: dict[str, list[ResourceOperation]] = {}
    for operation in operations:
        if not operation.type.startswith("pulumi:"):
            steps.setdefault(operation.urn or f"{operation.type}::{operation.name}", []).append(operation)
    rows: list[Cells] = []
    own: dict[str, str] = {}
    unchanged = 0
    for group in steps.values():
        op = "replace" if any(step.op in _REPLACEMENTS for step in group) else group[-1].op
        if op == "same":
            unchanged += 1
        elif group[0].type == resource_types.REMOTE_COMMAND:
            own[group[0].name] = op
        else:
            rows.append(_resource_row(group, op))
    if own:
        word = "remove" if set(own.values()) == {"delete"} else "run"
        symbol = _SYMBOLS["delete" if word == "remove" else "update"]
        where = (resource_types.REMOTE_COMMAND, ""), ("on the instance", "")
        rows.append((symbol, *where, (word, symbol[1]), (", ".join(own), "dim")))
    return rows, unchanged


def _resource_row(group: Sequence[ResourceOperation], op: str) -> Cells:
    symbol, style = _SYMBOLS.get(op, ("*", ""))
    if op == "delete" and any(step.protected or step.unprotects for step in group):
        style = "bold red"  # data: there is no way back
    because = sorted({path for step in group for path in step.replaces})
    changed = sorted({path for step in group for path in step.changed})
    if op == "replace" and because:
        info = f"[because of {', '.join(because)}]"
    elif op == "update" and changed:
        info = f"[diff: {', '.join('~' + path for path in changed)}]"
    else:
        info = next((step.provider_id for step in group if step.provider_id and op == "delete"), "")
    return ((symbol, style), (_short_type(group[0].type), ""), (group[0].name, ""), (op, style), (info, "dim"))


def _short_type(token: str) -> str:
    """``aws:ec2/instance:Instance`` as Pulumi's own display has it: ``aws:ec2:Instance``."""
    package, _, rest = token.partition(":")
    module, _, name = rest.partition(":")
    return f"{package}:{module.partition('/')[0]}:{name}" if name else token
