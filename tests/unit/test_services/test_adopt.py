"""Taking up the data of a deployment whose workspace is lost."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from geusemaker.agent.protocol.looks import Adoption
from geusemaker.errors import DeclinedError, EnvironmentProblemError, InvalidInputError, RefusedError
from geusemaker.models.inspection import DataVolumeState
from geusemaker.models.ownership import STACK_TAG, Tagged, own_tags
from geusemaker.models.request import DeployRequest
from geusemaker.models.result import OperationResult
from geusemaker.services.adopt import choose_key, unadoptable, with_data
from tests.unit import samples
from tests.unit.fakes import (
    ADDRESS,
    BACKUP_POLICY,
    FILE_SYSTEM,
    INSTANCE,
    MOUNT_TARGET,
    VOLUME,
    Killed,
    Shown,
    World,
    no,
)
from tests.unit.fakes import urn as urn_of

OWN = own_tags("prod", "a1")
DATA = Tagged(type=FILE_SYSTEM, id="fs-1", state="available", tags=OWN)
PARKED = DataVolumeState(id="vol-1", size_gib=30, state="available", availability_zone="us-east-1a", attached_to="")


def one(type: str, id: str, state: str) -> Tagged:
    return Tagged(type=type, id=id, state=state, tags=OWN)


@pytest.mark.parametrize(
    ("tagged", "volume", "state", "reason", "next_step"),
    [
        ([], None, None, "There is no file system fs-1", "no file system of a prod"),
        ([one(FILE_SYSTEM, "fs-2", "available")], None, None, "There is no file system fs-1", "there is fs-2"),
        ([], None, "available", "does not carry the tag geusemaker:deployment=prod", "no file system of a prod"),
        ([one(VOLUME, "fs-1", "available")], None, "available", "is not prod's data", "no file system"),
        ([one(FILE_SYSTEM, "fs-1", "creating")], None, "creating", "fs-1 is creating", "Wait"),
        ([DATA, one(INSTANCE, "i-1", "stopped")], PARKED, "available", "i-1 (stopped)", "terminate-instances"),
        ([DATA, one(INSTANCE, "i-1", "shutting-down")], None, "available", "i-1 (shutting-down)", "when it is gone"),
        (
            [DATA],
            PARKED.model_copy(update={"attached_to": "i-9", "state": "in-use"}),
            "available",
            "i-9 (has vol-1)",
            "terminate-instances --instance-ids i-9",
        ),
        ([DATA], PARKED.model_copy(update={"state": "creating"}), "available", "vol-1 is creating", "Wait"),
    ],
)
def test_what_may_not_be_taken_up(
    tagged: list[Tagged], volume: DataVolumeState | None, state: str | None, reason: str, next_step: str
) -> None:
    found = unadoptable("prod", "fs-1", tagged, volume, state)
    assert found is not None and reason in found[0] and next_step in found[1]


@pytest.mark.parametrize("volume", [None, PARKED])
@pytest.mark.parametrize("state", ["available", "updating"])
def test_what_may_be_taken_up(volume: DataVolumeState | None, state: str) -> None:
    assert unadoptable("prod", "fs-1", [one(FILE_SYSTEM, "fs-1", state)], volume, state) is None


def test_the_stack_goes_on_under_the_datas_id_with_just_the_volume_there_is() -> None:
    target = samples.target(availability_zone="us-east-1a", data_volume_gib=20)
    taken = with_data(target, DATA, PARKED)
    assert (taken.adopting, taken.stack_id, taken.data_volume_gib) == ("fs-1", "a1", 30)
    before_ids = DATA.model_copy(update={"tags": own_tags("prod", "")})
    assert (with_data(target, before_ids, None).stack_id, with_data(target, before_ids, None).data_volume_gib) == (
        "",
        0,
    )
    with pytest.raises(InvalidInputError, match="vol-1 is in eu-1b"):
        with_data(target, DATA, PARKED.model_copy(update={"availability_zone": "eu-1b"}))


@pytest.mark.parametrize(
    ("kept", "given", "was_here", "anew", "wanted", "key"),
    [
        ("kept", None, True, False, True, "kept"),
        ("kept", "kept", True, False, True, "kept"),
        ("kept", None, True, True, True, "kept"),
        ("kept", None, True, False, False, "kept"),
        (None, "given", True, False, True, "given"),
        (None, None, True, True, True, None),
        (None, None, False, False, True, None),
        (None, None, True, False, False, None),
    ],
)
def test_n8n_goes_on_with_its_own_key(
    kept: str | None, given: str | None, was_here: bool, anew: bool, wanted: bool, key: str | None
) -> None:
    found = Adoption(n8n_key=kept, n8n_was_here=was_here)
    config = samples.config()
    if not wanted:
        services = {name: service for name, service in config.services.items() if name != "n8n"}
        config = config.model_copy(update={"services": services})
    assert choose_key("prod", found, config, given, anew=anew) == key


@pytest.mark.parametrize(
    ("kept", "given", "what"),
    [(None, None, "n8n's encryption key is not on the data"), ("kept", "other", "not the one in n8n's own file")],
)
def test_a_key_is_never_guessed(kept: str | None, given: str | None, what: str) -> None:
    with pytest.raises(RefusedError, match=what):
        choose_key("prod", Adoption(n8n_key=kept, n8n_was_here=True), samples.config(), given, anew=False)


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lost(deployed: World) -> World:
    """A workspace that is gone: its data is there, and an address; its instance was ended."""
    deployed.n8n("1.101.1")
    engine, cloud = deployed.engine, deployed.cloud
    engine.created, engine.entries, engine.intent_tag = False, [], ""
    engine.secrets = engine.new_secrets = engine.stack_file = None
    engine.state = {}
    cloud.instance = None
    assert cloud.volume is not None
    cloud.volume = cloud.volume.model_copy(update={"state": "available", "attached_to": ""})
    machine = deployed.machine
    machine.services, machine.images, machine.mounted, machine.set_up = {}, set(), None, False
    machine.n8n_key = "of the old"
    assert machine.lease is not None
    machine.lease = {**machine.lease, "serving": "i-1", "instance_id": "i-1"}
    return deployed


def adopt(world: World, confirm: Any = None, **more: Any) -> OperationResult:
    request = DeployRequest(adopt_data="fs-1", images={"n8n": "n8nio/n8n:1.101.1"}, **more)
    return world.deploy(request, confirm or Shown())


def test_the_data_is_taken_up_with_its_own_key(lost: World) -> None:
    before, shown = lost.cloud.tags[STACK_TAG], Shown()
    result = adopt(lost, shown)
    assert result.success and result.version == 1, result.error_message
    [plan] = shown.plans
    told = " ".join(plan.repairs)
    assert "fs-1, which AWS has" in told and "vol-1, which AWS has" in told and "eipalloc-1" in told
    assert "new password" in told and "n8n's encryption key is taken from its own file" in told
    assert "taken up as it is" in plan.data_notice
    data = {FILE_SYSTEM, MOUNT_TARGET, BACKUP_POLICY, VOLUME, ADDRESS}
    assert {operation.op for operation in plan.operations if operation.type in data} == {"same"}
    assert lost.engine.secrets is not None and lost.engine.secrets.n8n_encryption_key == "of the old"
    assert lost.cloud.tags[STACK_TAG] == before
    assert lost.calls.index("engine.replace_secrets") < lost.calls.index("up.apply")
    assert "engine.record_config" in lost.calls, "other machines take the key from the history"
    assert lost.machine.lease is not None and lost.machine.lease["state"] == "released"
    assert lost.n8n("1.102.1").success and lost.rollback().success
    state = lost.state()
    assert state.target is not None and state.target.adopting == "", "it is over with the first healthy version"


def test_declined_or_only_looked_at_nothing_is_left(lost: World) -> None:
    with pytest.raises(DeclinedError):
        adopt(lost, no)
    assert adopt(lost, dry_run=True).dry_run
    assert not lost.engine.exists() and not lost.engine.has_secrets() and lost.cloud.instance is None


def test_a_first_deploy_that_meets_the_data_names_the_way(lost: World) -> None:
    with pytest.raises(RefusedError) as refused:
        lost.deploy()
    assert "`geusemaker deploy prod --target local --adopt-data fs-1`" in refused.value.next_step


def test_of_an_instance_that_lives_nothing_is_taken(lost: World) -> None:
    lost.cloud.strangers = [one(INSTANCE, "i-7", "running")]
    with pytest.raises(RefusedError, match="i-7") as refused:
        adopt(lost)
    assert refused.value.exit_code == 5 and not lost.engine.exists()
    lost.cloud.reachable = False
    with pytest.raises(EnvironmentProblemError):
        adopt(lost)


def test_an_instance_that_the_data_names_stops_it_before_anything_starts(lost: World) -> None:
    lost.cloud.undead["i-1"] = 0
    assert lost.machine.lease is not None
    lost.machine.lease["serving"] = "i-old"
    lost.cloud.undead["i-old"] = 1
    applied = list(lost.machine.applied)
    result = adopt(lost)
    assert result.exit_code == 4 and "i-old (shutting-down) served this data last" in (result.error_message or "")
    assert "terminate-instances --instance-ids i-old" in result.next_step
    assert lost.machine.applied == applied and lost.machine.services == {}
    assert lost.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.101.1"})).success, "when it is gone"


def test_without_its_key_n8n_is_not_started_and_each_way_on_works(lost: World) -> None:
    lost.machine.n8n_key = None
    result = adopt(lost)
    assert result.exit_code == 4 and "key is not on the data" in (result.error_message or "")
    assert "--n8n-key-file FILE" in result.next_step and "--new-n8n-key" in result.next_step
    assert lost.machine.services == {}
    again = lost.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.101.1"}, n8n_key=SecretStr("from a note")))
    assert again.success
    assert lost.engine.secrets is not None and lost.engine.secrets.n8n_encryption_key == "from a note"


def test_a_new_key_is_made_where_that_is_accepted(lost: World) -> None:
    lost.machine.n8n_key = None
    assert adopt(lost, new_n8n_key=True).success


def test_software_that_does_not_fit_the_data_is_not_started(lost: World) -> None:
    lost.machine.data["postgresql"]["version"] = "15"
    result = adopt(lost)
    assert result.exit_code == 4 and "The data does not fit" in (result.error_message or "")
    assert lost.machine.services == {}


@pytest.mark.parametrize(
    "point",
    [
        "engine.set_intent:begun",
        "engine.clear_pending",
        "engine.up",
        "up.mount",
        "host.adoption",
        "host.begin",
        "engine.replace_secrets",
        "up.apply",
        "up.gate",
        "engine.record_config",
    ],
)
def test_killed_anywhere_it_is_deployed_again(lost: World, point: str) -> None:
    lost.kill_at = point
    with pytest.raises(Killed):
        adopt(lost)
    if point != "engine.record_config":
        result = (
            adopt(lost)
            if lost.engine.stack_file is None
            else lost.deploy(DeployRequest(images={"n8n": "n8nio/n8n:1.101.1"}))
        )
        assert result.success
    else:
        assert lost.recover().success
    assert lost.engine.secrets is not None and lost.engine.secrets.n8n_encryption_key == "of the old"
    files = [name for name in lost.engine.state if FILE_SYSTEM in name]
    assert files == [urn_of(FILE_SYSTEM, "data")] and lost.cloud.file_system is not None
    assert lost.cloud.file_system.id == "fs-1" and lost.cloud.created == 2


def test_a_deployment_with_data_of_its_own_takes_no_other(deployed: World) -> None:
    with pytest.raises(RefusedError, match="deployed already"):
        adopt(deployed)
    deployed.destroy()
    with pytest.raises(InvalidInputError, match="has data of its own"):
        adopt(deployed)
