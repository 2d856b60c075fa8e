"""GPUs in the stand-in's containers: refused as Docker refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geusemaker.local_cloud.containers.api import DockerError
from geusemaker.local_cloud.containers.devices import TOOLKIT, Devices, plug, requested


def deploy(**device: Any) -> dict[str, Any]:
    known = {"driver": "nvidia", "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": [{**known, **device}]}}}


ALL = requested(deploy(count="all"))


def test_what_a_compose_file_reserves() -> None:
    assert requested(None) == [] and ALL == [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]
    assert requested(deploy(count=2))[0]["Count"] == 2
    with pytest.raises(DockerError, match="NVIDIA's GPUs only"):
        requested(deploy(driver="amd"))


def test_an_engine_that_started_without_the_toolkit_knows_no_driver(tmp_path: Path) -> None:
    engine = Devices(tmp_path)
    install(tmp_path)
    plug(tmp_path, ["NVIDIA A10G"])
    assert engine.given([]) == []
    with pytest.raises(DockerError) as refused:
        engine.given(ALL)
    # Word for word what moby says: daemon/errors.go, incompatibleDeviceRequest.
    assert refused.value.message == 'could not select device driver "nvidia" with capabilities: [[gpu]]'
    assert Devices(tmp_path).given(ALL) == ["NVIDIA A10G"], "once it is started anew"


def test_the_toolkit_refuses_where_there_is_no_driver_or_no_such_gpu(tmp_path: Path) -> None:
    install(tmp_path)
    with pytest.raises(DockerError, match="nvml error: driver not loaded"):
        Devices(tmp_path).given(ALL)
    plug(tmp_path, ["NVIDIA T4", "NVIDIA T4"])
    assert Devices(tmp_path).given(requested(deploy(count=1))) == ["NVIDIA T4"]
    with pytest.raises(DockerError, match="unknown device"):
        Devices(tmp_path).given(requested(deploy(count=3)))


def install(disk: Path) -> None:
    (disk / TOOLKIT).parent.mkdir(parents=True)
    (disk / TOOLKIT).touch()
