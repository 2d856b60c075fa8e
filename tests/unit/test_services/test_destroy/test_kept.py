"""What a destroy keeps beside the data."""

from __future__ import annotations

from tests.unit.fakes import Shown, World, urn


def test_what_the_data_needs_stays_with_it_and_is_not_waited_for(deployed: World) -> None:
    group = urn("aws:ec2/securityGroup:SecurityGroup", "storage")
    deployed.engine.state[group] = {"type": group.split("::")[2], "id": "sg-1", "protect": False, "inputs": {}}
    deployed.engine.needed.add(group)
    deployed.cloud.undead["sg-1"] = 10**6
    shown = Shown()
    assert deployed.destroy(confirm=shown).success
    assert {operation.op for operation in shown.plans[0].operations if operation.urn == group} == {"same"}
    assert group in deployed.engine.state
