"""Pre-flight checks: every one runs, and each says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from geusemaker.agent.protocol.looks import Health
from geusemaker.agent.protocol.reading import read
from geusemaker.checks.cloud import CheckContext, ask_ami, run_cloud_checks
from geusemaker.checks.host import ROOM_FOR_IMAGES_GIB, run_host_checks
from geusemaker.checks.images import ask_registries, bytes_to_pull, check_images
from geusemaker.checks.planned import check_ami, check_there
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models import resource_types
from geusemaker.models.inspection import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.plan import CheckResult, ResourceOperation
from geusemaker.models.stack import ServiceConfig, ServiceName, StackConfig
from geusemaker.program.compose import render
from tests.unit.fakes import FakeCloud, World
from tests.unit.samples import config
from tests.unit.samples import target as where


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A deployment whose file system is there."""
    world = World(tmp_path)
    world.cloud.file_system = FileSystemState(id="fs-1", mounted=False, state="available")
    world.cloud.mount_target = "available"
    return world


def context(
    wanted: StackConfig | None = None,
    has_data: bool = True,
    kind: Literal["local", "aws"] = "local",
    subnet: str = "subnet-1",
    instance: InstanceState | None = None,
    volume: int = 0,
    running: StackConfig | None = None,
) -> CheckContext:
    """What is about to be made real."""
    return CheckContext(
        deployment="prod",
        config=wanted or config(ami="ami-amd64"),
        target=where(kind=kind, availability_zone="us-east-1a", subnet_id=subnet, data_volume_gib=volume),
        has_data=has_data,
        instance=instance,
        running=running,
    )


def results(world: World, *arguments: Any, **options: Any) -> dict[str, CheckResult]:
    """The checks' results by name."""
    return {check.name: check for check in run_cloud_checks(context(*arguments, **options), world.cloud)}


def images(world: World, wanted: StackConfig | None = None, missing: list[str] | None = None) -> CheckResult:
    """The check of the images; ``missing``: the services whose image is not on the instance."""
    wanted = wanted or config()
    return check_images(wanted, ask_registries(wanted, world.registry), missing)


def test_all_is_well(world: World) -> None:
    found = results(world)
    assert list(found) == [
        *("credentials", "network", "single writer", "instance type", "file system", "environment", "memory"),
        *("address quota", "vCPU quota"),
    ]
    assert {check.status for check in found.values()} == {"pass"}
    assert found["network"].detail == "subnet-1 in us-east-1a"
    assert found["file system"].detail == "fs-1 available, mount target available"


def test_a_second_instance_with_the_tag_is_refused(world: World) -> None:
    one = InstanceState(id="i-1", type="t3.large", state="running", address="")
    assert results(world, instance=one)["single writer"].status == "pass"
    two = results(world, instance=one.model_copy(update={"others": ("i-2",)}))["single writer"]
    assert two.status == "fail"
    assert "i-1 and i-2" in two.detail
    assert "geusemaker:deployment=prod" in two.detail


@pytest.mark.parametrize(
    ("running", "wanted", "asked"),
    [
        (config(purchase="spot"), config(purchase="spot"), None),
        (config(), config(purchase="spot"), "Spot"),
        (config(purchase="spot"), config(), "Standard"),
        (config(purchase="spot"), config(purchase="spot", instance_type="t3.xlarge"), "Spot"),
    ],
)
def test_the_quota_is_that_of_how_the_instance_is_bought(
    world: World, running: StackConfig, wanted: StackConfig, asked: str | None
) -> None:
    world.cloud.spot_quota = ("Spot", 5, 4, 2)
    world.cloud.vcpu_quota = ("Standard", 1, 0, 2)
    instance = InstanceState(id="i-1", type="t3.large", state="running", address="")
    found = results(world, wanted, instance=instance, running=running).get("vCPU quota")
    assert (found.detail.rpartition("family ")[2].partition(":")[0] if found is not None else None) == asked
    assert found is None or found.status == "fail"


def test_one_failure_hides_no_other(world: World) -> None:
    world.cloud.not_offered.add("t3.large")
    world.cloud.images.clear()
    found = results(world)
    world.cloud.file_system = None
    found = results(world)
    assert [name for name, check in found.items() if check.status == "fail"] == ["instance type", "file system"]


def test_backups_that_somebody_switched_off_are_a_warning(world: World) -> None:
    world.cloud.backed_up = False
    found = results(world)["file system"]
    assert found.status == "warn" and "backups are off: `aws efs put-backup-policy" in found.detail
    assert results(world, has_data=False)["file system"].status == "pass", "the deploy switches them on"


