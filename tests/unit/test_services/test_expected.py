"""How long services are likely to be away."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.models import resource_types
from geusemaker.models.plan import ConfigChange, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.services.expected import told
from tests.unit.fakes import Shown, World
from tests.unit.samples import NIGHT, config


def record(seconds: dict[str, float], *changes: str, success: bool = True) -> OperationRecord:
    return OperationRecord(
        operation_id="op",
        deployment="prod",
        kind="update",
        number=2,
        actor="ann",
        started_at=NIGHT,
        success=success,
        changes=list(changes),
        away_seconds=seconds,
    )


def plan(**more: Any) -> Plan:
    values: dict[str, Any] = {
        "deployment": "prod",
        "kind": "update",
        "operation_id": "op-9",
        "number": 3,
        "active_version": 2,
        "config": config(),
        "replaced": ("n8n",),
    }
    return Plan(**(values | more))


def instance(op: str, *changed: str) -> tuple[ResourceOperation, ...]:
    return (ResourceOperation(op=op, type=resource_types.INSTANCE, name="instance", urn="urn", changed=changed),)


IMAGE = "n8n.image: a -> b"
PAST = [
    record({"n8n": 90.0}, IMAGE),  # too long ago
    *(record({"n8n": seconds}, IMAGE) for seconds in (10.0, 11.0, 12.0, 300.0, 13.0)),
    record({"n8n": 200.0, "postgresql": 150.0}, "instance_type: a -> b", IMAGE),
    record({"n8n": 600.0}, "ami: a -> b", "instance_type: a -> b"),
    record({"n8n": 999.0}, IMAGE, success=False),
    record({}, IMAGE),
    record({"n8n": 500.0}).model_copy(update={"kind": "recover"}),
]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (plan(), "By the last 5 like changes: n8n about 12 s."),
        (plan(replaced=("postgresql",)), ""),
        (plan(replaced=()), ""),
        (
            plan(replaced=None, changes=(ConfigChange(path="n8n.image", old="a", new="b"),)),
            "By the last 5 like changes: n8n about 12 s.",
        ),
        (
            plan(operations=instance("update", "instanceType")),
            "By the last like change: n8n about 3 min, postgresql about 2 min.",
        ),
        (plan(operations=instance("replace")), "By the last like change: n8n about 10 min."),
        (plan(active_version=None), ""),
        (plan(reboots=("a kernel",)), ""),
    ],
)
def test_by_the_middle_of_the_last_like_changes(asked: Plan, says: str) -> None:
    assert told(PAST, asked) == says


def test_less_than_a_second_is_one() -> None:
    assert told([record({"n8n": 0.2}, IMAGE)], plan()) == "By the last like change: n8n about 1 s."


def test_a_plan_tells_it_by_the_deployments_own_past(deployed: World) -> None:
    shown = Shown()
    deployed.machine.stops_for = 12.0
    deployed.n8n("1.101.0", confirm=shown)
    deployed.n8n("1.102.0", confirm=shown)
    assert "By the last" not in shown.plans[0].downtime
    assert (
        "a few seconds" in shown.plans[1].downtime and "By the last like change: n8n about" in shown.plans[1].downtime
    )
