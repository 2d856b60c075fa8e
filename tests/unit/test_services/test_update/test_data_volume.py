"""The data volume grows with ``update --data-volume``, and never shrinks again."""

from __future__ import annotations

import pytest

from geusemaker.errors import InvalidInputError, ValidationFailedError
from tests.unit.fakes import Shown, World


def size(world: World) -> int:
    """GiB, as AWS has it."""
    assert world.cloud.volume is not None
    return world.cloud.volume.size_gib


def grow_by_hand(world: World, gib: int) -> None:
    assert world.cloud.volume is not None
    world.cloud.volume = world.cloud.volume.model_copy(update={"size_gib": gib})


def remembered(world: World) -> int:
    target = world.state().target
    assert target is not None
    return target.data_volume_gib


def test_it_grows_and_no_rollback_shrinks_it(deployed: World) -> None:
    shown = Shown()
    assert deployed.update(shown, data_volume_gib=40, images={"n8n": "n8nio/n8n:1.101.0"}).success
    [plan] = shown.plans
    assert "data_volume_gib: 20 -> 40" in [str(change) for change in plan.changes]
    assert "The data volume grows while it is used" in plan.data_notice
    [check] = [check for check in plan.checks if check.name == "data volume"]
    assert check.status == "pass" and check.detail.endswith("20 GiB; it grows to 40 GiB")
    assert (size(deployed), remembered(deployed)) == (40, 40)

    result = deployed.rollback()
    assert result.success and not any("data_volume" in change for change in result.changes_reverted)
    assert (size(deployed), remembered(deployed)) == (40, 40)


def test_growing_alone_is_a_change(deployed: World) -> None:
    shown = Shown()
    assert deployed.update(shown, data_volume_gib=21).success
    assert shown.plans[0].downtime == "None: no container is replaced."
    deployed.update(data_volume_gib=21)
    assert deployed.messages("note") == ["v2 of prod is that already."]


@pytest.mark.parametrize("gib", [0, 19, 16385])
def test_sizes_that_cannot_be_had(deployed: World, gib: int) -> None:
    with pytest.raises(InvalidInputError, match=f"has 20 GiB, and it only grows, to at most 16384: {gib} GiB"):
        deployed.update(data_volume_gib=gib)


def test_a_deployment_without_one_has_none_to_grow(deployed: World) -> None:
    for entry in deployed.engine.entries:
        entry["target"] = entry["target"].replace('"data_volume_gib":20', '"data_volume_gib":0')
    with pytest.raises(InvalidInputError, match="has no data volume"):
        deployed.update(data_volume_gib=40)


def test_a_size_that_aws_does_not_give_now_is_gone_back_from(deployed: World) -> None:
    deployed.engine.outcomes.append("volume-modified-too-often")
    result = deployed.update(data_volume_gib=40)
    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert "VolumeModificationRateExceeded" in str(result.error_message)
    assert (size(deployed), remembered(deployed), deployed.inspect().status) == (20, 20, "healthy")


def test_a_volume_enlarged_by_other_means_is_taken_up_by_recover(deployed: World) -> None:
    grow_by_hand(deployed, 50)
    inspection = deployed.inspect()
    assert inspection.status == "drifted" and "the data volume has 50 GiB, not 20" in inspection.summary
    with pytest.raises(ValidationFailedError, match="has 50 GiB, changed by other means; `geusemaker recover prod`"):
        deployed.n8n("1.101.0")
    assert deployed.recover().success
    assert (size(deployed), remembered(deployed), deployed.inspect().status) == (50, 50, "healthy")
    assert deployed.n8n("1.101.0").success