def ami(world: World, wanted: str, makes_instance: bool = True, has_data: bool = True) -> CheckResult:
    """The check of an AMI."""
    of = context(config(ami=wanted), has_data=has_data)
    return check_ami(of, ask_ami(of.config, world.cloud), makes_instance=makes_instance)


def test_an_ami_of_another_architecture(world: World) -> None:
    expected = "ami-arm64 is for arm64, but t3.large is amd64"
    assert ami(world, "ami-arm64", has_data=False).detail == expected
    with_data = ami(world, "ami-arm64").detail
    assert with_data.startswith(expected) and "--ami newest" in with_data


class Unreachable(FakeCloud):
    """AWS that cannot be asked."""

    error = EnvironmentProblemError("AWS cannot be reached.")

    def find_image_architecture(self, ami: str) -> str | None:
        raise self.error


def test_an_ami_that_is_gone_stands_in_the_way_of_another_instance_only(world: World) -> None:
    assert (ami(world, "ami-amd64").status, ami(world, "ami-amd64").detail) == ("pass", "ami-amd64 (amd64)")
    assert ami(world, "ami-gone").detail.startswith("ami-gone does not exist; `--ami newest`")
    assert ami(world, "").detail.startswith("no AMI does not exist")
    kept = ami(world, "ami-gone", makes_instance=False)
    assert kept.status == "warn" and "the instance made of it stays" in kept.detail
    assert ask_ami(config(ami="ami-1"), Unreachable()) is Unreachable.error
    assert check_ami(context(), Unreachable.error, makes_instance=False).status == "fail"


@pytest.mark.parametrize(
    ("state", "mount_target", "has_data", "status"),
    [
        ("available", "available", True, "pass"),
        ("updating", "available", True, "pass"),
        ("deleting", "available", True, "fail"),
        ("available", "missing", True, "fail"),
        ("available", "creating", True, "fail"),
        ("available", "creating", False, "pass"),
        ("available", "missing", False, "pass"),
        ("creating", "missing", False, "pass"),
        ("available", "error", False, "fail"),
        (None, "", True, "fail"),
        (None, "", False, "pass"),
    ],
)
def test_the_file_system(world: World, state: str | None, mount_target: str, has_data: bool, status: str) -> None:
    world.cloud.file_system = FileSystemState(id="fs-1", mounted=False, state=state) if state else None
    world.cloud.mount_target = mount_target
    assert results(world, has_data=has_data)["file system"].status == status


@pytest.mark.parametrize(
    ("found", "has_data", "status", "said"),
    [
        ({}, True, "pass", "vol-1 in-use, 20 GiB"),
        ({"state": "available", "attached_to": ""}, True, "pass", "vol-1 available, 20 GiB"),
        ({"state": "creating", "attached_to": ""}, False, "pass", "vol-1 creating, 20 GiB"),
        ({"state": "creating", "attached_to": ""}, True, "fail", "vol-1 creating, 20 GiB"),
        ({"state": "error"}, True, "fail", "vol-1 error, 20 GiB"),
        ({"attached_to": "i-2"}, True, "fail", "vol-1 is attached to i-2: detach it there"),
        ({"availability_zone": "us-east-1b"}, True, "fail", "vol-1 is in us-east-1b, the instance in us-east-1a"),
        (None, True, "fail", "the deployment's is gone: none has the tag geusemaker:deployment=prod"),
        (None, False, "pass", "a new one of 20 GiB is made"),
    ],
)
def test_the_data_volume(world: World, found: dict[str, Any] | None, has_data: bool, status: str, said: str) -> None:
    if found is not None:
        known = {"id": "vol-1", "size_gib": 20, "state": "in-use", "availability_zone": "us-east-1a"}
        world.cloud.volume = DataVolumeState(**{**known, "attached_to": "i-1", **found})
    instance = InstanceState(id="i-1", type="t3.large", state="running", address="")
    check = results(world, has_data=has_data, instance=instance, volume=20)["data volume"]
    assert check.status == status and check.detail.startswith(said)


def test_a_data_volume_that_no_instance_should_have(world: World) -> None:
    """The deployment's own instance is gone, and another has the volume."""
    world.cloud.volume = DataVolumeState(
        id="vol-1", size_gib=20, state="in-use", availability_zone="us-east-1a", attached_to="i-2"
    )
    assert results(world, volume=20)["data volume"].status == "fail"
    assert "data volume" not in results(world, volume=0), "a deployment from before there was one"


