"""A local cloud of the tests' own, and a small operator who uses it through boto3 and SSH."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import boto3
import pytest

from geusemaker.local_cloud.amis import DEBIAN_13_AMD64
from geusemaker.local_cloud.client import LocalCloud

_T = TypeVar("_T")


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


@dataclass
class Box:
    """An instance, and what is needed to log in to it."""

    id: str
    address: str
    allocation_id: str
    disk: Path
    login_key: asyncssh.SSHKey
    host_key: asyncssh.SSHKey

    def connect(self, **options: Any) -> Any:
        """An asyncssh connection; the host key is checked."""
        chosen: dict[str, Any] = {
            "port": 2222,
            "username": "admin",
            "client_keys": [self.login_key],
            "known_hosts": asyncssh.import_known_hosts(f"[{self.address}]:2222 {public(self.host_key)}\n"),
            "config": None,
            "agent_path": None,
            "connect_timeout": 5,
        }
        return asyncssh.connect(self.address, **{**chosen, **options})

    def within(self, work: Callable[[asyncssh.SSHClientConnection], Coroutine[Any, Any, _T]], **options: Any) -> _T:
        """Run ``work`` with a connection."""

        async def run() -> _T:
            async with self.connect(**options) as connection:
                return await work(connection)

        return asyncio.run(run())

    def run(self, command: str, stdin: str = "", **options: Any) -> asyncssh.SSHCompletedProcess:
        """Run a command to its end, at most 30 s."""

        async def work(connection: asyncssh.SSHClientConnection) -> asyncssh.SSHCompletedProcess:
            return await connection.run(command, input=stdin, timeout=30)

        return self.within(work, **options)

    def output(self, command: str, stdin: str = "") -> str:
        """The command's stdout; it must succeed."""
        done = self.run(command, stdin)
        assert done.exit_status == 0, done.stderr
        return str(done.stdout)


@dataclass
class Operator:
    """Uses a cloud as a program with boto3 would."""

    cloud: LocalCloud

    def client(self, service: str, region: str = "us-east-1") -> Any:
        environment = self.cloud.environment()
        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=region,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    @property
    def efs(self) -> Any:
        return self.client("efs")

    def subnet(self, zone: str = "us-east-1a") -> str:
        found = self.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}])
        return str(found["Subnets"][0]["SubnetId"])

    def run_instance(self, instance_type: str = "t3.large", image: str = DEBIAN_13_AMD64) -> Box:
        """An instance with a key pair, a host key from its user data, and an Elastic IP."""
        ec2, login, host = self.ec2, new_key(), new_key()
        name = f"key-{login.get_fingerprint()[-12:]}"
        ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public(login).encode())
        private = "".join(f"    {line}\n" for line in host.export_private_key().decode().splitlines())
        launched = ec2.run_instances(
            ImageId=image,
            InstanceType=instance_type,
            KeyName=name,
            SubnetId=self.subnet(),
            MinCount=1,
            MaxCount=1,
            UserData=(
                f"#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n{private}"
                f"  ed25519_public: {public(host)}\n"
            ),
        )
        instance_id = str(launched["Instances"][0]["InstanceId"])
        address = ec2.allocate_address(Domain="vpc")
        ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance_id)
        return Box(
            id=instance_id,
            address=address["PublicIp"],
            allocation_id=address["AllocationId"],
            disk=self.cloud.folder / "instances" / instance_id / "disk",
            login_key=login,
            host_key=host,
        )

    def file_system(self, token: str, zone: str | None = "us-east-1a") -> str:
        """A file system, with a mount target in the zone unless that is None."""
        efs = self.efs
        file_system_id = str(efs.create_file_system(CreationToken=token, Encrypted=True)["FileSystemId"])
        if zone:
            efs.create_mount_target(FileSystemId=file_system_id, SubnetId=self.subnet(zone))
        return file_system_id


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running local cloud, shared by the module's tests."""
    made = LocalCloud(tmp_path_factory.mktemp("cloud"))
    made.start()
    yield made
    made.reset()


@pytest.fixture(scope="module")
def operator(cloud: LocalCloud) -> Operator:
    """An operator of the module's cloud."""
    return Operator(cloud)


@pytest.fixture(scope="module")
def box(operator: Operator) -> Box:
    """An instance that the module's tests share; they leave it running."""
    return operator.run_instance()


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """A local cloud for one test, not started."""
    made = LocalCloud(tmp_path / "cloud")
    yield made
    made.reset()


@pytest.fixture
def own_operator(own_cloud: LocalCloud) -> Operator:
    """Starts the test's own cloud."""
    own_cloud.start()
    return Operator(own_cloud)
