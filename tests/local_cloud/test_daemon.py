"""The daemon's life: start, stop, kill, restart, reset; and what outlives which."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.client import LocalCloud, LocalCloudStatus
from geusemaker.local_cloud.processes import find_instance_processes, start_time
from tests.local_cloud.cloud_box import Operator


def _answers(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def _wait_until(condition: Callable[[], bool], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


def _pid(status: LocalCloudStatus) -> int:
    assert status.pid is not None
    return status.pid


def test_a_cloud_that_was_never_started_does_not_run_and_says_so(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path / "nowhere")
    assert not cloud.status().running
    cloud.stop()
    with pytest.raises(LocalCloudError, match="does not run"):
        cloud.environment()
    cloud.reset()
    assert not (tmp_path / "nowhere").exists()


def test_start_is_idempotent_and_everything_answers(cloud: LocalCloud) -> None:
    first, second = cloud.start(), cloud.status()
    assert first.running and second.pid == first.pid
    assert first.aws_endpoint and first.registry
    for url in (first.aws_endpoint, first.registry):
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"
        assert _answers(parts.hostname, parts.port or 0)
    for port in (first.aws_provider_port, first.command_provider_port):
        assert port and _answers("127.0.0.1", port)


def test_what_holds_secrets_is_for_the_owner_only(cloud: LocalCloud, operator: Operator) -> None:
    operator.ec2.create_key_pair(KeyName="secret")
    for name in ("daemon.json", "aws.pickle"):
        assert (cloud.folder / name).stat().st_mode & 0o077 == 0
    assert cloud.folder.stat().st_mode & 0o077 == 0


def test_starts_at_the_same_moment_give_one_daemon(own_cloud: LocalCloud) -> None:
    found: list[LocalCloudStatus] = []
    threads = [threading.Thread(target=lambda: found.append(LocalCloud(own_cloud.folder).start())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({status.pid for status in found}) == 1
    assert len(found) == 2


@pytest.mark.slow
def test_a_daemon_that_is_just_starting_is_stopped_too(own_cloud: LocalCloud) -> None:
    errors: list[LocalCloudError] = []

    def start() -> None:
        try:
            own_cloud.start()
        except LocalCloudError as error:
            errors.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    lock = own_cloud.folder / "lock"
    _wait_until(lambda: lock.exists() and bool(lock.read_text()))
    pid = int(lock.read_text().split()[0])
    own_cloud.reset()
    starting.join()
    assert start_time(pid) is None
    assert [error.message for error in errors] == ["The local cloud was stopped while it started."]


def test_a_start_while_another_process_stops_it_waits_and_starts(own_cloud: LocalCloud, own_operator: Operator) -> None:
    first = _pid(own_cloud.status())
    os.kill(first, signal.SIGTERM)
    _wait_until(lambda: not (own_cloud.folder / "daemon.json").exists())
    after = own_cloud.start()
    assert _pid(after) != first
    assert start_time(first) is None


@pytest.mark.slow
def test_stop_works_although_the_record_is_damaged(own_cloud: LocalCloud, own_operator: Operator) -> None:
    pid = _pid(own_cloud.status())
    (own_cloud.folder / "daemon.json").write_text("{")
    with pytest.raises(LocalCloudError, match="cannot be read"):
        own_cloud.status()
    own_cloud.stop()
    assert start_time(pid) is None
    assert own_cloud.start().running


@pytest.mark.slow
def test_two_clouds_side_by_side_know_nothing_of_each_other(operator: Operator, own_operator: Operator) -> None:
    operator.ec2.create_key_pair(KeyName="mine")
    own_operator.run_instance()
    names = [pair["KeyName"] for pair in own_operator.ec2.describe_key_pairs()["KeyPairs"]]
    assert "mine" not in names
    assert not find_instance_processes(operator.cloud.folder / "instances" / "none")
    own_operator.cloud.reset()
    assert operator.cloud.status().running


def test_a_stopped_cloud_comes_back_with_everything(own_cloud: LocalCloud, own_operator: Operator) -> None:
    before = own_cloud.status()
    box = own_operator.run_instance()
    file_system = own_operator.file_system("data")
    own_operator.client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")
    own_operator.client("s3").create_bucket(Bucket="bucket")
    own_operator.client("s3").put_object(Bucket="bucket", Key="a", Body=b"content")
    key = own_operator.client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    own_operator.client("ssm").put_parameter(Name="/p", Value="v", Type="String")
    (own_cloud.folder / "file_systems" / file_system / "file").write_text("kept")
    box.output("echo home > $HOME/file")

    own_cloud.stop()
    assert not own_cloud.status().running
    assert start_time(_pid(before)) is None
    assert not _answers(box.address, 2222)

    after = own_cloud.start()
    assert (after.aws_endpoint, after.registry) == (before.aws_endpoint, before.registry)
    assert (after.aws_provider_port, after.command_provider_port) == (
        before.aws_provider_port,
        before.command_provider_port,
    )
    (found,) = own_cloud.status().instances
    assert (found.id, found.address, found.state, found.kind) == (box.id, box.address, "running", "process")
    assert box.output("cat $HOME/file") == "home\n"
    assert [entry.id for entry in after.file_systems] == [file_system]
    assert (Path(after.file_systems[0].path) / "file").read_text() == "kept"
    targets = own_operator.efs.describe_mount_targets(FileSystemId=file_system)["MountTargets"]
    assert [target["LifeCycleState"] for target in targets] == ["available"]
    assert own_operator.client("iam").get_role(RoleName="role")["Role"]["RoleName"] == "role"
    assert own_operator.client("s3").get_object(Bucket="bucket", Key="a")["Body"].read() == b"content"
    assert own_operator.client("ssm").get_parameter(Name="/p")["Parameter"]["Value"] == "v"
    assert own_operator.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyId"] == key
    # References between restored objects hold: the address still belongs to the instance, and can be moved.
    own_operator.efs.delete_mount_target(MountTargetId=targets[0]["MountTargetId"])
    own_operator.ec2.terminate_instances(InstanceIds=[box.id])
    assert not box.disk.exists()


@pytest.mark.slow
def test_a_stopped_instance_stays_stopped_over_a_restart(own_cloud: LocalCloud, own_operator: Operator) -> None:
    box = own_operator.run_instance()
    own_operator.ec2.stop_instances(InstanceIds=[box.id])
    own_cloud.stop()
    own_cloud.start()
    (found,) = own_cloud.status().instances
    assert (found.state, found.ssh_port) == ("stopped", None)
    assert not _answers(box.address, 2222)


def test_a_killed_daemon_is_a_power_loss(own_cloud: LocalCloud, own_operator: Operator) -> None:
    box = own_operator.run_instance()
    box.output("nohup setsid sleep 600 >/dev/null 2>&1 &")
    left = find_instance_processes(own_cloud.folder / "instances")
    pid = _pid(own_cloud.status())
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: start_time(pid) is None)
    assert not own_cloud.status().running, "its daemon.json is still there, and must not be believed"
    assert (own_cloud.folder / "daemon.json").exists()
    assert find_instance_processes(own_cloud.folder / "instances") == left

    own_cloud.start()
    assert all(start_time(process) != started for process, started in left.items())
    assert box.output("echo up") == "up\n"

    # The very next command after the kill starts it, too: the dying daemon does not count.
    os.kill(_pid(own_cloud.status()), signal.SIGKILL)
    assert own_cloud.start().running
    assert box.output("echo up") == "up\n"


def test_reset_leaves_nothing_behind(own_cloud: LocalCloud, own_operator: Operator) -> None:
    status = own_cloud.status()
    box = own_operator.run_instance()
    box.output("nohup setsid sleep 600 >/dev/null 2>&1 &")
    box.output("mkdir $HOME/locked; touch $HOME/locked/f; chmod 500 $HOME/locked")
    own_cloud.reset()
    assert not own_cloud.folder.exists()
    assert not find_instance_processes(own_cloud.folder)
    assert not _answers(box.address, 2222)
    assert status.aws_endpoint
    assert not _answers("127.0.0.1", urlsplit(status.aws_endpoint).port or 0)
    assert start_time(_pid(status)) is None


def test_reset_after_a_kill_leaves_nothing_behind(own_cloud: LocalCloud, own_operator: Operator) -> None:
    box = own_operator.run_instance()
    box.output("nohup setsid sleep 600 >/dev/null 2>&1 &")
    os.kill(_pid(own_cloud.status()), signal.SIGKILL)
    own_cloud.reset()
    assert not own_cloud.folder.exists()
    assert not find_instance_processes(own_cloud.folder)


@pytest.mark.slow
def test_a_record_of_another_process_is_not_believed(own_cloud: LocalCloud, own_operator: Operator) -> None:
    own_cloud.stop()
    record = own_cloud.folder / "daemon.json"
    record.write_text(f'{{"pid": {os.getpid()}, "started_ticks": 1, "aws_endpoint": "http://127.0.0.1:1"}}')
    assert not own_cloud.status().running
    assert own_cloud.start().pid != os.getpid()


@pytest.mark.slow
def test_a_damaged_state_is_reported_and_nothing_is_overwritten(own_cloud: LocalCloud, own_operator: Operator) -> None:
    own_operator.ec2.create_key_pair(KeyName="one")
    own_cloud.stop()
    state = own_cloud.folder / "aws.pickle"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(LocalCloudError, match=r"aws\.pickle cannot be read") as caught:
        own_cloud.start()
    assert "local reset" in str(caught.value)
    assert len(state.read_bytes()) == 1000
    assert not own_cloud.status().running


def test_a_folder_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalCloudError, match="cannot be used"):
        LocalCloud(tmp_path / "file" / "cloud").start()


@pytest.mark.slow
def test_ports_that_were_taken_meanwhile_are_replaced(own_cloud: LocalCloud, own_operator: Operator) -> None:
    before = own_cloud.status()
    own_cloud.stop()
    taken: list[Any] = []
    for port in (urlsplit(before.aws_endpoint or "").port, before.aws_provider_port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port or 0))
        listener.listen()
        taken.append(listener)
    try:
        after = own_cloud.start()
        assert after.aws_endpoint != before.aws_endpoint
        assert after.aws_provider_port != before.aws_provider_port
        assert own_operator.ec2.describe_instances()["Reservations"] == []
    finally:
        for listener in taken:
            listener.close()


@pytest.mark.slow
def test_memory_with_two_instances_stays_below_the_limit(own_cloud: LocalCloud, own_operator: Operator) -> None:
    boxes = [own_operator.run_instance(), own_operator.run_instance()]
    for box in boxes:
        box.output("true")
    own_operator.file_system("data")
    resident = next(
        int(line.split()[1]) // 1024
        for line in Path(f"/proc/{own_cloud.status().pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    assert resident < 250, f"{resident} MB"
