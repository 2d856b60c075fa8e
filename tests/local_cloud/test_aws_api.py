"""What AWS refuses and moto would let pass; failures on request; what the AWS CLI sees."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from geusemaker.local_cloud.amis import DEBIAN_13_AMD64, DEBIAN_13_ARM64, DEBIAN_OWNER
from geusemaker.local_cloud.client import LocalCloud
from tests.local_cloud.cloud_box import Box, Operator


def _refusal(call: Callable[[], Any]) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def _run(operator: Operator, **options: Any) -> Callable[[], Any]:
    chosen = {"ImageId": DEBIAN_13_AMD64, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    ec2 = operator.ec2
    return lambda: ec2.run_instances(**{**chosen, **options})


def _instances(operator: Operator) -> int:
    return len(operator.cloud.status().instances)


def test_debians_images_are_there(operator: Operator) -> None:
    images = operator.ec2.describe_images(Owners=[DEBIAN_OWNER], Filters=[{"Name": "name", "Values": ["debian-13-*"]}])[
        "Images"
    ]
    found = {(image["ImageId"], image["Name"], image["Architecture"], image["RootDeviceName"]) for image in images}
    assert found == {
        (DEBIAN_13_AMD64, "debian-13-amd64-20250814-2204", "x86_64", "/dev/xvda"),
        (DEBIAN_13_ARM64, "debian-13-arm64-20250814-2204", "arm64", "/dev/xvda"),
    }
    elsewhere = operator.client("ec2", "eu-west-1").describe_images(Owners=[DEBIAN_OWNER])["Images"]
    assert len(elsewhere) == 3, "Debian 12 is there to be refused"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"InstanceType": "t3.huge"}, "InvalidParameterValue", "Invalid value 't3.huge' for InstanceType."),
        (
            {"ImageId": "ami-0123456789abcdef0"},
            "InvalidAMIID.NotFound",
            "The image id '[ami-0123456789abcdef0]' do",
        ),
        ({"ImageId": "debian"}, "InvalidAMIID.Malformed", 'Invalid id: "debian" (expecting "ami-...")'),
        ({"InstanceType": "t4g.micro"}, "InvalidParameterValue", "The architecture 'arm64' of the specified instance"),
        ({"ImageId": DEBIAN_13_ARM64}, "InvalidParameterValue", "The architecture 'x86_64' of the specified instance"),
        ({"KeyName": "nokey"}, "InvalidKeyPair.NotFound", "The key pair 'nokey' does not exist"),
        ({"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue", "Value (none) for parameter iamInstance"),
        (
            {"InstanceType": "p3dn.24xlarge", "Placement": {"AvailabilityZone": "us-east-1a"}},
            "Unsupported",
            "Your requested instance type (p3dn.24xlarge) is not supported in your requested Availability Zone (us-eas",
        ),
    ],
)
def test_what_aws_would_not_launch_is_refused_and_nothing_is_made(
    operator: Operator, options: dict[str, Any], code: str, message: str
) -> None:
    before = _instances(operator)
    refused = _refusal(_run(operator, **options))
    assert refused[0] == code
    assert refused[1].startswith(message)
    assert refused[2] == 400
    assert _instances(operator) == before


def test_a_region_that_does_not_exist_is_refused(operator: Operator) -> None:
    assert _refusal(operator.client("ec2", "mars-north-1").describe_instances)[::2] == ("AuthFailure", 403)


def test_arm_instances_run_arm_images(operator: Operator) -> None:
    made = _run(operator, ImageId=DEBIAN_13_ARM64, InstanceType="t4g.micro")()
    assert made["Instances"][0]["Architecture"] == "arm64"


def test_the_type_changes_only_while_stopped_and_only_to_one_that_can_be(operator: Operator, box: Box) -> None:
    ec2 = operator.ec2

    def change(instance_type: str) -> Callable[[], Any]:
        return lambda: ec2.modify_instance_attribute(InstanceId=box.id, InstanceType={"Value": instance_type})

    running = f"The instance '{box.id}' is not in the 'stopped' state."
    assert _refusal(change("t3.small")) == ("IncorrectInstanceState", running, 400)
    user_data = {"Value": b"#cloud-config\n"}
    refused = _refusal(lambda: ec2.modify_instance_attribute(InstanceId=box.id, UserData=user_data))
    assert refused[0] == "IncorrectInstanceState"
    ec2.modify_instance_attribute(InstanceId=box.id, DisableApiTermination={"Value": False})
    try:
        ec2.stop_instances(InstanceIds=[box.id])
        assert _refusal(change("t3.huge"))[0] == "InvalidParameterValue"
        refused = _refusal(change("t4g.large"))
        assert refused[:2] == (
            "InvalidInstanceAttributeValue",
            "Modifying the instance type from t3.large to t4g.large is not allowed.",
        )
        change("p3dn.24xlarge")()  # not to be had in this zone: AWS notices when it is started
        assert _refusal(lambda: ec2.start_instances(InstanceIds=[box.id]))[0] == "Unsupported"
        change("t3.small")()
        (found,) = ec2.describe_instances(InstanceIds=[box.id])["Reservations"][0]["Instances"]
        assert (found["InstanceType"], found["State"]["Name"]) == ("t3.small", "stopped")
    finally:
        change("t3.large")()
        ec2.start_instances(InstanceIds=[box.id])
    assert box.output("echo up") == "up\n"


def test_a_terminated_instance_stays_terminated(operator: Operator) -> None:
    instance_id = _run(operator)()["Instances"][0]["InstanceId"]
    ec2 = operator.ec2
    ec2.terminate_instances(InstanceIds=[instance_id])
    for call in (ec2.start_instances, ec2.stop_instances):
        assert _refusal(lambda call=call: call(InstanceIds=[instance_id]))[0] == "IncorrectInstanceState"  # type: ignore[misc]


def test_an_address_in_use_is_not_released(operator: Operator, box: Box) -> None:
    refused = _refusal(lambda: operator.ec2.release_address(AllocationId=box.allocation_id))
    assert refused[0] == "InvalidIPAddress.InUse"


def test_a_security_group_in_use_is_not_deleted(operator: Operator) -> None:
    ec2 = operator.ec2
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="used", Description="used", VpcId=vpc)["GroupId"]
    instance_id = _run(operator, SecurityGroupIds=[group])()["Instances"][0]["InstanceId"]
    assert _refusal(lambda: ec2.delete_security_group(GroupId=group))[0] == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.delete_security_group(GroupId=group)


def test_a_file_system_with_mount_targets_is_not_deleted(operator: Operator) -> None:
    file_system = operator.file_system("in-use")
    refused = _refusal(lambda: operator.efs.delete_file_system(FileSystemId=file_system))
    assert (refused[0], refused[2]) == ("FileSystemInUse", 409)


def test_motos_own_api_is_closed(cloud: LocalCloud, operator: Operator, box: Box) -> None:
    import http.client
    from urllib.parse import urlsplit

    url = urlsplit(cloud.environment()["AWS_ENDPOINT_URL"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 404
    connection.close()
    assert operator.ec2.describe_instances(InstanceIds=[box.id])["Reservations"]


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        ("anybody", "anything", "InvalidClientTokenId"),
        ("geusemaker-local", "geusemaker-local", "SignatureDoesNotMatch"),
    ],
)
@pytest.mark.parametrize("service", ["ec2", "efs", "iam", "s3", "ssm", "sts"])
def test_only_the_clouds_own_key_opens_it(cloud: LocalCloud, service: str, key: str, secret: str, code: str) -> None:
    import boto3

    client = boto3.client(  # type: ignore[call-overload]
        service,
        region_name="us-east-1",
        endpoint_url=cloud.environment()["AWS_ENDPOINT_URL"],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    ask = {
        "ec2": "describe_key_pairs",
        "efs": "describe_file_systems",
        "iam": "list_roles",
        "s3": "list_buckets",
        "ssm": "describe_parameters",
        "sts": "get_caller_identity",
    }[service]
    assert _refusal(getattr(client, ask))[0] == code


def test_an_unsigned_call_is_refused(cloud: LocalCloud) -> None:
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            cloud.environment()["AWS_ENDPOINT_URL"], data=b"Action=DescribeInstances&Version=2016-11-15", timeout=10
        )
    assert refused.value.code == 403


# ---- failures on request --------------------------------------------------------------------------------------


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Callable[[dict[str, Any]], None]]:
    file = cloud.folder / "faults.json"

    def ask_for(wanted: dict[str, Any]) -> None:
        file.write_text(json.dumps(wanted))

    yield ask_for
    file.unlink(missing_ok=True)


def test_aws_can_be_out_of_capacity_for_one_type(
    operator: Operator, box: Box, faults: Callable[[dict[str, Any]], None]
) -> None:
    from botocore.config import Config

    faults({"StartInstances": {"code": "InsufficientInstanceCapacity", "instance_type": "m7i.large"}})
    environment = operator.cloud.environment()
    import boto3

    ec2 = boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 0}),
    )
    ec2.stop_instances(InstanceIds=[box.id])
    (stopped,) = ec2.describe_instances(InstanceIds=[box.id])["Reservations"][0]["Instances"]
    assert stopped["PublicIpAddress"] == box.address, "an Elastic IP stays with a stopped instance"
    ec2.modify_instance_attribute(InstanceId=box.id, InstanceType={"Value": "m7i.large"})
    code, message, status = _refusal(lambda: ec2.start_instances(InstanceIds=[box.id]))
    assert (code, status) == ("InsufficientInstanceCapacity", 500)
    assert "We currently do not have sufficient m7i.large capacity" in message
    (found,) = ec2.describe_instances(InstanceIds=[box.id])["Reservations"][0]["Instances"]
    assert found["State"]["Name"] == "stopped"
    ec2.modify_instance_attribute(InstanceId=box.id, InstanceType={"Value": "t3.large"})
    ec2.start_instances(InstanceIds=[box.id])
    assert box.output("echo up") == "up\n"


def test_a_fault_can_happen_a_number_of_times_and_in_any_service(
    operator: Operator, faults: Callable[[dict[str, Any]], None]
) -> None:
    faults(
        {
            "CreateFileSystem": {"code": "FileSystemLimitExceeded", "status": 403, "times": 1},
            "CreateRole": [{"code": "LimitExceeded", "message": "Too many roles.", "status": 409}],
            "PutParameter": {"code": "ParameterLimitExceeded"},
        }
    )
    efs = operator.efs
    assert _refusal(lambda: efs.create_file_system(CreationToken="f"))[::2] == ("FileSystemLimitExceeded", 403)
    efs.create_file_system(CreationToken="f")
    iam = operator.client("iam")
    refused = _refusal(lambda: iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}"))
    assert refused == ("LimitExceeded", "Too many roles.", 409)
    ssm = operator.client("ssm")
    refused = _refusal(lambda: ssm.put_parameter(Name="/p", Value="v", Type="String"))
    assert refused[0] == "ParameterLimitExceeded"


def test_a_call_can_be_made_slow(operator: Operator, faults: Callable[[dict[str, Any]], None]) -> None:
    faults({"DescribeVpcs": {"delay_seconds": 0.4}})
    began = time.monotonic()
    assert operator.ec2.describe_vpcs()["Vpcs"]
    assert time.monotonic() - began >= 0.4


# ---- the AWS CLI ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("aws") is None, reason="no AWS CLI on this machine: NOT TESTED against the real one")
def test_the_aws_cli_sees_instances_types_and_file_systems(operator: Operator, box: Box) -> None:
    file_system = operator.file_system("cli")

    def aws(*arguments: str) -> Any:
        done = subprocess.run(
            ["aws", *arguments, "--output", "json"],
            env={"PATH": os.environ["PATH"], "HOME": str(operator.cloud.folder), **operator.cloud.environment()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (instance,) = aws("ec2", "describe-instances", "--instance-ids", box.id)["Reservations"][0]["Instances"]
    assert (instance["InstanceType"], instance["State"]["Name"]) == ("t3.large", "running")
    assert instance["PublicIpAddress"] == box.address
    (system,) = aws("efs", "describe-file-systems", "--file-system-id", file_system)["FileSystems"]
    assert (system["LifeCycleState"], system["NumberOfMountTargets"]) == ("available", 1)
    (target,) = aws("efs", "describe-mount-targets", "--file-system-id", file_system)["MountTargets"]
    assert target["AvailabilityZoneName"] == "us-east-1a"
    (found,) = aws("ec2", "describe-instance-types", "--instance-types", "m7i.large")["InstanceTypes"]
    assert found["MemoryInfo"]["SizeInMiB"] == 8192


def test_a_volume_is_on_one_instance_of_its_zone_and_outlives_it(operator: Operator) -> None:
    ec2 = operator.ec2
    first, second = (
        _run(operator, Placement={"AvailabilityZone": "us-east-1a"})()["Instances"][0]["InstanceId"] for _ in range(2)
    )
    ec2.get_waiter("instance_running").wait(InstanceIds=[first, second], WaiterConfig={"Delay": 1})
    here, there = (
        ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3")["VolumeId"]
        for zone in ("us-east-1a", "us-east-1b")
    )

    def attach(volume: str, instance: str) -> Callable[[], Any]:
        return lambda: ec2.attach_volume(Device="/dev/sdf", VolumeId=volume, InstanceId=instance)

    assert _refusal(attach(there, first))[0] == "InvalidVolume.ZoneMismatch"
    attach(here, first)()
    assert _refusal(attach(here, second))[0] == "VolumeInUse"
    assert _refusal(lambda: ec2.delete_volume(VolumeId=here))[0] == "VolumeInUse"
    ec2.terminate_instances(InstanceIds=[first])
    left = ec2.describe_volumes(VolumeIds=[here])["Volumes"][0]
    assert (left["State"], left["Attachments"]) == ("available", [])
    attach(here, second)()
