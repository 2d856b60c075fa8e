"""The AWS stand-in decides as Terraform's real AWS provider does, for every input that the program sets.

The real provider writes its own state against moto and plans over it; what it says of each change is what the
stand-in must say. The list of inputs is the program's own, so an input that is new there needs a case here.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from geusemaker.local_cloud.providers.aws.provider import RESOURCES
from tests.local_cloud.provider_caller import Known, ProviderCaller
from tests.local_cloud.terraform import Decision, Terraform
from tests.unit.test_program.test_stack import TARGET, declare

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0ajZNs4UvHQiMTyuqj7zVjbJWzP1pxF2rjj1Wd9v9Q"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ2bHlmXbmVnYc3wJ2lTuAWZEnsM5HxdqbVTIUJ2mT1"
MANAGED = "arn:aws:iam::aws:policy/"
TAGS = {"Name": "geusemaker-prod", "geusemaker:deployment": "prod"}


BOUNDARY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
EVERYTHING = TARGET.model_copy(
    update={"tags": {"team": "blue"}, "root_volume_tagged": True, "permissions_boundary": BOUNDARY}
)
"""Where a deployment has all that it can have."""


def trust(service: str = "ec2.amazonaws.com", **layout: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, **layout)


TERRAFORM_TYPES = {
    "aws:ebs/volume:Volume": "aws_ebs_volume",
    "aws:ec2/eip:Eip": "aws_eip",
    "aws:ec2/eipAssociation:EipAssociation": "aws_eip_association",
    "aws:ec2/instance:Instance": "aws_instance",
    "aws:ec2/keyPair:KeyPair": "aws_key_pair",
    "aws:ec2/securityGroup:SecurityGroup": "aws_security_group",
    "aws:ec2/volumeAttachment:VolumeAttachment": "aws_volume_attachment",
    "aws:efs/backupPolicy:BackupPolicy": "aws_efs_backup_policy",
    "aws:efs/fileSystem:FileSystem": "aws_efs_file_system",
    "aws:efs/mountTarget:MountTarget": "aws_efs_mount_target",
    "aws:iam/instanceProfile:InstanceProfile": "aws_iam_instance_profile",
    "aws:iam/role:Role": "aws_iam_role",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "aws_iam_role_policy_attachment",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "aws_vpc_security_group_egress_rule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "aws_vpc_security_group_ingress_rule",
}
INGRESS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
REFERRING = f"{INGRESS_RULE}#by group"
"""A second resource of a type: its key is the type with what tells the two apart."""

SPOT: dict[str, Any] = {
    "marketType": "spot",
    "spotOptions": {"spotInstanceType": "persistent", "instanceInterruptionBehavior": "stop"},
}
BOUGHT = "aws:ec2/instance:Instance#spot"
"""One that is bought in another way, and has what it needs for that."""

# Strings that begin with $ are what `surroundings` made.
BASE: dict[str, dict[str, Any]] = {
    "aws:ebs/volume:Volume": {
        "availabilityZone": "us-east-1a",
        "size": 10,
        "type": "gp3",
        "encrypted": True,
        "iops": 3000,
        "throughput": 125,
        "tags": TAGS,
    },
    "aws:ec2/eip:Eip": {"domain": "vpc", "tags": TAGS},
    "aws:ec2/eipAssociation:EipAssociation": {"instanceId": "$instance", "allocationId": "$allocation"},
    "aws:ec2/instance:Instance": {
        "ami": "$ami",
        "instanceType": "t3.large",
        "subnetId": "$subnet",
        "vpcSecurityGroupIds": ["$group"],
        "iamInstanceProfile": "$profile",
        "keyName": "$key",
        "userData": "#cloud-config\nssh_deletekeys: true\n",
        "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1},
        "rootBlockDevice": {"volumeType": "gp3", "volumeSize": 30, "encrypted": True, "tags": TAGS},
        "tags": TAGS,
    },
    BOUGHT: {"ami": "$ami", "instanceType": "t3.large", "subnetId": "$subnet", "instanceMarketOptions": SPOT},
    "aws:ec2/keyPair:KeyPair": {"publicKey": KEY, "tags": TAGS},
    "aws:ec2/securityGroup:SecurityGroup": {
        "vpcId": "$vpc",
        "description": "SSH from the given addresses",
        "ingress": [
            {
                "protocol": "tcp",
                "fromPort": 22,
                "toPort": 22,
                "cidrBlocks": ["203.0.113.7/32", "203.0.113.8/32"],
                "securityGroups": ["$group"],
            }
        ],
        "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
        "tags": TAGS,
    },
    "aws:ec2/volumeAttachment:VolumeAttachment": {
        "deviceName": "/dev/sdf",
        "instanceId": "$instance",
        "volumeId": "$volume",
        "stopInstanceBeforeDetaching": True,
    },
    "aws:efs/backupPolicy:BackupPolicy": {"fileSystemId": "$file_system", "backupPolicy": {"status": "ENABLED"}},
    "aws:efs/fileSystem:FileSystem": {"encrypted": True, "throughputMode": "elastic", "tags": TAGS},
    "aws:efs/mountTarget:MountTarget": {
        "fileSystemId": "$file_system",
        "subnetId": "$subnet",
        "securityGroups": ["$group"],
    },
    "aws:iam/instanceProfile:InstanceProfile": {"role": "$role", "tags": TAGS},
    "aws:iam/role:Role": {"assumeRolePolicy": trust(), "permissionsBoundary": BOUNDARY, "tags": TAGS},
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {
        "role": "$role",
        "policyArn": f"{MANAGED}AmazonSSMManagedInstanceCore",
    },
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {
        "securityGroupId": "$group",
        "ipProtocol": "-1",
        "cidrIpv4": "198.51.100.0/24",
        "description": "everything outward",
    },
    INGRESS_RULE: {
        "securityGroupId": "$group",
        "ipProtocol": "tcp",
        "fromPort": 22,
        "toPort": 22,
        "cidrIpv4": "203.0.113.7/32",
        "description": "SSH",
    },
    REFERRING: {
        "securityGroupId": "$group",
        "ipProtocol": "tcp",
        "fromPort": 2049,
        "toPort": 2049,
        "referencedSecurityGroupId": "$group2",
        "description": "NFS",
    },
}

# What is changed, and to what; [] is in the list's one object. None takes it out.
CHANGES: dict[str, list[tuple[str, Any]]] = {
    "aws:ebs/volume:Volume": [
        ("availabilityZone", "us-east-1b"),
        ("size", 20),
        ("type", "gp2"),
        ("encrypted", False),
        ("iops", 4000),
        ("throughput", 200),
        ("finalSnapshot", True),
        ("snapshotId", "$snapshot"),
    ],
    "aws:ec2/eip:Eip": [("domain", "standard"), ("instance", "$instance")],
    "aws:ec2/eipAssociation:EipAssociation": [("instanceId", "$instance2"), ("allocationId", "$allocation2")],
    "aws:ec2/instance:Instance": [
        ("ami", "$ami2"),
        ("instanceType", "t3.xlarge"),
        ("instanceType", "t4g.large"),
        ("subnetId", "$subnet2"),
        ("vpcSecurityGroupIds", ["$group2"]),
        ("vpcSecurityGroupIds", ["$group", "$group2"]),
        ("iamInstanceProfile", "$profile2"),
        ("keyName", "$key2"),
        ("userData", "#cloud-config\nssh_deletekeys: false\n"),
        ("metadataOptions.httpEndpoint", "disabled"),
        ("metadataOptions.httpTokens", "optional"),
        ("metadataOptions.httpPutResponseHopLimit", 2),
        ("rootBlockDevice.tags", {**TAGS, "team": "blue"}),
        ("rootBlockDevice.volumeType", "gp2"),
        ("rootBlockDevice.volumeSize", 40),
        ("rootBlockDevice.encrypted", False),
        ("rootBlockDevice.iops", 4000),
        ("rootBlockDevice.kmsKeyId", "arn:aws:kms:us-east-1:123456789012:key/0d2a5a25-5d3e-4a5c-8f0c-1f2d3c4b5a69"),
        ("availabilityZone", "us-east-1b"),
        ("associatePublicIpAddress", True),
        ("ebsOptimized", True),
        ("privateIp", "172.31.255.250"),
        ("sourceDestCheck", False),
        ("tenancy", "dedicated"),
        ("monitoring", True),
        ("instanceMarketOptions", SPOT),
    ],
    BOUGHT: [
        ("instanceType", "t3.xlarge"),
        ("instanceMarketOptions.spotOptions.instanceInterruptionBehavior", "hibernate"),
        ("instanceMarketOptions.spotOptions.spotInstanceType", "one-time"),
    ],
    "aws:ec2/keyPair:KeyPair": [
        ("publicKey", OTHER_KEY),
        ("publicKey", f"{KEY} comment"),
        ("publicKey", f"{KEY}\n"),
        ("keyName", "mine"),
    ],
    "aws:ec2/securityGroup:SecurityGroup": [
        ("vpcId", "$vpc2"),
        ("description", "NFS from the instance"),
        ("name", "mine"),
        ("ingress", []),
        ("ingress[].protocol", "udp"),
        ("ingress[].protocol", "TCP"),
        ("ingress[].fromPort", 21),
        ("ingress[].toPort", 23),
        ("ingress[].cidrBlocks", ["10.0.0.0/8"]),
        ("ingress[].cidrBlocks", ["203.0.113.8/32", "203.0.113.7/32"]),
        ("ingress[].securityGroups", ["$group2"]),
        ("egress", []),
        ("egress[].protocol", "tcp"),
        ("egress[].fromPort", 1),
        ("egress[].toPort", 1),
        ("egress[].cidrBlocks", ["10.0.0.0/8"]),
    ],
    "aws:ec2/volumeAttachment:VolumeAttachment": [
        ("deviceName", "/dev/sdg"),
        ("instanceId", "$instance2"),
        ("volumeId", "$volume2"),
        ("forceDetach", True),
        ("skipDestroy", True),
        ("stopInstanceBeforeDetaching", False),
    ],
    "aws:efs/backupPolicy:BackupPolicy": [("fileSystemId", "$file_system2"), ("backupPolicy.status", "DISABLED")],
    "aws:efs/fileSystem:FileSystem": [
        ("encrypted", False),
        ("throughputMode", "bursting"),
        ("creationToken", "mine"),
        ("performanceMode", "maxIO"),
        ("availabilityZoneName", "us-east-1a"),
    ],
    "aws:efs/mountTarget:MountTarget": [
        ("fileSystemId", "$file_system2"),
        ("subnetId", "$subnet2"),
        ("securityGroups", ["$group2"]),
        ("ipAddress", "172.31.255.251"),
    ],
    "aws:iam/instanceProfile:InstanceProfile": [("role", "$role2"), ("name", "mine"), ("path", "/mine/")],
    "aws:iam/role:Role": [
        ("permissionsBoundary", "arn:aws:iam::aws:policy/PowerUserAccess"),
        ("permissionsBoundary", None),
        ("assumeRolePolicy", trust("ecs.amazonaws.com")),
        ("assumeRolePolicy", trust(indent=2)),
        ("assumeRolePolicy", trust(sort_keys=True)),
        ("description", "mine"),
        ("name", "mine"),
        ("path", "/mine/"),
        ("maxSessionDuration", 7200),
    ],
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": [
        ("role", "$role2"),
        ("policyArn", f"{MANAGED}AmazonEC2ReadOnlyAccess"),
    ],
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": [
        ("securityGroupId", "$group2"),
        ("ipProtocol", "all"),
        ("cidrIpv4", "198.51.100.0/25"),
        ("description", "other"),
        ("description", ""),
    ],
    INGRESS_RULE: [
        ("securityGroupId", "$group2"),
        ("ipProtocol", "udp"),
        ("ipProtocol", "6"),
        ("ipProtocol", "TCP"),
        ("fromPort", 21),
        ("toPort", 23),
        ("cidrIpv4", "203.0.113.8/32"),
        ("description", "other"),
        ("tags", TAGS),
    ],
    REFERRING: [("referencedSecurityGroupId", "$group")],
}


@dataclass(frozen=True)
class Case:
    """One input of one resource type, changed."""

    token: str
    """Of BASE."""
    path: str
    value: Any

    @property
    def title(self) -> str:
        shown = "taken out" if self.value is None else re.sub(r"\s+", " ", str(self.value))[:40]
        return f"{self.token.rpartition(':')[2]}.{self.path} = {shown}"

    def inputs(self) -> dict[str, Any]:
        """The base's inputs with this one changed."""
        inputs = copy.deepcopy(BASE[self.token])
        place: Any = inputs
        *above, last = self.path.replace("[]", ".0").split(".")
        for key in above:
            place = place[int(key)] if key.isdigit() else place[key]
        if self.value is None:
            del place[last]
        else:
            place[last] = self.value
        return inputs


