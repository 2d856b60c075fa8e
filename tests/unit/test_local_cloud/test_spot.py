"""What EC2 refuses of spot instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from geusemaker.local_cloud.spot import check_spot
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError, InstanceView

RUNNING = InstanceView("running", "t3.large", "x86_64", "us-east-1a", "active", True)


class Account:
    def __init__(self, instance: InstanceView) -> None:
        self._instance = instance

    def find_instance(self, instance_id: str) -> InstanceView:
        return self._instance


def call(action: str, **parameters: str) -> AwsCall:
    return AwsCall("ec2", action, "us-east-1", parameters)


@pytest.mark.parametrize(
    ("instance", "asked", "code"),
    [
        (RUNNING, call("ModifyInstanceAttribute", **{"InstanceId": "i-1", "InstanceType.Value": "m5.large"}),
         "UnsupportedOperation"),
        (replace(RUNNING, state="stopped", spot_state="disabled"), call("StartInstances", **{"InstanceId.1": "i-1"}),
         "IncorrectSpotRequestState"),
        (replace(RUNNING, spot_persists=False), call("StopInstances", **{"InstanceId.1": "i-1"}),
         "UnsupportedOperation"),
        (RUNNING, call("RunInstances", **{"InstanceMarketOptions.SpotOptions.SpotInstanceType": "persistent"}),
         "InvalidParameterCombination"),
    ],
)  # fmt: skip
def test_what_ec2_does_not_do_with_a_spot_instance(instance: InstanceView, asked: AwsCall, code: str) -> None:
    account: Any = Account(instance)
    with pytest.raises(AwsRefusalError) as refused:
        check_spot(asked, account)
    assert refused.value.code == code
    check_spot(replace(asked, action="DescribeInstances"), account)
    on_demand: Any = Account(replace(instance, spot_state=""))
    if asked.action != "RunInstances":
        check_spot(asked, on_demand)
