from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.client import LocalCloud, default_folder
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.local_cloud.processes import start_time


def test_the_folder_is_the_users_data_folder_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GEUSEMAKER_LOCAL_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "geusemaker/local"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local/share/geusemaker/local"
    monkeypatch.setenv("GEUSEMAKER_LOCAL_DIR", "~/cloud")
    assert default_folder() == tmp_path / "cloud"


def test_a_path_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(LocalCloudError, match="too long"):
        CloudPaths(Path("/" + "x/" * 2000))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "{}"])
def test_a_record_that_cannot_be_read_is_reported_with_a_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "daemon.json").write_text(content)
    with pytest.raises(LocalCloudError, match="cannot be read"):
        LocalCloud(tmp_path).status()


def test_a_record_of_a_process_that_is_gone_means_not_running(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-IS", "-c", ""])
    gone.wait()
    record = {"pid": gone.pid, "started_ticks": 1, "aws_endpoint": "http://127.0.0.1:1"}
    (tmp_path / "daemon.json").write_text(json.dumps(record))
    assert not LocalCloud(tmp_path).status().running


def test_one_that_was_just_killed_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "0.3"]) as dying:
        ticks = start_time(dying.pid)
        record = {"pid": dying.pid, "started_ticks": ticks, "aws_endpoint": "http://127.0.0.1:1"}
        (tmp_path / "daemon.json").write_text(json.dumps(record))
        assert not LocalCloud(tmp_path).status().running, "nothing listens, and soon the process is gone"


def test_one_that_lives_and_does_not_answer_is_reported(tmp_path: Path) -> None:
    record = {"pid": os.getpid(), "started_ticks": start_time(os.getpid()), "aws_endpoint": "http://127.0.0.1:1"}
    (tmp_path / "daemon.json").write_text(json.dumps(record))
    with pytest.raises(LocalCloudError, match="does not answer") as caught:
        LocalCloud(tmp_path).status()
    assert "local stop" in str(caught.value)


def test_one_that_an_earlier_geusemaker_started_is_told_with_what_to_do(tmp_path: Path) -> None:
    record = {"pid": os.getpid(), "started_ticks": start_time(os.getpid()), "aws_endpoint": "http://127.0.0.1:1"}
    (tmp_path / "daemon.json").write_text(json.dumps(record))
    with pytest.raises(LocalCloudError, match="An earlier geusemaker") as caught:
        LocalCloud(tmp_path).environment()
    assert "geusemaker local stop && geusemaker local start" in caught.value.next_step


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from geusemaker.local_cloud.client import LocalCloud; "
        "heavy = ('moto', 'boto3', 'botocore', 'asyncssh', 'pulumi', 'grpc', 'flask'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout == "[]\n", done.stderr