@pytest.mark.parametrize(
    ("volume", "status", "said"),
    [
        ({"id": "vol-1", "mounted": True, "total_bytes": 20 * 2**30, "free_bytes": 15 * 2**30}, "pass", "15.0 GiB of"),
        ({"id": "vol-1", "mounted": True, "total_bytes": 20 * 2**30, "free_bytes": 2**30}, "warn", "1.0 GiB of 20.0"),
        ({"id": "vol-1", "mounted": False}, "warn", "not mounted; that is done first"),
        (None, "warn", "not mounted"),
    ],
)
def test_the_data_volume_on_the_instance(volume: dict[str, Any] | None, status: str, said: str) -> None:
    checks = run_host_checks(health(data_volume=volume), config(), where(data_volume_gib=20))
    [check] = [check for check in checks if check.name == "volume mount"]
    assert check.status == status and said in check.detail


def test_a_file_system_without_a_mount_target_names_the_command_that_makes_one(world: World) -> None:
    world.cloud.mount_target = "missing"
    found = results(world)["file system"]
    assert "create-mount-target --file-system-id fs-1 --subnet-id subnet-1 --security-groups" in found.detail
    assert found.detail.endswith("then run `geusemaker recover prod`")


def test_a_version_whose_environment_moves_data_is_not_gone_to(world: World) -> None:
    wanted = config(ami="ami-amd64")
    postgresql = wanted.services["postgresql"].model_copy(update={"environment": {"PGDATA": "/tmp/x", "TZ": "UTC"}})
    services: dict[ServiceName, ServiceConfig] = {**wanted.services, "postgresql": postgresql}
    found = results(world, wanted.model_copy(update={"services": services}))["environment"]
    assert found.status == "fail" and found.detail.startswith("postgresql.PGDATA decides where data is")


@pytest.mark.parametrize("missing", [None, ["n8n"], ["n8n", "postgresql"]])
def test_images_that_are_gone(world: World, missing: list[str] | None) -> None:
    found = images(world, config(n8n="1-missing"), missing)
    assert (found.status, found.detail) == ("fail", "docker.io has no image n8nio/n8n:1-missing")


@pytest.mark.parametrize("missing", [[], ["postgresql"]])
def test_an_image_that_the_instance_keeps_may_be_gone_from_its_registry(world: World, missing: list[str]) -> None:
    found = images(world, config(n8n="1-missing"), missing)
    kept = "docker.io has no image n8nio/n8n:1-missing; kept on the instance, so no registry is needed"
    assert (found.status, found.detail) == ("warn", kept)


def test_a_registry_that_is_away_is_no_reason_to_refuse(world: World) -> None:
    world.registry.reachable = False
    found = images(world)
    assert (found.status, found.detail) == ("warn", "The registry docker.io cannot be reached (timeout)")


def test_another_instance_has_to_be_able_to_pull_everything(world: World) -> None:
    wanted = config()
    assert check_images(wanted, ask_registries(wanted, world.registry), on_new_instance=True).status == "pass"
    world.registry.reachable = False
    found = check_images(wanted, ask_registries(wanted, world.registry), on_new_instance=True)
    assert (found.status, found.detail) == (
        "fail",
        "The registry docker.io cannot be reached (timeout); another instance has to pull every image anew",
    )


def test_the_platform_of_images(world: World) -> None:
    found = images(world)
    assert (found.status, found.detail) == ("pass", f"{len(config().services)} accessible for amd64")
    world.registry.platforms = set()
    assert images(world).status == "pass", "they do not say it"
    world.registry.platforms = {"arm64"}
    found = images(world)
    assert found.status == "fail" and "n8nio/n8n:1.100.1 is not published for amd64" in found.detail


def test_aws_out_of_reach(world: World) -> None:
    world.cloud.reachable = False
    found = results(world)
    assert found["AWS"].status == "fail" and "AWS cannot be asked" in found["AWS"].detail
    assert found["environment"].status == "pass"


@pytest.mark.parametrize(("kind", "hint"), [("local", True), ("aws", False)])
def test_a_subnet_that_is_gone(world: World, kind: Literal["local", "aws"], hint: bool) -> None:
    found = results(world, kind=kind, subnet="subnet-2")["network"]
    assert found.status == "fail" and found.detail.startswith("there is no subnet subnet-2 in us-east-1")
    assert ("GEUSEMAKER_LOCAL_DIR" in found.detail) is hint, "only a local cloud can have been reset"


def health(mounted: bool = True, free_bytes: int = 30 * 2**30, **more: Any) -> Health:
    """How the instance is."""
    told = {
        "services": {},
        "mount": {"mounted": mounted, "file_system_id": "fs-1" if mounted else None},
        "disk": {"total_bytes": 40 * 2**30, "free_bytes": free_bytes},
    }
    return read(Health, told | more)


