"""The resources the program declares, seen without an engine: what protects data, and what meets the engine's traps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulumi
import pytest
import yaml

from geusemaker.host.bundle import agent_version
from geusemaker.local_cloud.cloud_init import host_keys
from geusemaker.models.secrets import NOBODY, NOTIFY, OwnSecret
from geusemaker.models.stack import Secrets, Target
from geusemaker.program.instance import user_data
from geusemaker.program.stack import define_stack
from geusemaker.services.secrets import generate, public_keys
from tests.unit.samples import config, provenance

ADDRESS = "198.51.100.7"
PRIVATE = "10.0.0.7"
TARGET = Target(
    kind="aws",
    region="eu-central-1",
    availability_zone="eu-central-1a",
    subnet_id="subnet-1",
    ssh_cidrs=("203.0.113.7/32",),
    data_volume_gib=20,
    ssh_public_key="ssh-ed25519 AAAAlogin",
    host_public_key="ssh-ed25519 AAAAhost",
)


@dataclass
class Declared:
    """What the program declared: inputs and options by (type, name)."""

    inputs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    options: dict[tuple[str, str], pulumi.ResourceOptions] = field(default_factory=dict)
    secrets: list[Secrets] = field(default_factory=list)

    def rules(self, group_id: str, direction: str = "Ingress") -> list[dict[str, Any]]:
        """The inputs of a group's rules."""
        kind = f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule"
        return [
            inputs
            for (type, _), inputs in self.inputs.items()
            if type == kind and inputs["securityGroupId"] == group_id
        ]

    def command(self, name: str) -> dict[str, Any]:
        return self.inputs["command:remote:Command", name]

    def document(self, name: str) -> dict[str, Any]:
        """What a command reads from stdin."""
        found: dict[str, Any] = json.loads(_plain(self.command(name)["stdin"]))
        return found


_SECRET = "4dabf18193072939515e22adb298388d"
"""The key that marks a special value on the engine's wire (pulumi/sdk/python, rpc.py); here always a secret."""


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and _SECRET in value


def _plain(value: Any) -> Any:
    return value["value"] if is_secret(value) else value


class _Cloud(pulumi.runtime.Mocks):
    def __init__(self, declared: Declared) -> None:
        self._declared = declared

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self._declared.inputs[args.typ, args.name] = args.inputs
        outputs = {
            "aws:ec2/eip:Eip": {"publicIp": ADDRESS, "allocationId": "eipalloc-1"},
            "aws:ec2/instance:Instance": {"privateIp": PRIVATE},
            "aws:efs/mountTarget:MountTarget": {"ipAddress": "10.0.0.7"},
        }.get(args.typ, {})
        return f"{args.name}-id", {**args.inputs, **outputs}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        assert args.token == "aws:ec2/getSubnet:getSubnet"
        return {"id": args.args["id"], "vpcId": "vpc-1"}, []


def declare(
    operation: str = "op-7",
    target: Target = TARGET,
    before_instance: Callable[[Declared], None] | None = None,
    rotation: str = "",
    after_mount: Callable[[Secrets], Secrets] | None = None,
    own: dict[str, str] | None = None,
    known_rules: dict[str, str] | None = None,
    purchase: str = "on-demand",
) -> Declared:
    # What the runtime keeps is global; the loop is this run's own, and is there before the mocks are.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    given = {name: OwnSecret(value=value) for name, value in (own or {}).items()}
    declared, secrets = Declared(), generate().model_copy(update={"own": given})
    pulumi.runtime.set_mocks(_Cloud(declared), project="geusemaker", stack="prod", preview=False)
    values = {
        "deployment": config(purchase=purchase).model_dump_json(),
        "target": target.model_dump_json(),
        "version": provenance(
            7, operation_id=operation, previous_operation_id="op-6", known_rules=known_rules or {}
        ).model_dump_json(),
        "secrets": secrets.model_dump_json(),
        **({"rotation": rotation} if rotation else {}),
    }
    pulumi.runtime.set_all_config({f"geusemaker:{key}": value for key, value in values.items()}, ["geusemaker:secrets"])

    over = False

    def note(args: pulumi.ResourceTransformationArgs) -> None:
        if not over:  # the runtime's root is global, and keeps it for later runs
            declared.options[args.type_, args.name] = args.opts

    def program() -> None:
        pulumi.runtime.register_stack_transformation(note)
        hold = partial(before_instance, declared) if before_instance else None
        define_stack(declared.secrets.append, hold, after_mount)

    try:
        pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    finally:
        over = True
        asyncio.set_event_loop(None)
        loop.close()
    return declared


