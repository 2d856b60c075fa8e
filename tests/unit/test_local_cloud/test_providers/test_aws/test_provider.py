"""What the AWS stand-in makes of inputs: checked, planned, read back."""

from __future__ import annotations

from typing import Any

from geusemaker.local_cloud.providers.aws.provider import RESOURCES
from geusemaker.local_cloud.providers.aws.values import check, inputs_from, planned
from geusemaker.local_cloud.providers.wire import UNKNOWN

GROUP = RESOURCES["aws:ec2/securityGroup:SecurityGroup"].schema
INSTANCE = RESOURCES["aws:ec2/instance:Instance"].schema
ROLE = RESOURCES["aws:iam/role:Role"].schema


def checked(
    schema: Any, news: dict[str, Any], olds: dict[str, Any] | None = None, **options: Any
) -> tuple[dict[str, Any], list[str]]:
    inputs, failures = check(
        schema, "web", olds or {}, news, **{"region": "us-east-1", "default_tags": {}, "seed": b"1", **options}
    )
    return inputs, [name for name, _ in failures]


def test_a_name_is_made_and_kept() -> None:
    first, failures = checked(GROUP, {"vpcId": "vpc-1"})
    assert failures == []
    assert first["name"].startswith("web-")
    assert first["__defaults"] == ["name"]
    again, _ = checked(GROUP, {"vpcId": "vpc-1"}, first, seed=b"2")
    assert again["name"] == first["name"]
    replacement, _ = checked(GROUP, {"vpcId": "vpc-1"}, seed=b"2")
    assert replacement["name"] != first["name"]


def test_a_name_given_by_hand_is_taken_and_given_up_again() -> None:
    by_hand, _ = checked(GROUP, {"name": "mine"})
    assert by_hand["name"] == "mine"
    assert by_hand["__defaults"] == []
    made, _ = checked(GROUP, {}, by_hand)
    assert made["name"] != "mine"


def test_region_and_all_tags_are_filled_in() -> None:
    inputs, _ = checked(GROUP, {"tags": {"a": "mine"}}, default_tags={"a": "default", "b": "default"})
    assert inputs["region"] == "us-east-1"
    assert inputs["tagsAll"] == {"a": "mine", "b": "default"}
    assert "tagsAll" not in checked(GROUP, {})[0]
    assert checked(GROUP, {"tags": UNKNOWN})[0]["tagsAll"] is UNKNOWN
    assert "region" not in checked(ROLE, {"assumeRolePolicy": "{}"})[0]


def test_what_is_wrong_is_named() -> None:
    assert checked(INSTANCE, {"ami": "ami-1"})[1] == ["instanceType"]
    assert checked(INSTANCE, {"ami": "ami-1", "instanceType": UNKNOWN})[1] == []
    assert checked(ROLE, {})[1] == ["assumeRolePolicy"]
    assert checked(ROLE, {"assumeRolePolicy": "{}", "colour": "red"})[1] == ["colour"]


def test_a_plan_passes_inputs_through_and_leaves_the_rest_unknown() -> None:
    inputs, _ = checked(INSTANCE, {"ami": "ami-1", "instanceType": "t3.micro", "subnetId": UNKNOWN})
    plan = planned(INSTANCE, inputs)
    assert plan["ami"] == "ami-1"
    assert plan["subnetId"] is UNKNOWN
    assert plan["publicIp"] is UNKNOWN
    assert plan["tagsAll"] == {}
    assert plan["sourceDestCheck"] is True
    assert "__defaults" not in plan


def test_a_refresh_changes_only_what_differs() -> None:
    inputs = {
        "instanceType": "t3.micro",
        "vpcSecurityGroupIds": ["b", "a"],
        "rootBlockDevice": {"volumeSize": 8},
        "__defaults": [],
    }
    outputs = {
        "instanceType": "t3.large",
        "vpcSecurityGroupIds": ["a", "b"],
        "rootBlockDevice": {"volumeSize": 8, "volumeType": "gp3"},
        "publicIp": "1.2.3.4",
    }
    assert inputs_from(INSTANCE, inputs, outputs) == {**inputs, "instanceType": "t3.large"}


def test_an_import_takes_all_that_is_set() -> None:
    outputs = {
        "ami": "ami-1",
        "keyName": "",
        "sourceDestCheck": True,
        "rootBlockDevice": {"volumeSize": 8, "volumeId": "v"},
    }
    assert inputs_from(INSTANCE, {}, outputs) == {
        "ami": "ami-1",
        "rootBlockDevice": {"volumeSize": 8},
        "__defaults": [],
    }


def test_stopping_and_starting_makes_the_address_unknown() -> None:
    instance = RESOURCES["aws:ec2/instance:Instance"]
    assert instance.unknown_after({"instanceType"}) == {"publicIp", "publicDns"}
    assert instance.unknown_after({"userData"}) == {"publicIp", "publicDns"}
    assert instance.unknown_after({"tags", "vpcSecurityGroupIds"}) == set()


def test_a_proposed_name_is_taken_for_what_is_new_and_is_not_cut() -> None:
    """As the bridge does (pkg/tfbridge/names.go, ComputeAutoNameDefault): what is there keeps its name."""
    before, _ = checked(ROLE, {"assumeRolePolicy": "{}"})
    kept, failures = checked(ROLE, {"assumeRolePolicy": "{}"}, before, proposed="geusemaker-prod-web-1a2b3c4")
    assert kept["name"] == before["name"] and not failures
    made, failures = checked(ROLE, {"assumeRolePolicy": "{}"}, proposed="geusemaker-prod-web-1a2b3c4")
    assert (made["name"], made["__defaults"], failures) == ("geusemaker-prod-web-1a2b3c4", ["name"], [])
    assert checked(ROLE, {"assumeRolePolicy": "{}"}, proposed="x" * 65)[1] == ["name"]
