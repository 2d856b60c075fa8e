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
        name: {"mount_targets": [{"availability_zone": zone, "state": "available"}]}
        for name, zone in (("fs-1", "us-east-1a"), ("fs-2", "us-east-1b"))
    }
    (tmp_path / "mount_targets.json").write_text(json.dumps(targets))
    monkeypatch.setattr(mount_helper, "SETTINGS", settings)
    monkeypatch.setattr(mount_helper, "FILE_SYSTEMS", tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "fs-2.efs.us-east-1.amazonaws.com:/",
        "fs-3.efs.us-east-1.amazonaws.com:/",
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


def test_a_folder_that_the_file_system_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert mount_helper.main("mount.nfs4", ["fs-1.efs.us-east-1.amazonaws.com:/nothing", "/mnt/efs"]) == 32
    assert capsys.readouterr().err.endswith("reason given by server: No such file or directory\n")