@pytest.fixture(scope="module")
def declared() -> Declared:
    return declare()


INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
COMMANDS = ("agent", "mount", "apply", "gate")
VOLUME, ATTACHMENT = "aws:ebs/volume:Volume", "aws:ec2/volumeAttachment:VolumeAttachment"
DATA = (
    "aws:efs/fileSystem:FileSystem",
    "aws:efs/backupPolicy:BackupPolicy",
    "aws:efs/mountTarget:MountTarget",
    VOLUME,
)
INSTANCE = ("aws:ec2/instance:Instance", "instance")


@pytest.mark.parametrize("kind", DATA)
def test_every_data_resource_is_protected_and_retained(declared: Declared, kind: str) -> None:
    options = declared.options[kind, "data"]
    assert options.protect is True
    assert options.retain_on_delete is True


def test_the_instance_waits_for_what_comes_before_it_and_nothing_else_does() -> None:
    before: list[Declared] = []

    def hold(declared: Declared) -> None:
        deadline = time.monotonic() + 10
        while ("aws:ec2/eip:Eip", "address") not in declared.inputs:
            assert time.monotonic() < deadline, declared.inputs.keys()
            time.sleep(0.01)
        before.append(Declared(dict(declared.inputs)))

    after = declare(before_instance=hold)
    assert INSTANCE not in before[0].inputs and INSTANCE in after.inputs
    assert after.inputs[INSTANCE]["instanceType"] == config().instance_type


def test_data_that_is_taken_up_says_which_secrets_the_services_start_with() -> None:
    def ask(secrets: Secrets) -> Secrets:
        return secrets.model_copy(update={"n8n_encryption_key": "kept on the data"})

    told = declare(target=TARGET.model_copy(update={"adopting": "fs-1"}), after_mount=ask)
    document = told.document("apply")
    assert document["adopt"] is True
    assert document["environment"]["n8n"]["N8N_ENCRYPTION_KEY"] == "kept on the data"
    assert is_secret(told.command("apply")["stdin"])
    assert told.secrets[0].n8n_encryption_key != "kept on the data", "the engine's own are those of the config"
    assert "adopt" not in declare().document("apply")


def test_nothing_is_kept_when_the_data_is_to_be_deleted() -> None:
    declared = declare(target=TARGET.model_copy(update={"protect": False}))
    assert [declared.options[kind, "data"].protect for kind in DATA] == [False] * 4
    assert [declared.options[kind, "data"].retain_on_delete for kind in DATA] == [False] * 4


def test_storage_is_encrypted_backed_up_and_reached_from_the_instance_only(declared: Declared) -> None:
    assert declared.inputs[DATA[0], "data"]["encrypted"] is True
    assert declared.inputs[DATA[1], "data"]["backupPolicy"] == {"status": "ENABLED"}
    (rule,) = declared.rules("storage-id")
    assert (rule["fromPort"], rule["toPort"], rule["referencedSecurityGroupId"]) == (2049, 2049, "instance-id")
    assert "cidrIpv4" not in rule


def test_the_data_volume_is_encrypted_block_storage_beside_the_instance(declared: Declared) -> None:
    volume = declared.inputs[VOLUME, "data"]
    assert (volume["encrypted"], volume["type"], volume["size"]) == (True, "gp3", 20)
    assert volume["availabilityZone"] == "eu-central-1a"


def test_the_data_volume_is_let_go_by_a_stopped_instance_only(declared: Declared) -> None:
    attachment, options = declared.inputs[ATTACHMENT, "data"], declared.options[ATTACHMENT, "data"]
    assert (attachment["instanceId"], attachment["volumeId"]) == ("instance-id", "data-id")
    assert attachment["stopInstanceBeforeDetaching"] is True
    assert (options.protect, options.delete_before_replace) == (None, True)
    assert declared.document("mount")["data_volume_id"] == declared.document("apply")["data_volume_id"] == "data-id"


def test_a_deployment_from_before_the_data_volume_stays_as_it_is() -> None:
    declared = declare(target=TARGET.model_copy(update={"data_volume_gib": 0}))
    assert not {VOLUME, ATTACHMENT} & {type for type, _ in declared.inputs}
    assert not [name for name in ("mount", "apply") if "data_volume_id" in declared.document(name)]


