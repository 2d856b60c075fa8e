"""What an instance does whatever it is made of: the same tests for processes and for containers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from geusemaker.local_cloud.client import LocalCloud, LocalCloudStatus
from tests.docker_daemon import docker_daemon
from tests.local_cloud.cloud_box import Box, Operator


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.slow)])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp(str(request.param))
    made = LocalCloud(folder / "cloud")
    if request.param == "process":
        made.start("process")
        yield made
        made.reset()
        return
    with docker_daemon(folder) as host, pytest.MonkeyPatch.context() as patch:
        if host:
            patch.setenv("DOCKER_HOST", host)
        made.start("docker")
        yield made
        made.reset()


def _become(cloud: LocalCloud) -> str:
    return "sudo -n " if cloud.status().runtime == "docker" else ""


def _root(cloud: LocalCloud) -> str:
    return "" if cloud.status().runtime == "docker" else "$GEUSEMAKER_INSTANCE_ROOT"


def test_a_command_runs_as_over_any_ssh(cloud: LocalCloud, box: Box) -> None:
    done = box.run("cat; echo wrong >&2; exit 7", stdin="given")
    assert (done.exit_status, done.stdout, done.stderr) == (7, "given", "wrong\n")
    [status] = [each for each in cloud.status().instances if each.id == box.id]
    assert (status.kind, status.address, status.ssh_port) == (cloud.status().runtime, box.address, 2222)


def test_a_stopped_instance_is_not_reached_and_comes_back_with_its_disk(operator: Operator, box: Box) -> None:
    box.output("echo kept > kept")
    operator.ec2.stop_instances(InstanceIds=[box.id])
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        box.run("true")
    operator.ec2.start_instances(InstanceIds=[box.id])
    assert box.output("cat kept") == "kept\n"  # and the host key is the one from the user data: it is checked


def test_the_type_changes_only_while_it_is_stopped(operator: Operator, box: Box) -> None:
    wanted = {"Value": "t3.medium"}
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        operator.ec2.modify_instance_attribute(InstanceId=box.id, InstanceType=wanted)
    operator.ec2.stop_instances(InstanceIds=[box.id])
    operator.ec2.modify_instance_attribute(InstanceId=box.id, InstanceType=wanted)
    operator.ec2.start_instances(InstanceIds=[box.id])
    [found] = operator.ec2.describe_instances(InstanceIds=[box.id])["Reservations"][0]["Instances"]
    assert found["InstanceType"] == "t3.medium"
    assert box.output("echo resized") == "resized\n"


def test_an_elastic_ip_comes_and_goes(operator: Operator, box: Box) -> None:
    [address] = operator.ec2.describe_addresses(AllocationIds=[box.allocation_id])["Addresses"]
    operator.ec2.disassociate_address(AssociationId=address["AssociationId"])
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        box.run("true")
    operator.ec2.associate_address(AllocationId=box.allocation_id, InstanceId=box.id)
    assert box.output("echo here") == "here\n"


def test_a_local_cloud_that_was_killed_brings_its_instances_back(cloud: LocalCloud, box: Box) -> None:
    status: LocalCloudStatus = cloud.status()
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    cloud.start()
    assert box.output("echo back") == "back\n"


def test_a_file_system_outlives_the_instance_that_mounted_it(cloud: LocalCloud, operator: Operator) -> None:
    box = operator.run_instance()
    file_system = operator.file_system("runtimes", zone=None)
    become, point = _become(cloud), f"{_root(cloud)}/mnt/efs"
    if not become:
        box.output("apt-get update -q && apt-get install -y -q nfs-common")
    source = f"{file_system}.efs.us-east-1.amazonaws.com:/"
    mount = f"{become}mkdir -p {point} && {become}mount -t nfs4 -o nfsvers=4.1 {source} /mnt/efs"
    refused = box.run(mount)
    assert refused.exit_status == 32
    assert "Failed to resolve server" in str(refused.stderr)
    operator.efs.create_mount_target(FileSystemId=file_system, SubnetId=operator.subnet())
    box.output(mount)
    box.output(f"echo data | {become}tee {point}/file")
    operator.ec2.terminate_instances(InstanceIds=[box.id])
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        box.run("true")
    assert (cloud.folder / "file_systems" / file_system / "file").read_text() == "data\n"
    assert box.id not in [each.id for each in cloud.status().instances]


def test_a_volume_is_a_device_and_what_is_on_it_outlives_the_instance(cloud: LocalCloud, operator: Operator) -> None:
    uuid = "6f1a3c0e-4b7d-4c9e-9d55-0a1b2c3d4e5f"
    become, root = _become(cloud), _root(cloud)
    unit = f"[Mount]\\nWhat=/dev/disk/by-uuid/{uuid}\\nWhere=/mnt/data\\nType=ext4\\nOptions=noatime\\n"
    volume = str(operator.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")["VolumeId"])
    device = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"

    def with_volume() -> Box:
        box = operator.run_instance()
        box.output(f"test ! -e {root}{device}")
        operator.ec2.attach_volume(VolumeId=volume, InstanceId=box.id, Device="/dev/sdf")
        box.output(f"printf '{unit}' | {become}tee {root}/etc/systemd/system/mnt-data.mount")
        return box

    def mount(box: Box) -> None:
        box.output(f"{become}systemctl daemon-reload && {become}systemctl start mnt-data.mount")
        mounted = box.output(f"cat {root}/proc/self/mountinfo")
        source = box.output(f"readlink -f {root}{device}").strip()
        assert f"ext4 {source.removeprefix(str(box.disk) if root else '')} " in mounted

    one = with_volume()
    assert one.run(f"{become}blkid -p {device}").exit_status == 2
    one.output(f"{become}mkfs.ext4 -q -F -U {uuid} {device}")
    assert f"UUID={uuid}" in one.output(f"{become}blkid -p -o export {device}")
    mount(one)
    one.output(f"echo kept | {become}tee {root}/mnt/data/file")
    operator.ec2.stop_instances(InstanceIds=[one.id])
    operator.ec2.start_instances(InstanceIds=[one.id])
    mount(one)
    assert one.output(f"cat {root}/mnt/data/file") == "kept\n"

    operator.ec2.terminate_instances(InstanceIds=[one.id])
    other = with_volume()
    mount(other)
    assert other.output(f"cat {root}/mnt/data/file") == "kept\n"
    other.output(f"{become}systemctl stop mnt-data.mount")
    operator.ec2.detach_volume(VolumeId=volume, InstanceId=other.id)
    other.output(f"test ! -e {root}{device}")
    operator.ec2.delete_volume(VolumeId=volume)
    assert not (cloud.folder / "volumes" / volume).exists()
