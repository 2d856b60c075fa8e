"""What the instances' programs read; what they do is tested on instances."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.machine.dpkg_query import FIELD, fields
from geusemaker.local_cloud.machine.mount import EFS_SOURCE, inside
from geusemaker.local_cloud.machine.units import Unit, escape_path


@pytest.mark.parametrize(
    ("path", "name"),
    [("/mnt/efs", "mnt-efs"), ("/mnt/efs/", "mnt-efs"), ("/srv/my-data", "srv-my\\x2ddata"), ("mnt", "mnt")],
)
def test_a_mount_units_name_is_its_path_escaped(path: str, name: str) -> None:
    assert escape_path(path) == name


@given(st.lists(st.text("ab-", min_size=1), min_size=1, max_size=4), st.lists(st.text("ab-", min_size=1), min_size=1))
def test_different_paths_have_different_units(one: list[str], other: list[str]) -> None:
    names = escape_path("/" + "/".join(one)), escape_path("/" + "/".join(other))
    assert (names[0] == names[1]) == (one == other)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/systemd/system/docker.service.d").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
    return tmp_path


def test_drop_ins_add_to_a_unit_and_its_own_folder_goes_first(root: Path) -> None:
    (root / "usr/lib/systemd/system/docker.service").write_text("[Unit]\nDescription=packaged\n")
    (root / "etc/systemd/system/mnt-efs.mount").write_text("# comment\n[Mount]\nWhat=a=b\nWhere = /mnt/efs\n")
    (root / "etc/systemd/system/docker.service.d/a.conf").write_text("[Unit]\nRequiresMountsFor=/mnt/efs /mnt/none\n")
    (root / "etc/systemd/system/docker.service.d/b.conf").write_text("[Unit]\nBindsTo=mnt-efs.mount\n")
    docker = Unit(root, "docker.service")
    assert docker.get("Unit.Description") == "packaged"
    assert [unit.name for unit in docker.required_mounts] == ["mnt-efs.mount"]
    mount = Unit(root, "mnt-efs.mount")
    assert (mount.get("Mount.What"), mount.get("Mount.Where"), mount.get("Mount.Type", "auto")) == (
        "a=b",
        "/mnt/efs",
        "auto",
    )
    (root / "etc/systemd/system/docker.service").write_text("[Unit]\nDescription=own\n")
    assert Unit(root, "docker.service").get("Unit.Description") == "own"
    assert Unit(root, "none.service").file is None


def test_a_unit_is_enabled_when_a_target_wants_it(root: Path) -> None:
    unit = root / "etc/systemd/system/mnt-efs.mount"
    unit.write_text("[Mount]\n")
    assert not Unit(root, "mnt-efs.mount").enabled
    wants = root / "etc/systemd/system/remote-fs.target.wants"
    wants.mkdir()
    (wants / unit.name).symlink_to(unit)
    assert Unit(root, "mnt-efs.mount").enabled


@pytest.mark.parametrize("given_path", ["/mnt/efs", "/mnt/efs/", "mnt/efs", "{root}/mnt/efs"])
def test_paths_of_the_instance_are_understood_with_and_without_its_root(tmp_path: Path, given_path: str) -> None:
    assert inside(tmp_path, given_path.format(root=tmp_path)) == (tmp_path / "mnt/efs", "/mnt/efs")


@pytest.mark.parametrize(
    ("source", "file_system"),
    [
        ("fs-0ab1.efs.us-east-1.amazonaws.com:/", "fs-0ab1"),
        ("fs-0ab1.efs.eu-west-1.amazonaws.com:/sub", "fs-0ab1"),
        ("fs-0ab1.efs.us-east-1.amazonaws.com", None),
        ("fs-0XY.efs.us-east-1.amazonaws.com:/", None),
        ("us-east-1a.fs-0ab1.efs.us-east-1.amazonaws.com:/", None),
        ("nfs.example.com:/", None),
    ],
)
def test_which_file_system_a_source_names(source: str, file_system: str | None) -> None:
    match = EFS_SOURCE.fullmatch(source)
    assert (match["id"] if match else None) == file_system


@pytest.mark.parametrize(
    ("shown", "text"),
    [("${Package} ${Status}", "jq install ok installed"), ("${db:Status-Abbrev}|", "ii |"), ("${Nothing}", "")],
)
def test_dpkgs_fields(shown: str, text: str) -> None:
    assert FIELD.sub(lambda match: fields("jq", "1", held=False).get(match[1], ""), shown) == text
