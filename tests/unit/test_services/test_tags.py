"""Tags and permissions boundary of the operator's own, which no version has; and what the credentials may not do."""

from __future__ import annotations

import re

import pytest

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.identity import MissingRights
from geusemaker.models.request import DeployRequest, UpdateRequest
from geusemaker.models.stack import Target
from geusemaker.models.stack_file import StackFile
from geusemaker.services.tags import rights_changes, with_rights
from tests.unit.fakes import Shown, World
from tests.unit.samples import target

BOUNDARY = "arn:aws:iam::123456789012:policy/team/edge"


def told(before: Target, after: Target) -> list[str]:
    return [str(change) for change in rights_changes(before, after)]


def test_tags_are_added_changed_and_taken_away() -> None:
    before = target()
    first = with_rights(before, UpdateRequest(tags={"team": "blue", "cost": "42"}))
    assert first.tags == {"cost": "42", "team": "blue"} and first.root_volume_tagged
    assert told(before, first) == ["tags.cost: (none) -> 42", "tags.team: (none) -> blue"]
    second = with_rights(first, UpdateRequest(tags={"team": "red", "cost": ""}))
    assert second.tags == {"team": "red"}
    assert told(first, second) == ["tags.cost: 42 -> (none)", "tags.team: blue -> red"]


def test_a_deployment_of_before_stays_as_it_is_until_it_is_given_some() -> None:
    """Its instance's disk has no tags, and a change that asks for none gives it none."""
    before = target()
    assert with_rights(before, UpdateRequest(instance_type="t3.xlarge")) == before and not before.root_volume_tagged


def test_a_stack_file_has_all_of_them() -> None:
    before = with_rights(target(), UpdateRequest(tags={"team": "blue", "cost": "42"}))
    file = StackFile.parse("services: {qdrant: }\ndeployment: {tags: {team: red, floor: 3}}\n")
    asked = UpdateRequest(desired=file, tags=file.deployment.tags or {})
    assert with_rights(before, asked).tags == {"floor": "3", "team": "red"}
    none = StackFile.parse("services: {qdrant: }\ndeployment: {tags: {}}\n")
    assert with_rights(before, UpdateRequest(desired=none)).tags == {}
    silent = StackFile.parse("services: {qdrant: }\n")
    assert with_rights(before, UpdateRequest(desired=silent)).tags == before.tags


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"aws:team": "x"}, "The tag aws:team is AWS's own"),
        ({"geusemaker:deployment": "x"}, "is geusemaker's own"),
        ({"Name": "x"}, "is geusemaker's own"),
        ({"a" * 129: "x"}, "AWS takes no such tag"),
        ({"a": "x" * 257}, "AWS takes no such tag"),
        ({"a": "x\ny"}, "AWS takes no such tag"),
        ({"a!": "x"}, "AWS takes no such tag"),
        ({"": "x"}, "AWS takes no such tag"),
        ({"Team": "x", "team": "y"}, "the same to IAM"),
        ({f"k{number}": "x" for number in range(46)}, "At most 45"),
    ],
)
def test_tags_that_aws_does_not_take_are_refused_before_anything_changes(tags: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(why)):
        with_rights(target(), UpdateRequest(tags=tags))


def test_a_boundary_comes_and_goes() -> None:
    before = target()
    bound = with_rights(before, UpdateRequest(permissions_boundary=BOUNDARY))
    assert bound.permissions_boundary == BOUNDARY
    assert told(before, bound) == [f"permissions_boundary: (none) -> {BOUNDARY}"]
    assert with_rights(bound, UpdateRequest(tags={"a": "b"})).permissions_boundary == BOUNDARY
    free = with_rights(bound, UpdateRequest(permissions_boundary="none"))
    assert told(bound, free) == [f"permissions_boundary: {BOUNDARY} -> (none)"]


@pytest.mark.parametrize(
    ("boundary", "why"),
    [
        ("edge", "is no policy's ARN"),
        ("arn:aws:iam::123456789012:role/edge", "is no policy's ARN"),
        ("arn:aws-cn:iam::aws:policy/edge", "is of the partition aws-cn"),
    ],
)
def test_a_boundary_that_cannot_be_is_refused(boundary: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        with_rights(target().model_copy(update={"partition": "aws"}), UpdateRequest(permissions_boundary=boundary))


def test_they_are_the_deployments_and_not_a_versions(world: World) -> None:
    world.deploy(DeployRequest(tags={"team": "blue"}, permissions_boundary=BOUNDARY))
    shown = Shown()
    assert world.n8n("1.101.0", tags={"team": "red"}, confirm=shown).success
    assert "tags.team: blue -> red" in [str(change) for change in shown.plans[0].changes]
    assert world.rollback().success
    where = world.state().target
    assert where is not None
    assert (where.tags, where.permissions_boundary, where.root_volume_tagged) == ({"team": "red"}, BOUNDARY, True)


def test_tags_alone_are_a_change_that_says_so(deployed: World) -> None:
    result = deployed.update(tags={"team": "blue"})
    assert result.success and result.changes == ["tags.team: (none) -> blue"]
    assert not deployed.update(tags={"team": "blue"}).changes, "it is that already"


def test_a_change_that_failed_takes_them_back(deployed: World) -> None:
    """They may be why it failed."""
    assert deployed.update(tags={"team": "blue"}).success
    assert deployed.n8n("9.9.9-crash", tags={"team": "red"}, permissions_boundary=BOUNDARY).exit_code == 3
    where = deployed.state().target
    assert where is not None and (where.tags, where.permissions_boundary) == ({"team": "blue"}, "")


def test_a_change_that_may_not_be_made_is_refused_beforehand(deployed: World) -> None:
    deployed.cloud.missing = MissingRights(refused=("ec2:StopInstances",))
    with pytest.raises(RefusedError, match="ec2:StopInstances") as refusal:
        deployed.update(instance_type="t3.xlarge")
    assert "Nothing was changed" in refusal.value.state
    deployed.cloud.missing = MissingRights(doubtful=("iam:PassRole",))
    assert deployed.update(instance_type="t3.xlarge").success
