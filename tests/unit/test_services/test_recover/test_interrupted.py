"""RecoverService where the instance was interrupted: why, how it comes back, and that it is on record once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from geusemaker.agent.protocol.stored import SpotNotice
from geusemaker.errors import RefusedError
from geusemaker.models.inspection import InstanceState
from geusemaker.models.request import DeployRequest
from tests.unit.fakes import World

NOTICE = SpotNotice("i-1", "stop", "03:00", "02:58", "boot-0", ("n8n",))


@pytest.fixture
def spot(world: World) -> World:
    """v1 is active and healthy, on a spot instance."""
    assert world.deploy(DeployRequest(purchase="spot")).success
    return world


def stops(world: World, reason: str) -> None:
    assert world.cloud.instance is not None
    world.cloud.instance = world.cloud.instance.model_copy(update={"state": "stopped", "reason": reason})


def last(world: World) -> tuple[Any, ...]:
    made = world.state().versions[-1]
    return made.number, made.provenance.kind, made.provenance.trigger, made.config.purchase


def test_what_went_down_by_itself_comes_back_with_its_reason(deployed: World) -> None:
    stops(deployed, "Server.ScheduledStop")
    assert "AWS itself ended i-1" in deployed.inspect().summary
    assert deployed.recover().success
    assert last(deployed) == (2, "recover", "spot_interruption", "on-demand")
    assert [record.trigger for record in deployed.records.read()] == ["manual", "spot_interruption"]


def test_what_somebody_stopped_is_a_manual_one(deployed: World) -> None:
    stops(deployed, "Client.UserInitiatedShutdown")
    assert deployed.inspect().ended is not None
    with pytest.raises(RefusedError, match="not repaired unattended"):
        deployed.recover(unattended=True)
    assert deployed.recover().success
    assert last(deployed)[1:3] == ("recover", "manual")


def test_what_ec2_starts_again_itself_is_waited_for(spot: World) -> None:
    stops(spot, "Server.SpotInstanceShutdown")
    assert "`geusemaker recover prod --on-demand` brings it back at once" in spot.inspect().summary
    before = len(spot.records.read())
    with pytest.raises(RefusedError, match="EC2 took i-1 back") as refused:
        spot.recover()
    assert "EC2 starts it by itself" in refused.value.state and len(spot.records.read()) == before
    assert spot.recover(on_demand=True).success
    assert last(spot) == (2, "recover", "spot_interruption", "on-demand")


def test_what_is_gone_comes_back_as_the_setting_says(spot: World) -> None:
    assert spot.update(on_interruption="on-demand").success
    spot.cloud.gone = InstanceState(
        id="i-1", type="t3.large", state="terminated", address="", reason="Server.SpotInstanceTermination"
    )
    spot.cloud.instance = None
    spot.machine.set_up = False
    assert "there is no instance (EC2 took i-1 back" in spot.inspect().summary
    assert spot.recover(unattended=True).success
    assert last(spot)[1:] == ("recover", "spot_interruption", "on-demand")


def test_an_attempt_that_failed_is_gone_on_with(spot: World) -> None:
    assert spot.update(on_interruption="on-demand").success
    stops(spot, "Server.SpotInstanceShutdown")
    spot.engine.outcomes.append("volume-modified-too-often")
    assert not spot.recover(unattended=True).success
    assert last(spot)[1:] == ("recover", "spot_interruption", "on-demand")
    assert spot.recover(unattended=True).success
    assert last(spot)[1:] == ("recover", "spot_interruption", "on-demand")


def test_unattended_never_goes_to_another_version(spot: World) -> None:
    assert spot.n8n("1.101.0").success
    spot.mark(2, bad=True)
    stops(spot, "Server.ScheduledStop")
    with pytest.raises(RefusedError, match="another version is for a person"):
        spot.recover(unattended=True)


def test_an_instance_that_is_about_to_go_is_not_recovered(spot: World) -> None:
    spot.machine.interruption = NOTICE
    found = spot.inspect()
    assert found.status == "unhealthy" and "EC2 takes i-1 back (stop at 03:00)" in found.summary
    with pytest.raises(RefusedError, match="EC2 takes i-1 back") as refused:
        spot.recover()
    assert refused.value.next_step == "Run `geusemaker recover prod` when it is gone."


def test_one_that_is_back_is_put_on_record_once(spot: World) -> None:
    spot.machine.interruption = replace(NOTICE, returned_at="03:20")
    found = spot.inspect()
    assert found.status == "healthy" and any("puts it on record" in note for note in found.notes)
    assert spot.recover(dry_run=True).success and spot.machine.interruption is not None
    assert spot.recover().success and spot.recover().success
    records = [record for record in spot.records.read() if record.trigger == "spot_interruption"]
    assert [(record.kind, record.number, record.success) for record in records] == [("recover", 1, True)]
    assert spot.machine.journal[-1]["operation_id"] == records[0].operation_id
    assert [version.number for version in spot.state().versions] == [1]
