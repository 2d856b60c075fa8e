"""Containers over the life of their instance and of the local cloud."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.local_cloud.client import LocalCloud
from geusemaker.local_cloud.processes import find_instance_processes, is_same_process
from tests.local_cloud.cloud_box import Box, Operator

COMPOSE = {
    "name": "geusemaker",
    "services": {
        name: {
            "image": f"qdrant/qdrant:{tag}",
            "restart": "unless-stopped",
            "ports": [f"${{GEUSEMAKER_LOOPBACK}}:{port}:6333"],
            "volumes": [f"${{GEUSEMAKER_INSTANCE_ROOT}}/mnt/efs/{name}:/qdrant/storage"],
        }
        for name, tag, port in (("kept", "v1.14.1", 6333), ("held", "v1.14.1", 6400))
    },
}
UNIT = """\
[Mount]
What={source}
Where=/mnt/efs
Type=nfs4
Options=nfsvers=4.1,hard,_netdev
[Install]
WantedBy=multi-user.target
"""


def _wait_until(condition: Callable[[], bool], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)


def _containers(box: Box) -> dict[str, dict[str, Any]]:
    lines = box.output("docker ps -a --format '{{json .}}'").splitlines()
    return {container["Names"]: container for container in map(json.loads, lines)}


def _state(box: Box) -> dict[str, str]:
    return {name: container["State"] for name, container in _containers(box).items()}


def _serves(loopback: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{loopback}:6333/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _deploy(operator: Operator) -> tuple[Box, str]:
    """An instance that runs two containers on EFS, one of them stopped by hand; and its loopback address."""
    box = operator.run_instance()
    file_system = operator.file_system("containers")
    box.output("apt-get update -q && apt-get install -y -q docker.io docker-cli docker-compose nfs-common")
    units = box.disk / "etc/systemd/system"
    (units / "mnt-efs.mount").write_text(UNIT.format(source=f"{file_system}.efs.us-east-1.amazonaws.com:/"))
    (units / "docker.service.d").mkdir()
    (units / "docker.service.d/efs.conf").write_text("[Unit]\nRequiresMountsFor=/mnt/efs\n")
    box.output("systemctl daemon-reload && systemctl enable --now mnt-efs.mount")
    (box.disk / "opt/compose.json").write_text(json.dumps(COMPOSE))
    box.output("docker compose -f $GEUSEMAKER_INSTANCE_ROOT/opt/compose.json up -d --quiet-pull")
    box.output("docker stop geusemaker-held-1")
    assert _state(box) == {"geusemaker-kept-1": "running", "geusemaker-held-1": "exited"}
    loopback = box.output("echo $GEUSEMAKER_LOOPBACK").strip()
    _wait_until(lambda: _serves(loopback))
    return box, loopback


@pytest.mark.slow
def test_containers_come_back_as_docker_brings_them_back(own_cloud: LocalCloud, own_operator: Operator) -> None:
    box, loopback = _deploy(own_operator)
    as_left = _state(box)
    ec2 = own_operator.ec2

    ec2.stop_instances(InstanceIds=[box.id])
    assert not find_instance_processes(box.disk)
    assert not _serves(loopback)
    ec2.start_instances(InstanceIds=[box.id])
    _wait_until(lambda: _serves(loopback))
    assert _state(box) == as_left

    own_cloud.stop()
    assert not find_instance_processes(own_cloud.folder / "instances")
    own_cloud.start()
    _wait_until(lambda: _serves(loopback))
    assert _state(box) == as_left

    # Everything at once is killed: the power fails.
    status = own_cloud.status()
    assert status.pid
    processes = find_instance_processes(own_cloud.folder / "instances")
    assert len(processes) >= 2, "the container engine and a container"
    for pid in (status.pid, *processes):
        os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: all(not is_same_process(pid, started) for pid, started in processes.items()))
    own_cloud.start()
    _wait_until(lambda: _serves(loopback))
    assert _state(box) == as_left

    # Only the daemon is killed: what it left running is not taken over, the instance boots.
    status = own_cloud.status()
    assert status.pid
    processes = find_instance_processes(own_cloud.folder / "instances")
    os.kill(status.pid, signal.SIGKILL)
    own_cloud.start()
    # Ended ones may stay in the process table for a moment, until their new parent has taken note.
    _wait_until(lambda: all(not is_same_process(pid, started) for pid, started in processes.items()))
    _wait_until(lambda: _serves(loopback))
    assert _state(box) == as_left

    own_cloud.reset()
    assert not find_instance_processes(own_cloud.folder)
    assert not _serves(loopback)
