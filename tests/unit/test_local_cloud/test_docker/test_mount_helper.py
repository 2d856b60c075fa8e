from __future__ import annotations

import json
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker.guest import mount_helper


@pytest.fixture(autouse=True)
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance in us-east-1a that can reach fs-1 there, and fs-2 in another zone."""
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"region": "us-east-1", "availability_zone": "us-east-1a"}))
    targets = {
        name: {
            "mount_targets": [
                {"availability_zone": zone, "state": "available", "ip_address": address, "has_name": named}
            ]
        }
        for name, zone, address, named in (
            ("fs-1", "us-east-1a", "10.0.0.1", True),
            ("fs-2", "us-east-1b", "10.0.1.1", True),
            ("fs-4", "us-east-1a", "10.9.0.1", False),
        )
    }
    (tmp_path / "mount_targets.json").write_text(json.dumps(targets))
    monkeypatch.setattr(mount_helper, "SETTINGS", settings)
    monkeypatch.setattr(mount_helper, "FILE_SYSTEMS", tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "fs-2.efs.us-east-1.amazonaws.com:/",
        "fs-3.efs.us-east-1.amazonaws.com:/",
        "fs-4.efs.us-east-1.amazonaws.com:/",
        "fs-1.efs.eu-central-1.amazonaws.com:/",
        "server:/export",
    ],
)
def test_a_name_resolves_only_where_its_zone_has_a_mount_target(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mount_helper.main("mount.nfs4", [source, "/mnt/efs", "-o", "nfsvers=4.1"]) == 32
    host = source.partition(":")[0]
    assert capsys.readouterr().err == f"mount.nfs4: Failed to resolve server {host}: Name or service not known\n"


def test_an_address_leads_there_without_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fs-4").mkdir()
    assert mount_helper.efs_folder("10.9.0.1:/") == tmp_path / "fs-4"
    assert mount_helper.main("mount.nfs4", ["10.9.9.9:/", "/mnt/efs"]) == 32
    assert capsys.readouterr().err == "mount.nfs4: Connection timed out\n"


def test_a_folder_that_the_file_system_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert mount_helper.main("mount.nfs4", ["fs-1.efs.us-east-1.amazonaws.com:/nothing", "/mnt/efs"]) == 32
    assert capsys.readouterr().err.endswith("reason given by server: No such file or directory\n")
