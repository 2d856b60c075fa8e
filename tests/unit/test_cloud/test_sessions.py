"""Session Manager, answered by a stub of botocore's: moto has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.sessions import AwsSessions
from geusemaker.errors import EnvironmentProblemError, HostError
from geusemaker.models.inspection import InstanceState

PORTS = {"portNumber": ["22"], "localPortNumber": ["20001"]}
ASKED = {"Target": "i-1", "DocumentName": "AWS-StartPortForwardingSession", "Parameters": PORTS}


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    with mock_aws():
        yield AwsCloud("eu-central-1", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


@pytest.fixture
def ssm(cloud: AwsCloud) -> Iterator[Stubber]:
    with Stubber(cloud._client("ssm")) as stub:
        yield stub
        stub.assert_no_pending_responses()


def test_a_session_is_begun_and_ended(cloud: AwsCloud, ssm: Stubber) -> None:
    sessions = AwsSessions(cloud, "prod")
    answer = {"SessionId": "s-1", "TokenValue": "t", "StreamUrl": "wss://there"}
    ssm.add_response("start_session", answer, ASKED)
    ssm.add_response("terminate_session", {"SessionId": "s-1"}, {"SessionId": "s-1"})
    assert sessions.start("i-1", PORTS)["StreamUrl"] == "wss://there"
    sessions.end("s-1")
    assert (sessions.region, sessions.endpoint) == ("eu-central-1", "https://ssm.eu-central-1.amazonaws.com")
    assert sessions.credentials() == {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.mark.parametrize(
    ("known", "told"),
    [([], "not known to Session Manager"), ([{"PingStatus": "ConnectionLost"}], "not connected (ConnectionLost)")],
)
def test_an_agent_that_is_not_connected_is_told_apart(
    cloud: AwsCloud, ssm: Stubber, known: list[dict[str, Any]], told: str
) -> None:
    ssm.add_client_error("start_session", "TargetNotConnected", "i-1 is not connected.", 400)
    filters = {"Filters": [{"Key": "InstanceIds", "Values": ["i-1"]}]}
    ssm.add_response("describe_instance_information", {"InstanceInformationList": known}, filters)
    with pytest.raises(HostError) as error:
        AwsSessions(cloud, "prod").start("i-1", PORTS)
    assert error.value.code == "unreachable" and told in error.value.message


def test_a_permission_that_is_missing_is_named(cloud: AwsCloud, ssm: Stubber) -> None:
    denied = "User: arn:aws:iam::1:user/a is not authorized to perform: ssm:StartSession on resource: arn:aws:ec2:a"
    ssm.add_client_error("start_session", "AccessDeniedException", denied, 400)
    with pytest.raises(EnvironmentProblemError, match="may not do this: ssm:StartSession"):
        AwsSessions(cloud, "prod").start("i-1", PORTS)


def test_only_an_instance_that_runs_is_led_to(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = AwsSessions(cloud, "prod")
    assert sessions.running_instance() is None
    found = InstanceState(id="i-1", type="t3.large", state="stopped", image_id="ami-1", address="")
    monkeypatch.setattr(cloud, "find_instance", lambda name: found)
    assert sessions.running_instance() is None
    found = found.model_copy(update={"state": "running"})
    assert sessions.running_instance() == "i-1"
