"""Which machine images are taken, and whose login an instance of them has."""

from __future__ import annotations

import pytest

from geusemaker.errors import InvalidInputError, ValidationFailedError
from geusemaker.models.machine_image import MachineImage
from geusemaker.models.request import DeployRequest
from tests.unit.fakes import Shown, World

UBUNTU = MachineImage(id="ami-ubuntu", name="ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-1", least_gib=8)


@pytest.fixture
def known(world: World) -> World:
    """A world in which there are more AMIs."""
    amis = [
        UBUNTU,
        MachineImage(id="ami-amazon", name="al2023-ami-2023.8", owner="137112412989", owner_alias="amazon"),
        MachineImage(id="ami-golden", name="golden", owner="123456789012"),
    ]
    world.cloud.images |= {ami.id: "amd64" for ami in amis}
    world.cloud.machine_images |= {ami.id: ami for ami in amis}
    # The newest Debian is the last of them; see FakeCloud.find_debian_image.
    world.cloud.images["ami-amd64"] = world.cloud.images.pop("ami-amd64")
    return world


def login(world: World) -> tuple[str, str]:
    """(the deployment's, the image's as the version has it)"""
    state = world.state()
    assert state.target is not None and state.active is not None
    return state.target.ssh_user, state.active.config.image_login


def test_debians_is_admin_and_is_not_written_down(known: World) -> None:
    known.deploy()
    assert login(known) == ("admin", "")
    active = known.state().active
    assert active is not None and "image_login" not in active.config.to_json()


def test_an_image_known_by_its_name_has_its_own(known: World) -> None:
    known.deploy(DeployRequest(ami="ami-ubuntu"))
    assert login(known) == ("ubuntu", "ubuntu")


def test_a_first_deploy_may_ask_for_another_login(known: World) -> None:
    known.deploy(DeployRequest(ami="ami-ubuntu", ssh_user="ops"))
    assert login(known) == ("ops", "ubuntu")


@pytest.mark.parametrize(
    ("ami", "words"),
    [
        ("ami-amazon", "No instance can be made of ami-amazon (al2023-ami-2023.8, published by amazon): it is Amazon"),
        ("ami-golden", "geusemaker does not know what ami-golden (golden, published by 123456789012) is."),
    ],
)
def test_others_are_refused_before_anything_is_made(known: World, ami: str, words: str) -> None:
    with pytest.raises(ValidationFailedError) as refused:
        known.deploy(DeployRequest(ami=ami))
    assert words in refused.value.message and refused.value.state == "Nothing was changed."
    assert "without one it is today's Debian 13" in refused.value.next_step
    assert not known.engine.exists()


def test_one_that_nobody_knows_is_taken_at_the_operators_word(known: World) -> None:
    shown = Shown()
    result = known.deploy(DeployRequest(ami="ami-golden", ssh_user="ops"), shown)
    assert result.success and login(known) == ("ops", "ops")
    told = next(check for check in shown.plans[0].checks if check.name == "machine image")
    assert told.status == "warn" and "the login ops is your word" in told.detail


def test_what_is_no_login(known: World) -> None:
    with pytest.raises(InvalidInputError, match="'Mr X' is not a login"):
        known.deploy(DeployRequest(ami="ami-golden", ssh_user="Mr X"))


def test_an_image_of_another_system_keeps_the_deployments_login_and_goes_back(known: World) -> None:
    known.deploy()
    known.update(ami="ami-ubuntu", allow_replace=True)
    assert login(known) == ("admin", "ubuntu"), "which the instance is told to make"
    known.n8n("1.101.1")
    assert login(known) == ("admin", "ubuntu")
    known.rollback(to_version=1, allow_replace=True)
    assert login(known) == ("admin", "")


def test_a_login_is_said_of_a_new_instance_only(known: World) -> None:
    known.deploy()
    with pytest.raises(InvalidInputError, match="--ssh-user is said of a new instance"):
        known.update(ssh_user="ops", images={"n8n": "n8nio/n8n:1.101.1"})
