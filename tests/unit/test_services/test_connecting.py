"""How an instance is reached, as a fact of the deployment."""

from __future__ import annotations

from typing import Literal

import pytest

from geusemaker.errors import InvalidInputError
from geusemaker.models.request import UpdateRequest
from geusemaker.models.stack import Target
from geusemaker.services.connecting import connect_change, with_connect

AWS = Target(kind="aws", region="eu-central-1", ssh_cidrs=("203.0.113.7/32",))


def asked(connect: Literal["ssh", "ssm"] | None, target: Target = AWS) -> Target:
    return with_connect(target, UpdateRequest(connect=connect), "prod", choose=lambda name: {"prod": 23456}[name])


def test_nothing_is_said_of_it_where_nothing_was_asked() -> None:
    assert asked(None) == AWS == asked("ssh")
    assert {"connect", "forward_port"} & AWS.model_dump().keys() == set()


def test_the_port_is_chosen_once() -> None:
    there = asked("ssm")
    assert (there.connect, there.forward_port, there.through_aws) == ("ssm", 23456, True)
    known = there.model_copy(update={"forward_port": 20001})
    assert asked(None, known) == asked("ssm", known) == known
    back = asked("ssh", known)
    assert (back.connect, back.forward_port) == ("ssh", 20001), "an instance made with it is not to be made anew"
    assert Target.model_validate(there.model_dump(mode="json")) == there


def test_going_back_needs_somebody_who_may_connect() -> None:
    with pytest.raises(InvalidInputError, match="No address may reach the instance over SSH") as refused:
        asked("ssh", asked("ssm").model_copy(update={"ssh_cidrs": ()}))
    assert "--ssh-cidr me" in refused.value.next_step


def test_a_container_of_the_local_cloud_has_no_agent() -> None:
    process = Target(kind="local", region="us-east-1", become="")
    assert asked("ssm", process).through_aws
    with pytest.raises(InvalidInputError, match="container"):
        asked("ssm", process.model_copy(update={"become": "sudo -n"}))


def test_a_plan_says_so() -> None:
    there = asked("ssm")
    assert [str(one) for one in connect_change(AWS, there)] == ["connect: ssh -> ssm"]
    assert connect_change(there, there) == connect_change(None, there) == ()
