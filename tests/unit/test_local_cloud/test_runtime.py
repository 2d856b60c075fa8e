from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.errors import InvalidInputError, LocalCloudError
from geusemaker.local_cloud.client import LocalCloud
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.local_cloud.runtime import Runtime
from geusemaker.targets import wanted_runtime


def test_instances_are_processes_unless_something_else_was_chosen(tmp_path: Path) -> None:
    paths = CloudPaths(tmp_path / "cloud")
    assert Runtime.read(paths).kind == "process"
    Runtime(kind="docker", docker_host="unix:///x").write(paths)
    assert Runtime.read(paths) == Runtime(kind="docker", docker_host="unix:///x")
    paths.runtime.write_text('{"kind": "vm"}')
    with pytest.raises(LocalCloudError, match=r"runtime\.json cannot be read"):
        Runtime.read(paths)


def test_the_docker_host_is_remembered_with_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///mine.sock")
    assert Runtime.chosen("docker").docker_host == "unix:///mine.sock"
    assert Runtime.chosen("process").docker_host is None


def test_the_option_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEUSEMAKER_LOCAL_RUNTIME", raising=False)
    assert wanted_runtime(None) is None
    monkeypatch.setenv("GEUSEMAKER_LOCAL_RUNTIME", "docker")
    assert wanted_runtime(None) == "docker"
    assert wanted_runtime("process") == "process"
    monkeypatch.setenv("GEUSEMAKER_LOCAL_RUNTIME", "podman")
    with pytest.raises(InvalidInputError, match="process or docker"):
        wanted_runtime(None)


@pytest.mark.parametrize("held", ["file_systems/fs-1", "instances/i-1"])
def test_the_runtime_stays_while_there_is_anything_to_lose(tmp_path: Path, held: str) -> None:
    (tmp_path / held).mkdir(parents=True)
    with pytest.raises(LocalCloudError, match="has instances or data, and its runtime is process") as raised:
        LocalCloud(tmp_path).start("docker")
    assert "GEUSEMAKER_LOCAL_DIR" in str(raised.value.next_step)
    assert LocalCloud(tmp_path).status().runtime == "process"
