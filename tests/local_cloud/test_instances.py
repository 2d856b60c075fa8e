"""Instances of kind ``process``: EC2's state drives them, and SSH behaves as Debian's OpenSSH does."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from geusemaker.local_cloud.client import LocalCloud
from geusemaker.local_cloud.processes import find_instance_processes
from tests.local_cloud.cloud_box import Box, Operator, new_key, public

SLOW = 20.0


def _wait_until(condition: Callable[[], bool], timeout: float = SLOW) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


def _is_refused(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, 2222)) != 0


# ---- commands over SSH ----------------------------------------------------------------------------------------


def test_a_command_gets_its_input_and_gives_output_errors_and_exit_code(box: Box) -> None:
    done = box.run("cat; echo oops >&2; exit 3", stdin="given\n")
    assert (done.stdout, done.stderr, done.exit_status) == ("given\n", "oops\n", 3)


def test_a_large_document_goes_through_both_ways_unchanged(box: Box) -> None:
    document = "".join(f"{number}\n" for number in range(300_000))
    assert box.output("cat", document) == document


def test_a_command_that_a_signal_ends_says_which(box: Box) -> None:
    done = box.run("kill -TERM $$")
    assert done.exit_signal is not None
    assert done.exit_signal[0] == "TERM"


def test_output_arrives_while_the_command_runs(box: Box) -> None:
    async def work(connection: asyncssh.SSHClientConnection) -> tuple[str, bool]:
        async with connection.create_process("echo first; read line; echo second $line") as process:
            first = await asyncio.wait_for(process.stdout.readline(), SLOW)
            running = process.exit_status is None
            process.stdin.write("asked\n")
            second = await asyncio.wait_for(process.stdout.readline(), SLOW)
            return first + second, running

    assert box.within(work) == ("first\nsecond asked\n", True)


def test_a_command_that_reads_no_input_ends_although_its_input_is_large(box: Box) -> None:
    assert box.run("head -c 1 >/dev/null; exec <&-; echo done", stdin="x" * 5_000_000).stdout == "done\n"


def test_commands_of_one_connection_run_side_by_side(box: Box) -> None:
    async def work(connection: asyncssh.SSHClientConnection) -> list[str]:
        fifo = '"$HOME/side"'
        done = await asyncio.wait_for(
            asyncio.gather(
                connection.run(f"rm -f {fifo}; mkfifo {fifo}; cat {fifo}"),
                connection.run(f"until test -p {fifo}; do sleep 0.02; done; echo met > {fifo}; echo sent"),
            ),
            SLOW,
        )
        return [str(each.stdout) for each in done]

    assert box.within(work) == ["met\n", "sent\n"]


def test_the_environment_is_the_instances_and_nothing_else(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = dict(line.partition("=")[::2] for line in box.output("env").splitlines())
    assert lines["HOME"] == f"{box.disk}/home/admin"
    assert lines["GEUSEMAKER_INSTANCE_ROOT"] == str(box.disk)
    assert lines["GEUSEMAKER_LOOPBACK"].startswith("127.")
    assert lines["PATH"].startswith(f"{box.disk}/usr/bin:")
    expected = {"GEUSEMAKER_INSTANCE_ROOT", "GEUSEMAKER_LOOPBACK", "HOME", "LANG", "LOGNAME", "PATH", "PWD", "USER"}
    expected |= {"SSH_CONNECTION", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_S3"}
    assert set(lines) - {"SHLVL", "_"} == expected
    settings = json.loads((box.disk / "etc/geusemaker-local.json").read_text())
    assert settings["instance_id"] == box.id
    assert settings["loopback"] == lines["GEUSEMAKER_LOOPBACK"]


def test_python_is_there_for_the_agent(box: Box) -> None:
    assert box.output("python3 -I -c 'import sys; print(sys.version_info >= (3, 11))'") == "True\n"


def test_variables_are_refused_as_debians_sshd_refuses_them(box: Box) -> None:
    async def work(connection: asyncssh.SSHClientConnection) -> str:
        done = await connection.run("echo [$SECRET] [$LC_TEST]", env={"SECRET": "x", "LC_TEST": "x"})
        return str(done.stdout)

    assert box.within(work) == "[] []\n"


def test_a_command_outlives_its_connection(box: Box) -> None:
    marker = box.disk / "home/admin/outlived"
    gate = box.disk / "home/admin/gate"

    async def work(connection: asyncssh.SSHClientConnection) -> None:
        process = await connection.create_process(
            f"echo started; until test -e {gate}; do sleep 0.02; done; echo > {marker}"
        )
        assert await process.stdout.readline() == "started\n"
        connection.abort()

    box.within(work)
    assert not marker.exists()
    gate.touch()
    _wait_until(marker.exists)


def test_wrong_keys_and_users_are_refused(box: Box) -> None:
    for options in ({"username": "root"}, {"client_keys": [new_key()]}):
        with pytest.raises(asyncssh.PermissionDenied):
            box.run("true", **options)
    other = asyncssh.import_known_hosts(f"[{box.address}]:2222 {public(new_key())}\n")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        box.run("true", known_hosts=other)


def test_ports_are_forwarded(box: Box) -> None:
    loopback = box.output("echo $GEUSEMAKER_LOOPBACK").strip()
    with socket.create_server((loopback, 0)) as service:
        port = service.getsockname()[1]

        async def work(connection: asyncssh.SSHClientConnection) -> bytes:
            reader, writer = await connection.open_connection(loopback, port)
            accepted, _ = await asyncio.to_thread(service.accept)
            with accepted:
                accepted.sendall(b"hello\n")
            line = await asyncio.wait_for(reader.readline(), SLOW)
            writer.close()
            return bytes(line)

        assert box.within(work, encoding=None) == b"hello\n"


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client: NOT TESTED against the real one")
@pytest.mark.parametrize("terminal_type", ["xterm", ""])
def test_the_openssh_client_works_also_with_a_terminal(box: Box, tmp_path: Path, terminal_type: str) -> None:
    key = tmp_path / "key"
    key.write_bytes(box.login_key.export_private_key())
    key.chmod(0o600)
    (tmp_path / "known").write_text(f"[{box.address}]:2222 {public(box.host_key)}\n")
    command = [
        "ssh", "-F", "none", "-i", str(key), "-p", "2222", "-o", f"UserKnownHostsFile={tmp_path / 'known'}",
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", f"admin@{box.address}",
    ]  # fmt: skip
    plain = subprocess.run([*command, "cat; exit 4"], input="in", capture_output=True, text=True, timeout=SLOW)
    assert (plain.stdout, plain.returncode) == ("in", 4), plain.stderr
    terminal = subprocess.run(
        [*command[:1], "-tt", *command[1:], "test -t 0 && echo terminal; exit 5"],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": terminal_type},
        capture_output=True,
        text=True,
        timeout=SLOW,
    )
    assert ("terminal" in terminal.stdout, terminal.returncode) == (True, 5), terminal.stderr


# ---- EC2's state ----------------------------------------------------------------------------------------------


def test_stop_ends_everything_and_start_brings_the_same_machine_back(operator: Operator) -> None:
    box = operator.run_instance()
    host = box.output(
        "echo kept > $HOME/file; echo lost > $GEUSEMAKER_INSTANCE_ROOT/run/file; echo $GEUSEMAKER_LOOPBACK"
    )
    box.output("nohup setsid sleep 600 >/dev/null 2>&1 &")
    assert find_instance_processes(box.disk)
    operator.ec2.stop_instances(InstanceIds=[box.id])
    assert not find_instance_processes(box.disk)
    assert _is_refused(box.address)
    operator.ec2.modify_instance_attribute(InstanceId=box.id, InstanceType={"Value": "m7i.large"})
    operator.ec2.start_instances(InstanceIds=[box.id])
    assert box.output("cat $HOME/file; echo $GEUSEMAKER_LOOPBACK") == f"kept\n{host}"
    assert box.run("cat $GEUSEMAKER_INSTANCE_ROOT/run/file").exit_status == 1


def test_a_session_is_told_to_end_before_it_is_killed(operator: Operator) -> None:
    box = operator.run_instance()
    marker = box.disk / "home/admin/told"
    loop = f'trap "echo > {marker}; exit" TERM; echo > $HOME/ready; while :; do sleep 0.02; done'
    box.output(f"nohup sh -c '{loop}' >/dev/null 2>&1 &")
    _wait_until((box.disk / "home/admin/ready").exists)
    operator.ec2.stop_instances(InstanceIds=[box.id])
    assert marker.exists()


def test_reboot_boots(operator: Operator) -> None:
    box = operator.run_instance()
    box.output("echo > $GEUSEMAKER_INSTANCE_ROOT/run/file")
    operator.ec2.reboot_instances(InstanceIds=[box.id])
    assert box.run("test -e $GEUSEMAKER_INSTANCE_ROOT/run/file").exit_status == 1


def test_terminate_removes_the_disk_and_frees_the_address(operator: Operator, cloud: LocalCloud) -> None:
    box = operator.run_instance()
    box.output("nohup setsid sleep 600 >/dev/null 2>&1 &")
    operator.ec2.terminate_instances(InstanceIds=[box.id])
    assert not box.disk.exists()
    assert not find_instance_processes(box.disk)
    assert _is_refused(box.address)
    assert box.id not in [instance.id for instance in cloud.status().instances]
    (address,) = operator.ec2.describe_addresses(AllocationIds=[box.allocation_id])["Addresses"]
    assert "AssociationId" not in address
    operator.ec2.release_address(AllocationId=box.allocation_id)


def test_ssh_follows_the_elastic_ip(operator: Operator, cloud: LocalCloud) -> None:
    box = operator.run_instance()
    ec2 = operator.ec2
    other = ec2.allocate_address(Domain="vpc")
    (address,) = ec2.describe_addresses(AllocationIds=[box.allocation_id])["Addresses"]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    assert _is_refused(box.address)
    found = next(instance for instance in cloud.status().instances if instance.id == box.id)
    assert (found.address, found.ssh_port, found.state) == (None, None, "running")
    ec2.associate_address(AllocationId=other["AllocationId"], InstanceId=box.id)
    box.address = other["PublicIp"]
    assert box.output("echo here") == "here\n"


def test_an_instance_without_host_keys_in_its_user_data_makes_its_own(operator: Operator) -> None:
    ec2, login = operator.ec2, new_key()
    ec2.import_key_pair(KeyName="plain", PublicKeyMaterial=public(login).encode())
    launched = ec2.run_instances(
        ImageId="ami-0deb1300000000a64", InstanceType="t3.micro", KeyName="plain", MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance_id)
    disk = operator.cloud.folder / "instances" / instance_id / "disk"
    host = asyncssh.read_private_key(disk / "etc/ssh/ssh_host_ed25519_key")
    assert (disk / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o077 == 0
    box = Box(instance_id, address["PublicIp"], address["AllocationId"], disk, login, host)
    assert box.output("echo up") == "up\n"


def test_two_instances_are_apart(operator: Operator, box: Box) -> None:
    other = operator.run_instance()
    loopbacks = {each.output("echo $GEUSEMAKER_LOOPBACK") for each in (box, other)}
    assert len(loopbacks) == 2
    operator.ec2.stop_instances(InstanceIds=[other.id])
    assert box.output("echo still here") == "still here\n"


# ---- packages, units, mounts ----------------------------------------------------------------------------------

UNIT = """\
[Unit]
Description=EFS
[Mount]
What={source}
Where=/mnt/efs
Type=nfs4
Options=nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev
[Install]
WantedBy=multi-user.target
"""


def _source(file_system: str) -> str:
    return f"{file_system}.efs.us-east-1.amazonaws.com:/"


def _install(box: Box, *packages: str) -> None:
    box.output(f"apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q {' '.join(packages)}")


def _write_units(box: Box, file_system: str) -> None:
    units = box.disk / "etc/systemd/system"
    (units / "mnt-efs.mount").write_text(UNIT.format(source=_source(file_system)))
    (units / "docker.service.d").mkdir(exist_ok=True)
    (units / "docker.service.d/efs.conf").write_text("[Unit]\nRequiresMountsFor=/mnt/efs\n")


def test_packages_are_there_once_they_are_installed(operator: Operator) -> None:
    box = operator.run_instance()
    missing = box.run("apt-get install -y nfs-common")
    assert (missing.exit_status, missing.stderr) == (100, "E: Unable to locate package nfs-common\n")
    query = "dpkg-query -W -f='${Package} ${Status}\\n' nfs-common docker.io"
    before = box.run(query)
    assert before.exit_status == 1
    assert "dpkg-query: no packages found matching docker.io" in str(before.stderr)
    _install(box, "nfs-common")
    after = box.run(query)
    assert after.stdout == "nfs-common install ok installed\n"
    assert "already the newest version" in box.output("apt-get install -y nfs-common")
    unknown = box.run("apt-get install -y no-such-package")
    assert unknown.exit_status == 100


def test_installing_docker_starts_it(operator: Operator) -> None:
    box = operator.run_instance()
    assert not (box.disk / "usr/bin/docker").exists()
    assert box.run("systemctl is-active docker").exit_status == 4
    _install(box, "docker.io")
    assert box.output("systemctl is-active docker; systemctl is-enabled docker") == "active\nenabled\n"
    # Debian's docker.io only recommends the command line, and the agent installs nothing that is only recommended.
    assert not (box.disk / "usr/bin/docker").exists()
    _install(box, "docker-cli", "docker-compose")
    assert box.output("docker ps -q") == ""
    operator.ec2.stop_instances(InstanceIds=[box.id])
    assert not find_instance_processes(box.disk)
    operator.ec2.start_instances(InstanceIds=[box.id])
    assert box.output("systemctl is-active docker; docker ps -q") == "active\n"


def test_mounting_fails_as_nfs_does_until_the_zone_has_a_mount_target(operator: Operator) -> None:
    box = operator.run_instance()
    file_system = operator.file_system("targets", zone=None)
    command = f"mount -t nfs4 -o nfsvers=4.1 {_source(file_system)} /mnt/efs"
    no_helper = box.run(command)
    assert no_helper.exit_status == 32
    assert "/sbin/mount.<type> helper" in str(no_helper.stderr)
    _install(box, "nfs-common")
    unknown = (
        f"mount.nfs4: Failed to resolve server {file_system}.efs.us-east-1.amazonaws.com: Name or service not known\n"
    )
    assert (box.run(command).exit_status, box.run(command).stderr) == (32, unknown)
    # A mount target in another zone is not what this zone's name server answers with.
    operator.efs.create_mount_target(FileSystemId=file_system, SubnetId=operator.subnet("us-east-1b"))
    assert box.run(command).stderr == unknown
    operator.efs.create_mount_target(FileSystemId=file_system, SubnetId=operator.subnet("us-east-1a"))
    box.output(command)
    table = box.output("cat $GEUSEMAKER_INSTANCE_ROOT/proc/self/mountinfo").splitlines()
    fields = table[-1].split(" ")
    assert fields[4] == "/mnt/efs"
    assert fields[fields.index("-") + 1 : fields.index("-") + 3] == ["nfs4", _source(file_system)]
    assert "busy or already mounted" in str(box.run(command).stderr)
    box.output("echo data > $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/file")
    folder = operator.cloud.folder / "file_systems" / file_system
    assert (folder / "file").read_text() == "data\n"
    busy = box.run("cd $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/. && umount /mnt/efs")
    assert (busy.exit_status, busy.stderr) == (32, "umount: /mnt/efs: target is busy.\n")
    box.output("umount /mnt/efs")
    assert box.output("ls $GEUSEMAKER_INSTANCE_ROOT/mnt/efs") == ""
    assert (folder / "file").exists()


def test_a_mount_unit_is_mounted_at_boot_and_docker_waits_for_it(operator: Operator) -> None:
    box = operator.run_instance()
    file_system = operator.file_system("boot")
    _install(box, "nfs-common", "docker.io")
    (box.disk / "mnt/efs/covered").write_text("the instance's own disk")
    _write_units(box, file_system)
    box.output("systemctl daemon-reload && systemctl enable --now mnt-efs.mount")
    assert box.output("systemctl is-active mnt-efs.mount docker") == "active\nactive\n"
    box.output("echo data > $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/file")
    operator.ec2.stop_instances(InstanceIds=[box.id])
    assert (box.disk / "mnt/efs/covered").exists()
    operator.ec2.start_instances(InstanceIds=[box.id])
    assert box.output("cat $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/file; systemctl is-active docker") == "data\nactive\n"

    # Without the file system nothing may start: containers would write to the instance's own disk.
    (target,) = operator.efs.describe_mount_targets(FileSystemId=file_system)["MountTargets"]
    operator.ec2.stop_instances(InstanceIds=[box.id])
    operator.efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    operator.ec2.start_instances(InstanceIds=[box.id])
    states = box.run("systemctl is-active mnt-efs.mount docker")
    assert (states.stdout, states.exit_status) == ("failed\ninactive\n", 3)
    started = box.run("systemctl start docker")
    assert started.exit_status == 1
    assert "A dependency job for docker.service failed." in str(started.stderr)
    assert not (box.disk / "mnt/efs").is_symlink()

    operator.efs.create_mount_target(FileSystemId=file_system, SubnetId=operator.subnet())
    box.output("systemctl start docker")
    assert box.output("cat $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/file") == "data\n"
    box.output("systemctl stop mnt-efs.mount")
    assert box.run("systemctl is-active docker").stdout == "inactive\n"


def test_data_outlives_the_instance_and_goes_only_with_the_file_system(operator: Operator) -> None:
    box = operator.run_instance()
    file_system = operator.file_system("outlives")
    _install(box, "nfs-common")
    _write_units(box, file_system)
    box.output("systemctl enable --now mnt-efs.mount; echo data > $GEUSEMAKER_INSTANCE_ROOT/mnt/efs/file")
    operator.ec2.terminate_instances(InstanceIds=[box.id])
    folder = operator.cloud.folder / "file_systems" / file_system
    assert (folder / "file").read_text() == "data\n"
    efs = operator.efs
    with pytest.raises(efs.exceptions.FileSystemInUse):
        efs.delete_file_system(FileSystemId=file_system)
    assert (folder / "file").exists()
    for target in efs.describe_mount_targets(FileSystemId=file_system)["MountTargets"]:
        efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    efs.delete_file_system(FileSystemId=file_system)
    assert not folder.exists()


def test_systemctl_says_what_systemd_says(operator: Operator) -> None:
    box = operator.run_instance()
    unknown = box.run("systemctl start nothing.service")
    assert (unknown.exit_status, unknown.stderr) == (
        5,
        "Failed to start nothing.service: Unit nothing.service not found.\n",
    )
    assert box.run("systemctl enable nothing.service").exit_status == 1
    assert box.run("systemctl is-active nothing.service").exit_status == 4
    (box.disk / "etc/systemd/system/wrong.mount").write_text(UNIT.format(source="x"))
    assert box.run("systemctl start wrong.mount").exit_status == 1
    assert box.output("systemctl show wrong.mount -p ActiveState,LoadState") == "ActiveState=failed\nLoadState=loaded\n"
    assert box.output("systemctl show nothing.service -p LoadState --value") == "not-found\n"


def test_a_timer_starts_its_service_again_and_again_also_after_a_boot(operator: Operator) -> None:
    box = operator.run_instance()
    units, looks = box.disk / "etc/systemd/system", box.disk / "looks"
    (box.disk / "look.sh").write_text('echo look >> "$1"\n')
    (units / "look.service").write_text(f'[Service]\nType=oneshot\nExecStart=sh "{box.disk}/look.sh" "{looks}"\n')
    times = "OnActiveSec=300\nOnUnitActiveSec=5min\n"
    (units / "look.timer").write_text(f"[Timer]\n{times}[Install]\nWantedBy=timers.target\n")
    (units / "look.timer.d").mkdir()
    (units / "look.timer.d/soon.conf").write_text("[Timer]\nOnActiveSec=100ms\nOnUnitActiveSec=100ms\n")

    def goes_on() -> None:
        before = looks.read_text() if looks.exists() else ""
        _wait_until(lambda: looks.exists() and len(looks.read_text()) >= len(before) + 10)

    box.output("systemctl enable --now look.timer")
    assert box.output("systemctl show look.timer -p ActiveState,SubState --value") == "active\nwaiting\n"
    goes_on()
    operator.ec2.stop_instances(InstanceIds=[box.id])
    assert not find_instance_processes(box.disk)
    operator.ec2.start_instances(InstanceIds=[box.id])
    goes_on()
    box.output("systemctl disable --now look.timer")
    # One that had ended before systemctl could look at it is not the one that runs for ever.
    record = box.disk / "run/systemd/look.service.json"
    record.write_text(json.dumps({"pid": json.loads(record.read_text())["pid"], "started": None}))
    before = looks.read_text()
    box.output("systemctl start look.service")
    _wait_until(lambda: looks.read_text() == before + "look\n")
    assert box.run("systemctl is-active look.timer").stdout == "inactive\n"
    assert box.run("systemctl is-enabled look.timer").stdout == "disabled\n"
    _wait_until(lambda: not find_instance_processes(box.disk))
