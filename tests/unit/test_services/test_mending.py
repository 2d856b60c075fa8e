"""What a killed engine left is looked for before the plan, shown in it, and put right after its yes alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from geusemaker.errors import DeclinedError, RefusedError, ValidationFailedError
from geusemaker.models.history import LockOwner
from geusemaker.services.mending import Mending, all_gone
from tests.unit.fakes import ADDRESS, FILE_SYSTEM, HOST_NAME, INSTANCE, Killed, Shown, World, no, urn

DEAD = LockOwner(pid=99, user="bob", host=HOST_NAME, since="02:00")


def engine_of(world: World) -> dict[str, Any]:
    """All that an engine's run could have changed."""
    engine = world.engine
    known = (engine.entries, engine.state, engine.pending, engine.creating, engine.lock, engine.intent_tag)
    return copy.deepcopy({"known": known, "file": engine.stack_file, "lease": world.machine.lease})


def hurt(world: World, how: str) -> None:
    if how == "killed":
        world.kill_at = "up.apply"
        with pytest.raises(Killed):
            world.n8n("1.101.0")
        world.kill_at = ""
    elif how == "pending":
        world.kill_at = "up.gate"
        with pytest.raises(Killed):
            world.n8n("1.101.0")
        world.kill_at = ""
        world.engine.creating = {
            urn(INSTANCE, "instance"): INSTANCE,
            "urn::group": "aws:ec2/securityGroup:SecurityGroup",
        }
    elif how == "lost":
        world.engine.lose(FILE_SYSTEM)
    elif how == "lock":
        world.engine.lock = DEAD
    elif how == "no instance":
        world.cloud.instance = None
    else:
        world.n8n("1.101.0-crash", auto_rollback=False)


@pytest.mark.parametrize("how", ["killed", "pending", "lost", "lock", "no instance", "failed"])
@pytest.mark.parametrize("answer", ["no", "dry run"])
def test_before_the_yes_nothing_changes(deployed: World, how: str, answer: str) -> None:
    hurt(deployed, how)
    before = engine_of(deployed)
    if answer == "no":
        with pytest.raises(DeclinedError):
            deployed.recover(confirm=no)
    else:
        assert deployed.recover(dry_run=True).dry_run
    assert engine_of(deployed) == before
    assert "engine.clear_pending" not in deployed.calls and "engine.rehearse" in deployed.calls
    assert deployed.recover().success and deployed.inspect().status == "healthy"


def test_the_plan_says_what_is_put_right(deployed: World) -> None:
    hurt(deployed, "pending")
    deployed.engine.lock = DEAD
    shown = Shown()
    assert deployed.recover(confirm=shown).success
    told = shown.plans[0].repairs
    assert f"Pulumi's lock of process 99 on {HOST_NAME}, which is gone, is removed" in told
    assert "Instance instance: i-1, which AWS has and Pulumi's state lacks, is taken up" in told
    assert "SecurityGroup group: that it was about to be created is forgotten; AWS has none" in told
    calls = deployed.calls
    assert calls.index("engine.set_intent:begun") < calls.index("engine.clear_pending") < calls.index("engine.up")
    assert calls.index("host.begin") < calls.index("engine.clear_pending")


def test_all_gone_at_once_is_refused_and_changes_nothing(deployed: World) -> None:
    deployed.cloud.instance = deployed.cloud.file_system = deployed.cloud.volume = None
    deployed.cloud.has_address = False
    before = engine_of(deployed)
    with pytest.raises(RefusedError, match="AWS has nothing of all that prod had"):
        deployed.recover()
    assert engine_of(deployed) == before


def test_a_rollback_over_a_dead_lock_shows_it_first(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.engine.lock = DEAD
    before = engine_of(deployed)
    with pytest.raises(DeclinedError):
        deployed.rollback(confirm=no)
    assert engine_of(deployed) == before
    assert deployed.rollback().success


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("instance", "the instance i-1 is gone: it was removed by other means"),
        ("other instance", "the instance i-1 is gone: AWS has i-9 in its place"),
        ("address", "the Elastic IP eipalloc-1 is gone: it was removed by other means"),
    ],
)
def test_what_is_gone_is_seen_before_a_change(deployed: World, what: str, said: str) -> None:
    cloud = deployed.cloud
    assert cloud.instance is not None
    if what == "instance":
        cloud.instance = None
    elif what == "other instance":
        cloud.instance = cloud.instance.model_copy(update={"id": "i-9"})
    else:
        cloud.has_address = False
        cloud.instance = cloud.instance.model_copy(update={"address": ""})
    wishes: tuple[dict[str, Any], ...] = ({"images": {"n8n": "n8nio/n8n:1.101.0"}}, {"instance_type": "t3.xlarge"})
    for wish in wishes:
        with pytest.raises(ValidationFailedError) as refused:
            deployed.update(**wish)
        assert said in refused.value.message and "geusemaker recover prod" in refused.value.message
        assert "engine.up" not in deployed.calls
    assert deployed.inspect().exit_code in (7, 8) or what == "other instance"


def test_an_address_that_is_no_longer_the_instances_is_seen(deployed: World) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"address": ""})
    with pytest.raises(ValidationFailedError, match="Elastic IP eipalloc-1 is not associated with i-1 any more"):
        deployed.n8n("1.101.0")


def test_nothing_to_put_right_has_no_lines() -> None:
    assert Mending().lines == ()


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        ([], [], False),
        ([INSTANCE], [INSTANCE], False),
        ([INSTANCE, ADDRESS], [ADDRESS], False),
        ([INSTANCE, "command:remote:Command"], ["command:remote:Command"], True),
    ],
)
def test_all_gone(before: list[str], after: list[str], gone: bool) -> None:
    assert all_gone({one: {"type": one} for one in before}, {one: {"type": one} for one in after}) is gone
