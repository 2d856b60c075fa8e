"""Every way in which a plan could hurt the data: refused with the reason, exit code 5, before anything is changed.

The plans are the real engine's. Most come about as they would in life: somebody changes AWS, Pulumi's state or a stored
config by hand. Where only another program could make the plan, the library runs here with that program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws
import pytest

from geusemaker import RefusedError, UpdateRequest, Workspace
from geusemaker.catalog import SERVICES
from geusemaker.local_cloud.amis import BARE_AMD64
from geusemaker.models import stack
from geusemaker.program import compose
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

PutBack = Callable[[], object]

UPDATE = ("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes")
BACK = ("rollback", "box", "--to-version", "1", "--yes")
FILE_SYSTEM, MOUNT_TARGET, BACKUP_POLICY = (
    f"urn:pulumi:box::geusemaker::aws:efs/{kind}::data"
    for kind in ("fileSystem:FileSystem", "mountTarget:MountTarget", "backupPolicy:BackupPolicy")
)

VOLUME = "urn:pulumi:box::geusemaker::aws:ebs/volume:Volume::data"
ATTACHMENT = "urn:pulumi:box::geusemaker::aws:ec2/volumeAttachment:VolumeAttachment::data"


@dataclass
class Scene:
    """A deployment with two versions, its backend's files and AWS as a script sees it."""

    world: World
    efs: Any
    ec2: Any
    file_system: str

    @property
    def backend(self) -> Path:
        return self.world.home / ".state" / "backend" / ".pulumi"

    def facts(self) -> dict[str, Any]:
        """All that a change would touch."""
        instances = [one for group in self.ec2.describe_instances()["Reservations"] for one in group["Instances"]]
        return {
            "history": sorted(path.name for path in (self.backend / "history").rglob("*")),
            "state": (self.backend / "stacks/geusemaker/box.json").read_bytes(),
            "tags": (self.backend / "stacks/geusemaker/box.pulumi-tags").read_bytes(),
            "file systems": [found["FileSystemId"] for found in self.efs.describe_file_systems()["FileSystems"]],
            "mount targets": [
                found["MountTargetId"]
                for known in self.efs.describe_file_systems()["FileSystems"]
                for found in self.efs.describe_mount_targets(FileSystemId=known["FileSystemId"])["MountTargets"]
            ],
            "data volumes": self.data_volumes(),
            "instances": [(one["InstanceId"], one["InstanceType"], one["State"]["Name"]) for one in instances],
            "containers": self.world.docker("ps", "--no-trunc", "--quiet"),
        }

    def data_volumes(self) -> list[tuple[str, str]]:
        """(id, instance that has it) of each volume with the deployment's tag."""
        tagged = [{"Name": "tag:geusemaker:deployment", "Values": ["box"]}]
        return [
            (volume["VolumeId"], *(one["InstanceId"] for one in volume["Attachments"]))
            for volume in self.ec2.describe_volumes(Filters=tagged)["Volumes"]
        ]

    def edit_state(self, urn: str, edit: Callable[[dict[str, Any]], None]) -> PutBack:
        """Edit a resource of Pulumi's state by hand; what puts the state back."""
        before = self.world.pulumi("box", "stack", "export")
        state = json.loads(before)
        edit(next(resource for resource in state["deployment"]["resources"] if resource["urn"] == urn))
        self.world.pulumi("box", "stack", "import", stdin=json.dumps(state))
        return lambda: self.world.pulumi("box", "stack", "import", stdin=before)

    def state_command(self, *arguments: str) -> PutBack:
        """Type a `pulumi state` command; what puts the state back."""
        before = self.world.pulumi("box", "stack", "export")
        self.world.pulumi("box", "state", *arguments, "--yes")
        return lambda: self.world.pulumi("box", "stack", "import", stdin=before)

    def edit_history(self, key: str, edit: Callable[[dict[str, Any]], None], oldest: bool) -> PutBack:
        """Edit a stored config: that of every entry, or of v1 alone; what puts it back."""
        files = sorted((self.backend / "history").rglob("*.history.json"))
        kept = {file: file.read_text() for file in (files[:1] if oldest else files)}
        for file, text in kept.items():
            entry = json.loads(text)
            value = json.loads(entry["config"][key])
            edit(value)
            entry["config"][key] = json.dumps(value)
            file.write_text(json.dumps(entry))
        return lambda: [file.write_text(text) for file, text in kept.items()]