def test_ssh_from_the_given_addresses_is_the_one_open_port(declared: Declared) -> None:
    (rule,) = declared.rules("instance-id")
    assert (rule["fromPort"], rule["toPort"], rule["cidrIpv4"]) == (22, 22, "203.0.113.7/32")
    assert declare(target=TARGET.model_copy(update={"ssh_cidrs": ()})).rules("instance-id") == []
    (out,) = declared.rules("instance-id", "Egress")
    assert (out["ipProtocol"], out["cidrIpv4"], "fromPort" in out) == ("-1", "0.0.0.0/0", False)
    assert declared.rules("storage-id", "Egress") == []


def test_through_session_manager_no_port_is_open_and_the_commands_go_to_this_machine() -> None:
    declared = declare(target=TARGET.model_copy(update={"connect": "ssm", "forward_port": 20001}))
    assert declared.rules("instance-id") == [] and len(declared.rules("instance-id", "Egress")) == 1
    connection = declared.command("gate")["connection"]
    connection = connection.get("value", connection)
    assert (connection["host"], connection["port"]) == ("127.0.0.1", 20001)
    assert declared.options[INSTANCE].ignore_changes == ["user_data"]


def test_an_instance_that_was_made_with_the_agent_is_not_made_anew_without_it() -> None:
    back = declare(target=TARGET.model_copy(update={"forward_port": 20001}))
    assert back.options[INSTANCE].ignore_changes == ["user_data"]
    assert len(back.rules("instance-id")) == 1
    assert not declare().options[INSTANCE].ignore_changes


def test_the_groups_say_nothing_of_rules_so_that_those_of_others_stay(declared: Declared) -> None:
    groups = [inputs for (kind, _), inputs in declared.inputs.items() if kind == "aws:ec2/securityGroup:SecurityGroup"]
    assert len(groups) == 2 and not any({"ingress", "egress"} & set(inputs) for inputs in groups)


def test_a_rule_that_aws_has_already_is_taken_up_as_it_is() -> None:
    found = declare(known_rules={"ssh-203.0.113.7-32": "sgr-1"})
    taken, made = (found.options[INGRESS, name] for name in ("ssh-203.0.113.7-32", "nfs"))
    assert (taken.import_, made.import_) == ("sgr-1", None)
    assert taken.ignore_changes == ["description"]


def test_two_instances_never_serve_one_data_set(declared: Declared) -> None:
    assert declared.options[INSTANCE].delete_before_replace is True