def test_the_instance_is_well() -> None:
    assert run_host_checks(health(), config(), where()) == [
        CheckResult(name="EFS mount", status="pass", detail="fs-1 is mounted"),
        CheckResult(name="volumes", status="pass", detail="each service's data stays where it is"),
        CheckResult(name="disk space", status="pass", detail="30.0 GiB free; every image is there"),
    ]


def test_a_mount_that_is_missing_is_told_and_hinders_nothing() -> None:
    mount, _, disk = run_host_checks(health(mounted=False), config(), where())
    assert (mount.status, disk.status) == ("warn", "pass") and "not mounted" in mount.detail


def test_a_service_that_would_find_its_data_elsewhere() -> None:
    there = {"n8n": ["/srv/n8n:/home/node/.n8n"], "postgresql": [], "qdrant": ["/srv/qdrant:/qdrant/storage"]}
    volumes = run_host_checks(health(volumes=there), config(), where())[1]
    assert volumes.status == "fail" and "qdrant" not in volumes.detail, "qdrant is not part of this version"
    assert "n8n would have ['${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/n8n:/home/node/.n8n']" in volumes.detail
    assert "instead of ['/srv/n8n:/home/node/.n8n']" in volumes.detail
    assert "/mnt/efs/postgresql:/var/lib/postgresql/data'] instead of none" in volumes.detail


def test_a_service_that_finds_its_data_where_it_was() -> None:
    there = {
        name: service.get("volumes", []) for name, service in render(config(), data_volume=False)["services"].items()
    }
    assert run_host_checks(health(volumes=there), config(), where())[1].status == "pass"


@pytest.mark.parametrize(
    ("free_gib", "to_pull", "status", "said"),
    [
        (0.0, 0, "pass", "0.0 GiB free; every image is there"),
        (2.71, 2**30, "pass", "2.7 GiB free; images to pull take about 2.7 GiB (1.0 GiB compressed)"),
        (
            2.69,
            2**30,
            "fail",
            "2.7 GiB free, but images to pull take about 2.7 GiB (1.0 GiB compressed); a larger disk",
        ),
        (float(ROOM_FOR_IMAGES_GIB), None, "pass", "8.0 GiB free; how much the images need is not known"),
        (7.9, None, "warn", "7.9 GiB free; how much the images need is not known"),
    ],
)
def test_room_for_images(free_gib: float, to_pull: int | None, status: str, said: str) -> None:
    disk = run_host_checks(health(free_bytes=int(free_gib * 2**30)), config(), where(), to_pull)[2]
    assert disk.status == status and disk.detail.startswith(said)


def test_what_is_to_be_pulled(world: World) -> None:
    size = world.registry.layer_bytes
    wanted = config(n8n="1.101.0")

    def to_pull(missing: list[str] | None, active: StackConfig | None) -> int | None:
        return bytes_to_pull(health(missing_images=missing), wanted, active, world.registry)

    assert to_pull([], None) == 0
    assert to_pull(["n8n"], None) == 2 * size
    assert to_pull(["n8n"], config(n8n="1.100.0")) == size, "the lower layer is there"
    assert to_pull(["n8n", "postgresql"], None) == 4 * size
    assert to_pull(["qdrant"], None) == 0, "it is not part of this version"
    assert to_pull(None, None) is None, "Docker did not answer"
    world.registry.reachable = False
    assert to_pull(["n8n"], None) is None
    assert to_pull([], None) == 0, "what is there needs no registry"


def test_a_registry_that_has_forgotten_the_image_that_runs(world: World) -> None:
    missing = health(missing_images=["n8n"])
    found = bytes_to_pull(missing, config(n8n="1.101.0"), config(n8n="1-missing"), world.registry)
    assert found == 2 * world.registry.layer_bytes


def test_what_a_replacement_deleted_before_it_was_cut_off_is_not_missed() -> None:
    def step(op: str) -> ResourceOperation:
        return ResourceOperation(op=op, type=resource_types.INSTANCE, name="instance", urn="urn::i", provider_id="i-1")

    rest = [step("replace"), step("create-replacement")]
    assert check_there(context(), rest, []) == []
    other = InstanceState(id="i-2", type="t3.large", state="running", address="")
    assert "AWS has i-2 in its place" in check_there(context(instance=other), rest, [])[0].detail
    assert "removed by other means" in check_there(context(), [step("delete-replaced"), *rest], [])[0].detail