@pytest.fixture(scope="module")
def scene(world: World) -> Scene:
    world.run("deploy", "box", "--service", "qdrant", "--yes")
    world.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes")
    efs = world.aws("efs")
    [found] = efs.describe_file_systems()["FileSystems"]
    return Scene(world=world, efs=efs, ec2=world.aws("ec2"), file_system=found["FileSystemId"])


@pytest.fixture(autouse=True)
def undone(request: pytest.FixtureRequest) -> Iterator[list[PutBack]]:
    """What puts the scene back; each test adds to it."""
    undo: list[PutBack] = []
    yield undo
    for put_back in undo:
        put_back()


def set_values(**values: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of a resource: inputs and outputs as if it had been made with these."""

    def edit(resource: dict[str, Any]) -> None:
        for place in ("inputs", "outputs"):
            resource[place] |= values

    return edit


def swap_file_system(resource: dict[str, Any]) -> None:
    resource["id"] = "fs-0123456789abcdef0"
    set_values(arn="arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-0123456789abcdef0")(resource)


def untag(scene: Scene) -> PutBack:
    scene.efs.untag_resource(ResourceId=scene.file_system, TagKeys=["geusemaker:deployment"])
    tag = {"Key": "geusemaker:deployment", "Value": "box"}
    return lambda: scene.efs.tag_resource(ResourceId=scene.file_system, Tags=[tag])


BY_HAND: list[Any] = [
    pytest.param(
        lambda scene: scene.state_command("unprotect", FILE_SYSTEM),
        UPDATE,
        "is no longer protected in Pulumi's state",
        id="file system unprotected in the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("unprotect", MOUNT_TARGET),
        UPDATE,
        "is no longer protected in Pulumi's state",
        id="mount target unprotected in the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("delete", FILE_SYSTEM, "--force", "--target-dependents"),
        UPDATE,
        "would create a second, empty file system",
        id="file system removed from the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("delete", MOUNT_TARGET, "--force", "--target-dependents"),
        UPDATE,
        "would create a second, empty mount target",
        id="mount target removed from the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("delete", BACKUP_POLICY, "--force"),
        UPDATE,
        "would create a second, empty backup policy",
        id="backup policy removed from the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("rename", FILE_SYSTEM, "old"),
        UPDATE,
        "would create a second, empty file system",
        id="file system renamed in the state",
    ),
    pytest.param(
        lambda scene: scene.state_command("delete", VOLUME, "--force", "--target-dependents"),
        UPDATE,
        "would create a second, empty data volume",
        id="data volume removed from the state",
    ),
    pytest.param(
        lambda scene: scene.edit_state(ATTACHMENT, set_values(volumeId="vol-0123456789abcdef0")),
        UPDATE,
        "would replace the data volume attachment",
        id="another volume attached in the state",
    ),
    pytest.param(
        lambda scene: scene.edit_history("geusemaker:target", lambda target: target.update(data_volume_gib=0), False),
        UPDATE,
        "would delete the data volume vol-",
        id="no data volume in the stored target",
    ),
    pytest.param(
        lambda scene: scene.state_command("taint", FILE_SYSTEM),
        UPDATE,
        "would replace the file system",
        id="file system tainted in the state",
    ),
    pytest.param(
        lambda scene: scene.edit_state(FILE_SYSTEM, swap_file_system),
        UPDATE,
        "Pulumi's state names the file system fs-0123456789abcdef0, but the data is on fs-",
        id="file system's id swapped in the state",
    ),
    pytest.param(
        lambda scene: scene.edit_state(FILE_SYSTEM, set_values(encrypted=False)),
        UPDATE,
        "because encrypted changed",
        id="file system's encryption changed in the state",
    ),
    pytest.param(
        lambda scene: scene.edit_state(MOUNT_TARGET, set_values(subnetId="subnet-0123")),
        UPDATE,
        "because subnetId changed",
        id="mount target in another subnet in the state",
    ),
    pytest.param(
        lambda scene: scene.edit_history("geusemaker:target", lambda target: target.update(region="eu-west-1"), False),
        UPDATE,
        "the deployment's file system is gone",
        id="another region in the stored target",
    ),
    pytest.param(
        lambda scene: scene.edit_history(
            "geusemaker:target",
            lambda target: target.update(
                subnet_id=next(
                    subnet["SubnetId"]
                    for subnet in scene.ec2.describe_subnets()["Subnets"]
                    if subnet["SubnetId"] != target["subnet_id"]
                )
            ),
            False,
        ),
        UPDATE,
        "would replace the mount target",
        id="another subnet in the stored target",
    ),
    pytest.param(
        lambda scene: scene.edit_history(
            "geusemaker:deployment",
            lambda config: config["services"]["qdrant"]["environment"].update(QDRANT__STORAGE__STORAGE_PATH="/else"),
            True,
        ),
        BACK,
        "qdrant.QDRANT__STORAGE__STORAGE_PATH decides where data is",
        id="data moved by a stored environment",
    ),
    pytest.param(
        lambda scene: scene.edit_history("geusemaker:deployment", lambda config: config.update(ami=BARE_AMD64), True),
        BACK,
        "because ami changed (--allow-replace allows that)",
        id="another AMI in the target version",
    ),
    pytest.param(untag, UPDATE, "none has the tag geusemaker:deployment=box", id="file system's tag removed in AWS"),
]


@pytest.mark.parametrize(("harm", "command", "reason"), BY_HAND)
def test_what_somebody_did_by_hand_is_refused(
    scene: Scene,
    undone: list[PutBack],
    harm: Callable[[Scene], PutBack],
    command: tuple[str, ...],
    reason: str,
) -> None:
    undone.append(harm(scene))
    before = scene.facts()
    document = scene.world.json(*command, code=5)
    assert reason in document["error_message"], document["error_message"]
    assert document["next_step"]
    assert scene.facts() == before


def replaced(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> None:
    """A program that declares a resource of EFS with other values."""
    original = getattr(pulumi_aws.efs, name)
    monkeypatch.setattr(
        pulumi_aws.efs, name, lambda resource, **properties: original(resource, **(properties | values))
    )


def without_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(pulumi.ResourceOptions):
        def __init__(self, **values: Any) -> None:
            super().__init__(**(values | {"protect": None}))

    monkeypatch.setattr(pulumi, "ResourceOptions", Options)


def another_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    qdrant = SERVICES["qdrant"]
    assert qdrant.data is not None
    moved = replace(qdrant, data=replace(qdrant.data, path="/qdrant/elsewhere"))
    known = stack.describe
    monkeypatch.setattr(compose, "describe", lambda config, name: moved if name == "qdrant" else known(config, name))


def no_backup_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi_aws.efs, "BackupPolicy", lambda *arguments, **values: None)


PROGRAMS: list[Any] = [
    pytest.param(
        lambda patch: replaced(patch, "FileSystem", creation_token="renamed"),
        "would replace the file system data, which is protected",
        id="file system with another creation token",
    ),
    pytest.param(
        lambda patch: replaced(patch, "FileSystem", encrypted=False),
        "would replace the file system fs-[0-9a-f]+, because encrypted changed",
        id="file system without encryption",
    ),
    pytest.param(
        lambda patch: replaced(patch, "FileSystem", performance_mode="maxIO"),
        "would replace the file system fs-[0-9a-f]+, because performanceMode changed",
        id="file system of another performance mode",
    ),
    pytest.param(
        lambda patch: replaced(patch, "MountTarget", ip_address="172.31.1.77"),
        "would replace the mount target fsmt-[0-9a-f]+, because ipAddress changed",
        id="mount target at another address",
    ),
    pytest.param(no_backup_policy, "would delete the backup policy fs-[0-9a-f]+", id="no backup policy"),
    pytest.param(without_protection, "would take the protection off the file system fs-[0-9a-f]+", id="no protection"),
    pytest.param(another_volume, "volumes: qdrant would have .*/qdrant/elsewhere", id="a service's data path"),
]


@pytest.mark.parametrize(("program", "reason"), PROGRAMS)
def test_what_another_program_would_do_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, program: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    before = scene.facts()
    for key, value in scene.world.environment().items():
        if key.startswith("GEUSEMAKER_"):
            monkeypatch.setenv(key, value)
    program(monkeypatch)
    deployment = Workspace(scene.world.home).deployment("box")
    with pytest.raises(RefusedError, match=reason) as refused:
        deployment.update(UpdateRequest(images={"qdrant": "qdrant/qdrant:v1.20.3"}))
    assert refused.value.exit_code == 5
    assert scene.facts() == before


def test_data_that_the_state_lost_is_taken_up_again(scene: Scene) -> None:
    before = scene.facts()
    for lost in (FILE_SYSTEM, VOLUME):
        scene.world.pulumi("box", "state", "delete", lost, "--force", "--target-dependents", "--yes")
    refused = scene.world.json(*UPDATE, code=5)
    assert refused["next_step"] == "`geusemaker recover box` takes up again what AWS still has of it."
    assert scene.world.json("recover", "box", "--yes")["success"] is True
    assert scene.world.json(*UPDATE)["success"] is True
    after = scene.facts()
    for kind in ("file systems", "mount targets", "data volumes"):
        assert after[kind] == before[kind]


def test_another_instance_is_had_when_it_is_allowed_and_finds_the_data(scene: Scene) -> None:
    world = scene.world
    world.http("box", "qdrant", "/collections/kept", {"vectors": {"size": 4, "distance": "Dot"}}, method="PUT")
    before = world.inspect("box")
    update = ("update", "box", "--ami", BARE_AMD64, "--yes")
    assert "because ami changed (--allow-replace allows that)" in world.json(*update, code=5)["error_message"]
    assert world.json(*update, "--allow-replace")["success"] is True
    after = world.inspect("box")
    assert after["instance"]["id"] != before["instance"]["id"]
    assert (after["status"], after["efs"], after["instance"]["address"]) == (
        *("healthy", before["efs"], before["instance"]["address"]),
    )
    assert [found["name"] for found in world.http("box", "qdrant", "/collections")["result"]["collections"]] == ["kept"]
    alive = [state for _, _, state in scene.facts()["instances"] if state != "terminated"]
    assert alive == ["running"]
    assert scene.data_volumes() == [(before["data_volume"]["id"], after["instance"]["id"])]


def test_a_mount_target_deleted_by_hand_is_refused_and_its_way_back_works(scene: Scene) -> None:
    [target] = scene.efs.describe_mount_targets(FileSystemId=scene.file_system)["MountTargets"]
    groups = scene.efs.describe_mount_target_security_groups(MountTargetId=target["MountTargetId"])["SecurityGroups"]
    scene.efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    before = scene.facts()
    document = scene.world.json("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.4", "--yes", code=5)
    assert f"{scene.file_system} has no mount target any more: make one" in document["error_message"]
    assert scene.facts() == before
    scene.efs.create_mount_target(FileSystemId=scene.file_system, SubnetId=target["SubnetId"], SecurityGroups=groups)
    assert scene.world.json("recover", "box", "--yes")["success"] is True
    assert scene.world.json("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.5", "--yes")["success"] is True
    assert scene.world.inspect("box")["status"] == "healthy"


def test_a_file_system_deleted_by_hand_is_not_replaced_by_an_empty_one(scene: Scene) -> None:
    for target in scene.efs.describe_mount_targets(FileSystemId=scene.file_system)["MountTargets"]:
        scene.efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    scene.efs.delete_file_system(FileSystemId=scene.file_system)
    before = scene.facts()
    for command in (UPDATE, BACK, ("recover", "box", "--yes")):
        scene.world.json(*command, code=5)
    after = scene.facts()
    assert after["file systems"] == [] and after["instances"] == before["instances"]