def cases() -> list[Case]:
    changed = [Case(token, path, value) for token, changes in CHANGES.items() for path, value in changes]
    tagged = [Case(token, "tags", {**TAGS, "Name": "other"}) for token, base in BASE.items() if "tags" in base]
    taken_out = [
        Case(token, name, None)
        for token, base in BASE.items()
        for name in base
        # Up to version 5 the provider keeps a hash of the user data, and hashes that again when it is taken out;
        # Pulumi's build of it and version 6 keep the text.
        if not is_needed(token, name, base) and name != "userData"
    ]
    return changed + tagged + taken_out


def type_of(token: str) -> str:
    """Pulumi's type of one of BASE."""
    return token.partition("#")[0]


def label(token: str) -> str:
    """One of BASE as a name that Terraform takes."""
    return re.sub(r"\W", "_", token)


def is_needed(token: str, name: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the inputs are not valid without this one."""
    schema = RESOURCES[type_of(token)].schema
    groups = (*schema.needs_one_of, *schema.exactly_one_of)
    alone = any(name in group and not set(group) & (inputs.keys() - {name}) for group in groups)
    return schema.properties[name].required or alone


ALL = cases()


@pytest.fixture(scope="module")
def real(moto_endpoint: str, client: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """What Terraform's provider decides of each case."""
    terraform = Terraform.find()
    if isinstance(terraform, str):
        pytest.skip(
            "NOT COMPARED with Terraform's real AWS provider: what replaces and what updates in place, "
            f"{len(ALL)} changes of inputs. Why: {terraform}."
        )
    around = surroundings(client)
    decisions = terraform.decide(
        tmp_path_factory.mktemp("terraform"),
        moto_endpoint,
        {
            label(token): (TERRAFORM_TYPES[type_of(token)], arguments(filled(inputs, around)))
            for token, inputs in BASE.items()
        },
        [
            (f"case{number}", label(case.token), arguments(filled(case.inputs(), around)))
            for number, case in enumerate(ALL)
        ],
    )
    return [decisions[f"case{number}"] for number in range(len(ALL))]


@pytest.fixture(scope="module")
def ours(aws: ProviderCaller, client: Callable[[str], Any]) -> StandIn:
    around = surroundings(client)
    return StandIn(
        aws, around, {token: aws.create(type_of(token), filled(inputs, around)) for token, inputs in BASE.items()}
    )


@dataclass(frozen=True)
class StandIn:
    """The stand-in with one resource of each type."""

    caller: ProviderCaller
    around: Mapping[str, str]
    created: Mapping[str, Known]

    def decide(self, case: Case) -> Decision:
        difference = self.caller.diff(self.created[case.token], filled(case.inputs(), self.around))
        return "replace" if difference.replaces else "update" if difference.diffs else "no-op"


@pytest.mark.slow  # Terraform's provider takes its time to create the resources that are planned over
@pytest.mark.parametrize("number", range(len(ALL)), ids=[case.title for case in ALL])
def test_the_stand_in_decides_as_the_real_provider(number: int, real: list[Decision], ours: StandIn) -> None:
    assert ours.decide(ALL[number]) == real[number]


def test_every_input_that_the_program_sets_is_compared() -> None:
    compared = {(type_of(case.token), case.path) for case in ALL if case.value is not None}
    known = {(type_of(token), path) for token, inputs in BASE.items() for path in paths(inputs)}
    set_by_program = {
        (token, path)
        for (token, _), inputs in declare(target=EVERYTHING).inputs.items()
        if token.startswith("aws:")
        for path in paths(inputs)
    }
    assert set_by_program <= compared & known, f"add to BASE and CHANGES: {sorted(set_by_program - (compared & known))}"


def paths(inputs: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every input that holds a value; what is in a list's objects is named once, and maps are whole."""
    for name, value in inputs.items():
        if isinstance(value, dict) and "4dabf18193072939515e22adb298388d" in value:
            value = value["value"]  # a secret
        if isinstance(value, dict) and name != "tags":
            yield from paths(value, f"{above}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                yield from paths(item, f"{above}{name}[].")
        else:
            yield above + name


def filled(value: Any, around: Mapping[str, str]) -> Any:
    """Inputs with what was made around them in place of the $names."""
    if isinstance(value, dict):
        return {key: filled(item, around) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, around) for item in value]
    return around[value] if isinstance(value, str) and value.startswith("$") else value


# Terraform wants every member of a rule that is given as a value.
RULE = {"description": "", "ipv6_cidr_blocks": [], "prefix_list_ids": [], "self": False}
RULE |= {"cidr_blocks": [], "security_groups": []}


def arguments(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as Terraform names them."""
    named = {}
    for name, value in inputs.items():
        key = re.sub(r"(?=[A-Z])", "_", name).lower()
        if name in ("ingress", "egress"):
            value = [{**RULE, **arguments(rule)} for rule in value]
        elif isinstance(value, dict) and name != "tags":
            value = arguments(value)
        named[key] = value
    return named


def surroundings(client: Callable[[str], Any]) -> dict[str, str]:
    """What resources refer to, made for one side alone; a 2 in its name: another of the kind."""
    ec2, efs, iam = client("ec2"), client("efs"), client("iam")
    subnets = sorted(ec2.describe_subnets()["Subnets"], key=lambda subnet: str(subnet["AvailabilityZone"]))
    images = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    ami = min(image["ImageId"] for image in images if image.get("RootDeviceName"))
    unique = secrets.token_hex(4)
    made = {"$vpc": subnets[0]["VpcId"], "$vpc2": ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]}
    for number, mark in enumerate(("", "2")):
        name = f"parity-{unique}{mark}"
        group = ec2.create_security_group(GroupName=name, Description=name, VpcId=made["$vpc"])
        instance = ec2.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
        volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust())
        iam.create_instance_profile(InstanceProfileName=name)
        ec2.create_key_pair(KeyName=name)
        made |= {
            f"$subnet{mark}": subnets[number]["SubnetId"],
            f"$ami{mark}": ec2.create_image(InstanceId=instance["InstanceId"], Name=name)["ImageId"],
            f"$group{mark}": group["GroupId"],
            f"$instance{mark}": instance["InstanceId"],
            f"$allocation{mark}": ec2.allocate_address(Domain="vpc")["AllocationId"],
            f"$volume{mark}": volume,
            f"$snapshot{mark}": ec2.create_snapshot(VolumeId=volume)["SnapshotId"],
            f"$file_system{mark}": efs.create_file_system(CreationToken=name)["FileSystemId"],
            f"$role{mark}": name,
            f"$profile{mark}": name,
            f"$key{mark}": name,
        }
    return made