def test_the_instance_is_pinned_and_hardened(declared: Declared) -> None:
    instance = declared.inputs[INSTANCE]
    assert "geusemaker:address" not in instance["tags"], "what deployments of before have stays the same"
    assert instance["ami"] == "ami-1", "one that is looked up would replace the instance one day"
    assert instance["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    assert instance["rootBlockDevice"]["encrypted"] is True


def test_user_data_holds_the_host_key_and_is_a_secret(declared: Declared) -> None:
    given = declared.inputs[INSTANCE]["userData"]
    assert is_secret(given)
    (secrets,) = declared.secrets
    assert given["value"] == user_data(secrets, TARGET)
    assert secrets.host_private_key.splitlines()[3] in given["value"]
    assert secrets.ssh_private_key.splitlines()[3] not in given["value"]


def test_a_login_that_the_image_does_not_have_is_made_by_cloud_init(declared: Declared) -> None:
    (secrets,) = declared.secrets
    assert "user:" not in user_data(secrets, TARGET), "Debian's own is admin"
    other = yaml.safe_load(user_data(secrets, TARGET, "ubuntu", rotated=True))
    assert other["user"] == {"name": "admin"} and other["allow_public_ssh_keys"] is False
    ubuntu = TARGET.model_copy(update={"ssh_user": "ubuntu"})
    assert "user:" not in user_data(secrets, ubuntu, "ubuntu")
    assert yaml.safe_load(user_data(secrets, ubuntu))["user"] == {"name": "ubuntu"}


def test_a_login_that_was_rotated_is_a_new_instances_and_changes_no_old_one(declared: Declared) -> None:
    """The key pair stays: another one would replace the instance. The new key comes by cloud-init, from the start."""
    assert declared.options[INSTANCE].ignore_changes is None
    rotated = declare(rotation="op-5")
    (secrets,) = rotated.secrets
    assert rotated.options[INSTANCE].ignore_changes == ["user_data"]
    assert rotated.inputs["aws:ec2/keyPair:KeyPair", "login"]["publicKey"] == TARGET.ssh_public_key
    given = rotated.inputs[INSTANCE]["userData"]
    assert is_secret(given)
    document = yaml.safe_load(given["value"])
    assert document["allow_public_ssh_keys"] is False
    assert document["ssh_authorized_keys"] == [public_keys(secrets)[0]]
    assert host_keys(given["value"]).private["ed25519"].strip() == secrets.host_private_key.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_goes_to_the_elastic_ip_and_checks_the_host_key(declared: Declared, name: str) -> None:
    connection = declared.command(name)["connection"]
    assert is_secret(connection), "it holds the private key"
    assert connection["value"]["host"] == ADDRESS, "a resize makes the instance's own address unknown"
    assert connection["value"]["hostKey"] == TARGET.host_public_key
    assert (connection["value"]["dialErrorLimit"], connection["value"]["perDialTimeout"]) == (60, 5)


def test_an_instance_without_a_public_address_is_reached_at_its_own() -> None:
    private = declare(target=TARGET.model_copy(update={"address": "private"}))
    assert not [kind for kind, _ in private.inputs if "eip" in kind.lower()]
    assert private.inputs[INSTANCE]["tags"]["geusemaker:address"] == "private", "AWS is asked by it"
    assert {private.command(name)["connection"]["value"]["host"] for name in COMMANDS} == {PRIVATE}
    waits = private.options["command:remote:Command", "agent"].depends_on
    assert next(type(found).__name__ for found in waits or ()) == "Instance"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_has_what_replaces_it_or_what_stock_sshd_refuses(declared: Declared, name: str) -> None:
    given = declared.command(name)
    assert not {"triggers", "environment", "update", "delete"} & set(given)
    assert given["addPreviousOutputInEnv"] is False
    assert given["logging"] == "stdout"


def test_apply_and_gate_run_on_every_operation() -> None:
    first, second = declare("op-7"), declare("op-8")
    for name in ("apply", "gate"):
        assert first.document(name)["operation"] == "op-7"
        assert first.document(name) != second.document(name)
    for name in ("agent", "mount"):
        assert _plain(first.command(name)["stdin"]) == _plain(second.command(name)["stdin"])


def test_a_replaced_instance_gets_agent_mount_and_services(declared: Declared) -> None:
    assert "instance-id" in _plain(declared.command("agent")["stdin"])
    assert declared.document("mount")["instance_id"] == "instance-id"
    assert declared.document("apply")["instance_id"] == "instance-id"


def test_the_agent_waits_for_the_address_and_the_others_for_what_is_before_them(declared: Declared) -> None:
    waits = {
        name: [type(found).__name__ for found in declared.options["command:remote:Command", name].depends_on or ()]  # type: ignore[union-attr]
        for name in COMMANDS
    }
    assert waits == {
        "agent": ["Instance", "EipAssociation", "SecurityGroupIngressRule", "SecurityGroupEgressRule"],
        "mount": ["Command", "MountTarget", "SecurityGroupIngressRule", "VolumeAttachment"],
        "apply": ["Command"],
        "gate": ["Command"],
    }


def test_secrets_leave_in_secret_documents_only(declared: Declared) -> None:
    (secrets,) = declared.secrets
    values = [secrets.postgresql_password, secrets.n8n_encryption_key]
    assert is_secret(declared.command("apply")["stdin"])
    for name in ("agent", "mount", "gate"):
        given = declared.command(name)
        assert not is_secret(given["stdin"])
        assert not any(value in json.dumps([given["stdin"], given["create"]]) for value in values)
    assert not any(value in declared.command("apply")["create"] for value in values)


def test_the_file_system_is_mounted_by_its_address_where_no_name_leads_there() -> None:
    declared = declare(target=TARGET.model_copy(update={"mounts_by": "address"}))
    assert declared.document("mount")["source"] == "10.0.0.7:/"


def test_the_file_system_is_mounted_hard_by_its_own_name(declared: Declared) -> None:
    mount = declared.document("mount")
    assert mount["source"] == "data-id.efs.eu-central-1.amazonaws.com:/"
    assert {"hard", "noresvport", "_netdev"} <= set(mount["options"].split(","))
    assert mount["agent"] == agent_version(), "a new agent sets the instance up anew"
    assert "packages" not in mount, "which they are, the agent knows of the system that it is on"


def test_apply_says_which_operation_it_follows(declared: Declared) -> None:
    document = declared.document("apply")
    assert (document["expects"], document["takeover"]) == ("op-6", None)
    assert document["other_instances"] == []


def test_who_is_told_goes_to_the_instance_alone_and_only_where_there_is_somebody(declared: Declared) -> None:
    told = declare(own={NOTIFY: "https://example.com/hook\nntfy://topic\n"})
    assert told.document("apply")["watch"] == {
        "addresses": ["https://example.com/hook", "ntfy://topic"],
        "domains": None,
    }
    assert is_secret(told.command("apply")["stdin"])
    assert "example.com/hook" not in json.dumps([told.command(name) for name in ("agent", "mount", "gate")])
    for nobody in (declared, declare(own={"smtp": "a value"}), declare(own={NOTIFY: NOBODY})):
        assert "watch" not in nobody.document("apply"), "what a deployment without it is given stays the same"


def test_tags_of_ones_own_are_on_everything_and_the_disk_is_tagged_apart() -> None:
    where = TARGET.model_copy(update={"tags": {"team": "blue", "Name": "mine"}, "root_volume_tagged": True})
    inputs = declare(target=where).inputs
    own = {"team": "blue", "Name": "geusemaker-prod", "geusemaker:deployment": "prod"}
    tagged = {token: value["tags"] for (token, _), value in inputs.items() if "tags" in value}
    assert set(tagged) == {
        f"aws:{kind}"
        for kind in (
            *("ec2/securityGroup:SecurityGroup", "ec2/eip:Eip", "ec2/instance:Instance", "ec2/keyPair:KeyPair"),
            *("ebs/volume:Volume", "efs/fileSystem:FileSystem", "iam/role:Role", "iam/instanceProfile:InstanceProfile"),
        )
    }
    assert all(tags == own for tags in tagged.values()), tagged
    disk = inputs["aws:ec2/instance:Instance", "instance"]["rootBlockDevice"]["tags"]
    assert disk == {"team": "blue", "Name": "geusemaker-prod", "geusemaker:disk-of": "prod"}, "found by no data's tag"


def test_a_deployment_of_before_gets_no_tags_on_its_disk_and_no_boundary() -> None:
    inputs = declare().inputs
    assert "tags" not in inputs["aws:ec2/instance:Instance", "instance"]["rootBlockDevice"]
    assert "permissionsBoundary" not in inputs["aws:iam/role:Role", "instance"]


@pytest.mark.parametrize(
    ("region", "partition", "principal", "suffix"),
    [
        ("eu-central-1", "aws", "ec2.amazonaws.com", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "ec2.amazonaws.com.cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "ec2.amazonaws.com", "amazonaws.com"),
    ],
)
@pytest.mark.parametrize("written_down", [True, False])
def test_other_partitions(region: str, partition: str, principal: str, suffix: str, written_down: bool) -> None:
    boundary = f"arn:{partition}:iam::123456789012:policy/edge"
    where = {"region": region, "partition": partition if written_down else "", "permissions_boundary": boundary}
    declared = declare(target=TARGET.model_copy(update=where))
    role = declared.inputs["aws:iam/role:Role", "instance"]
    [statement] = json.loads(role["assumeRolePolicy"])["Statement"]
    assert statement["Principal"] == {"Service": principal} and role["permissionsBoundary"] == boundary
    policy = declared.inputs["aws:iam/rolePolicyAttachment:RolePolicyAttachment", "instance"]["policyArn"]
    assert policy == f"arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
    assert declared.document("mount")["source"].endswith(f".efs.{region}.{suffix}:/")


@pytest.mark.parametrize("purchase", ["on-demand", "spot"])
def test_how_the_instance_is_bought(purchase: str) -> None:
    declared = declare(purchase=purchase)
    inputs = declared.inputs["aws:ec2/instance:Instance", "instance"]
    options = declared.options["aws:ec2/instance:Instance", "instance"]
    assert options.replacement_trigger == purchase and options.delete_before_replace
    assert declared.document("mount").get("spot") is (True if purchase == "spot" else None), "it waits for the notice"
    if purchase == "on-demand":
        assert "instanceMarketOptions" not in inputs and options.replace_on_changes is None
        return
    assert inputs["instanceMarketOptions"] == {
        "marketType": "spot",
        "spotOptions": {"spotInstanceType": "persistent", "instanceInterruptionBehavior": "stop"},
    }
    assert options.replace_on_changes == ["instanceType"], "EC2 does not change the type of a spot instance"
