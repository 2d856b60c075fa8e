"""What is mounted, told by the mount table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.errors import AgentError
from geusemaker.agent.mounting import mount_unit
from geusemaker.agent.mounts import MOUNT_UNIT, Mount, Mounts, find_mount
from geusemaker.agent.output import Reporter

TABLE = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "40 22 0:40 / /mnt/efs rw,relatime shared:9 - nfs4 fs-0a.efs.us-east-1.amazonaws.com:/ rw,vers=4.1\n"
)


def test_the_mount_table_tells_the_file_system() -> None:
    mount = find_mount(TABLE, ["/mnt/efs"])
    assert mount is not None
    assert mount.file_system_id == "fs-0a"


@pytest.mark.parametrize(("kind", "known"), [("fuse.nfs4", True), ("fuse.sshfs", False), ("ext4", False)])
def test_only_an_nfs_client_mounts_efs_be_it_one_in_user_space(kind: str, known: bool) -> None:
    mount = Mount(kind, "fs-0a.efs.us-east-1.amazonaws.com:/")
    assert mount.file_system_id == ("fs-0a" if known else None)


def test_a_mount_by_address_is_known_by_the_unit_that_it_was_mounted_with(tmp_path: Path) -> None:
    mounts = Mounts(tmp_path, Reporter(lambda line: None))
    table = tmp_path / "proc/self/mountinfo"
    table.parent.mkdir(parents=True)
    table.write_text(TABLE.replace("fs-0a.efs.us-east-1.amazonaws.com", "10.0.0.7"))
    mounts.units.mkdir(parents=True)
    unit = mounts.units / MOUNT_UNIT
    assert (found := mounts.mount()) is not None and found.file_system_id is None
    unit.write_text(mount_unit("10.0.0.7:/", "hard", "fs-0a"))
    assert mounts.require_mount("fs-0a") == "fs-0a"
    with pytest.raises(AgentError, match="where fs-0b belongs"):
        mounts.require_mount("fs-0b")
    unit.write_text(mount_unit("10.0.0.8:/", "hard", "fs-0a"))
    assert (found := mounts.mount()) is not None and found.file_system_id is None, "it was mounted with another unit"


def test_a_unit_that_mounts_by_name_is_as_it_was() -> None:
    unit = mount_unit("fs-0a.efs.us-east-1.amazonaws.com:/", "hard", "fs-0a")
    assert "Description=geusemaker data\n\n[Mount]\n" in unit and "X-" not in unit


def test_the_last_mount_on_the_same_point_counts() -> None:
    covered = TABLE + "41 40 0:41 / /mnt/efs rw - tmpfs tmpfs rw\n"
    mount = find_mount(covered, ["/mnt/efs"])
    assert mount is not None
    assert mount.file_system_id is None


@pytest.mark.parametrize("table", ["", "nonsense\n", TABLE.replace("/mnt/efs", "/mnt/efs2"), TABLE.replace(" - ", " ")])
def test_no_mount_is_found_where_there_is_none(table: str) -> None:
    assert find_mount(table, ["/mnt/efs"]) is None


def test_escapes_of_the_mount_table_are_read() -> None:
    mount = find_mount("1 0 0:1 / /a\\040b rw - nfs4 host:/x\\011y rw\n", ["/a b"])
    assert mount == Mount("nfs4", "host:/x\ty")


@given(st.text())
def test_any_mount_table_can_be_read(table: str) -> None:
    find_mount(table, ["/mnt/efs"])
