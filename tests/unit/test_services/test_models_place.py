"""Where models lie: what the first deploy says, stays."""

from __future__ import annotations

import pytest

from geusemaker.errors import InvalidInputError
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack_file import StackFile
from tests.unit.fakes import World


def deploy(world: World, place: str | None) -> World:
    assert world.deploy(DeployRequest(models_on=place)).success
    return world


@pytest.mark.parametrize(("place", "gib"), [(None, 20), ("efs", 20), ("volume", 100)])
def test_the_first_deploy_says_where(world: World, place: str | None, gib: int) -> None:
    target = deploy(world, place).state().target
    assert target is not None and (target.models_on, target.data_volume_gib) == (place or "efs", gib)
    assert (target.models_on == "volume") == (place == "volume")


def test_a_size_that_is_given_counts(world: World) -> None:
    assert world.deploy(DeployRequest(models_on="volume", data_volume_gib=50)).success
    target = world.state().target
    assert target is not None and target.data_volume_gib == 50


def test_there_are_two_places(world: World) -> None:
    with pytest.raises(InvalidInputError, match="--models-on is efs or volume, not 's3'"):
        deploy(world, "s3")


@pytest.mark.parametrize(("has", "asks", "where"), [("volume", "efs", "the data volume"), (None, "volume", "EFS")])
def test_no_change_moves_them(world: World, has: str | None, asks: str, where: str) -> None:
    deploy(world, has)
    with pytest.raises(InvalidInputError, match=f"prod's models lie on {where}") as refused:
        world.update(models_on=asks)
    assert refused.value.exit_code == 2
    world.destroy()
    with pytest.raises(InvalidInputError, match="chosen at the first deploy"):
        world.deploy(DeployRequest(models_on=asks))
    target = world.state().target
    assert target is not None and target.models_on == (has or "efs")
    assert world.deploy(DeployRequest(models_on=has)).success


def test_a_file_has_it_too(world: World) -> None:
    deploy(world, "volume")
    active, target = world.state().active, world.state().target
    assert active is not None and target is not None
    file = StackFile.of(active.config, target)
    assert "models_on: volume" in file.to_yaml()
    assert world.update(desired=StackFile.parse(file.to_yaml())).operation_id == ""
    with pytest.raises(InvalidInputError, match="the data volume"):
        world.update(desired=StackFile.parse(file.to_yaml().replace("models_on: volume", "models_on: efs")))
