"""Pre-flight checks: every one runs, and each says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geusemaker.checks.preflight import CheckContext, run_cloud_checks, run_host_checks
from geusemaker.errors import HostError
from geusemaker.models.plan import CheckResult
from geusemaker.models.result import FileSystemState
from geusemaker.models.stack import StackConfig, Target
from tests.unit.fakes import FakeHost, World
from tests.unit.samples import config


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A deployment whose file system is there."""
    world = World(tmp_path)
    world.cloud.file_system = FileSystemState(id="fs-1", mounted=False, state="available")
    world.cloud.mount_target = "available"
    return world


def context(wanted: StackConfig | None = None, has_data: bool = True) -> CheckContext:
    """What is about to be made real."""
    return CheckContext(
        deployment="prod",
        config=wanted or config(ami="ami-amd64"),
        target=Target(availability_zone="us-east-1a"),
        has_data=has_data,
        instance=None,
    )


def results(world: World, *arguments: Any, **options: Any) -> dict[str, CheckResult]:
    """The checks' results by name."""
    return {
        check.name: check for check in run_cloud_checks(context(*arguments, **options), world.cloud, world.registry)
    }


def test_all_is_well(world: World) -> None:
    found = results(world)
    assert list(found) == ["credentials", "instance type", "AMI", "file system", "images"]
    assert {check.status for check in found.values()} == {"pass"}
    assert found["file system"].detail == "fs-1 available, mount target available"


def test_one_failure_hides_no_other(world: World) -> None:
    world.cloud.not_offered.add("t3.large")
    world.cloud.images.clear()
    world.registry.platforms = {"arm64"}
    found = results(world)
    assert [name for name, check in found.items() if check.status == "fail"] == ["instance type", "AMI", "images"]
    assert found["AMI"].detail == "ami-amd64 does not exist"
    assert results(world, config(ami=""))["AMI"].detail == "no AMI does not exist"


def test_an_ami_of_another_architecture(world: World) -> None:
    assert results(world, config(ami="ami-arm64"))["AMI"].detail == "ami-arm64 is for arm64, but t3.large is amd64"


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


def test_images_that_are_gone(world: World) -> None:
    found = results(world, config(n8n="1-missing", ami="ami-amd64"))["images"]
    assert found.status == "fail" and "no image n8nio/n8n:1-missing" in found.detail


def test_a_registry_that_is_away_is_no_reason_to_refuse(world: World) -> None:
    world.registry.reachable = False
    assert results(world)["images"].status == "warn"


def test_images_that_do_not_say_their_platform(world: World) -> None:
    world.registry.platforms = set()
    assert results(world)["images"].status == "pass"


def test_aws_out_of_reach(world: World) -> None:
    world.cloud.reachable = False
    found = results(world)
    assert found["AWS"].status == "fail" and "AWS cannot be asked" in found["AWS"].detail
    assert found["images"].status == "pass"


def test_the_mount(world: World) -> None:
    world.deploy()
    (mounted,) = run_host_checks(context(), FakeHost(world))
    assert (mounted.name, mounted.status, mounted.detail) == ("EFS mount", "pass", "fs-1 is mounted")

    world.machine.mounted = None
    assert run_host_checks(context(), FakeHost(world))[0].status == "warn"
    world.host_failures["health"] = HostError("EFS does not answer.", code="efs_hung")
    assert run_host_checks(context(), FakeHost(world)) == [
        CheckResult(name="instance", status="fail", detail="EFS does not answer.")
    ]
