"""The instance's own disk: when it has grown, its partition and file system grow with it, while everything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.volumes import _DISK
from geusemaker.local_cloud.machine import volumes
from tests.unit.test_agent import fakes
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent, do, mount_document

PROGRAMS = ("findmnt", "growpart", "blockdev", "resize2fs")


@pytest.fixture
def disk(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of 40 GiB with one partition, and the local cloud's own programs for it."""
    folder = tmp_path / "volumes" / "vol-root"
    folder.mkdir(parents=True)
    (folder / "size").write_text("40")
    (machine.root / "dev").mkdir(exist_ok=True)
    volumes.plug_root(machine.root, folder.parent, folder.name)
    others = tuple(name for name in fakes.PROGRAMS if name not in PROGRAMS)
    monkeypatch.setattr("tests.unit.test_agent.support.PROGRAMS", others)  # these are not played here
    for name in PROGRAMS:
        program = machine.bin / name
        program.unlink(missing_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {volumes.__file__} {name} "$@"\n')
        program.chmod(0o755)
    return folder


def mount(agent: DirectAgent, **changes: Any) -> dict[str, Any]:
    return do(agent, "mount", **mount_document(**changes))


def sizes(disk: Path) -> tuple[int, int]:
    """(GiB of the partition, GiB of its file system)"""
    return int((disk / "p1/size").read_text()), int((disk / "p1/blocks").read_text()) * 4096 // 2**30


def test_partition_and_file_system_fill_a_disk_that_has_grown(agent: DirectAgent, disk: Path, machine: Machine) -> None:
    mount(agent, root_volume_gib=40)
    assert sizes(disk) == (40, 40)
    assert not machine.calls("apt-get", "cloud-guest-utils"), "what enlarges a partition is there when it is needed"
    (disk / "size").write_text("70")
    mount(agent, root_volume_gib=70)
    assert sizes(disk) == (70, 70) and "cloud-guest-utils" in machine.state["packages"]
    mount(agent, root_volume_gib=70)
    assert sizes(disk) == (70, 70), "once more changes nothing"


def test_killed_after_the_partition_grew_the_file_system_follows(agent: DirectAgent, disk: Path) -> None:
    (disk / "size").write_text("70")
    (disk / "p1/size").write_text("70")
    assert sizes(disk) == (70, 40)
    mount(agent, root_volume_gib=70)
    assert sizes(disk) == (70, 70)


def test_a_size_that_the_instance_never_sees_is_an_error(agent: DirectAgent, disk: Path) -> None:
    with pytest.raises(AgentError, match=r"AWS gave the instance's disk 70 GiB, and the instance sees only 40") as gone:
        mount(agent, root_volume_gib=70, deadline_seconds=0.5)
    assert gone.value.code == "no_volume"


def test_a_partition_that_cannot_grow_is_an_error(agent: DirectAgent, disk: Path, machine: Machine) -> None:
    (disk / "size").write_text("70")
    (machine.bin / "growpart").write_text("#!/bin/sh\necho 'FAILED: sfdisk is missing' >&2\nexit 2\n")
    with pytest.raises(AgentError, match="could not be enlarged: FAILED: sfdisk is missing"):
        mount(agent, root_volume_gib=70)


@pytest.mark.parametrize("device", ["dm-0", "md0"])
def test_a_root_that_is_no_plain_partition_stops_nothing(
    agent: DirectAgent, disk: Path, machine: Machine, device: str
) -> None:
    (machine.bin / "findmnt").write_text(f"#!/bin/sh\necho /dev/{device} ext4\n")
    (machine.root / "dev" / device).touch()
    assert mount(agent, root_volume_gib=70)["mounted"]
    assert any("by hand" in note for note in agent.reporter.notes())


@pytest.mark.parametrize(
    ("source", "disk", "number"),
    [
        ("/dev/nvme0n1p1", "/dev/nvme0n1", "1"),
        ("/dev/nvme12n1p15", "/dev/nvme12n1", "15"),
        ("/dev/xvda1", "/dev/xvda", "1"),
        ("/dev/sda15", "/dev/sda", "15"),
        ("/dev/nvme0n1", "/dev/nvme0n1", None),
        ("/dev/xvda", "/dev/xvda", None),
    ],
)
def test_disk_and_partition_are_told_by_the_name(source: str, disk: str, number: str | None) -> None:
    found = _DISK.fullmatch(source)
    assert found is not None and found.groups() == (disk, number)


@pytest.mark.parametrize("told", ["overlay overlay", "/dev/sda1 ext4", ""])
def test_what_is_on_no_disk_of_its_own_is_left_and_said(
    agent: DirectAgent, disk: Path, machine: Machine, told: str
) -> None:
    """A container's root, and above all the disk of the machine that a local instance is a process of."""
    (machine.bin / "findmnt").write_text(f"#!/bin/sh\necho '{told}'\n")
    (machine.bin / "growpart").write_text("#!/bin/sh\nexit 3\n")
    (disk / "size").write_text("70")
    assert mount(agent, root_volume_gib=70)["mounted"]
    assert sizes(disk) == (40, 40)


def test_an_older_deployment_names_no_size_and_nothing_is_asked(agent: DirectAgent, machine: Machine) -> None:
    mount(agent)
    assert not machine.calls("findmnt") and not machine.calls("blockdev")
