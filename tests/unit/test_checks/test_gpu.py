"""GPUs: who drives them."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.checks.gpu import check_gpu, uses_gpu
from geusemaker.models.image import ImageReference
from geusemaker.models.machine_image import DEBIAN_OWNER, MachineImage
from geusemaker.models.stack import InstanceFacts, ServiceConfig, StackConfig
from tests.unit.samples import DIGEST, config

DEBIAN = MachineImage(id="ami-1", name="debian-13-amd64-1", owner=DEBIAN_OWNER, least_gib=8)
DEEP_LEARNING = MachineImage(
    id="ami-1", name="Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260918", owner="1", least_gib=75
)
OWN = MachineImage(id="ami-1", name="ours", owner="2", least_gib=30)
GPU = InstanceFacts(memory_mib=16384, gpus=1, gpu_memory_mib=22888)


def with_ollama(instance: InstanceFacts = GPU, instance_type: str = "g5.xlarge", **more: Any) -> StackConfig:
    ollama = ServiceConfig(image=ImageReference.parse(f"ollama/ollama:0.32.15@{DIGEST}"))
    base = config(instance_type=instance_type, instance=instance, rendering=3, **more)
    return base.model_copy(update={"services": {**base.services, "ollama": ollama}})


def test_who_is_given_a_gpu() -> None:
    assert uses_gpu(with_ollama())
    assert not uses_gpu(config(instance=GPU)) and not uses_gpu(with_ollama(InstanceFacts()))


@pytest.mark.parametrize(
    ("image", "proven", "status", "words"),
    [
        (DEBIAN, False, "fail", "--ami newest takes AWS's Deep Learning AMI"),
        (None, False, "fail", "neither NVIDIA's driver nor"),
        (DEBIAN, True, "warn", "was not looked into; the gate runs nvidia-smi"),
        (None, True, "warn", "was not looked into"),
        (OWN, False, "warn", "was not looked into"),
        (DEEP_LEARNING, False, "pass", "has NVIDIA's driver and container toolkit (Deep Learning Base OSS"),
    ],
)
def test_a_gpu_needs_an_ami_that_drives_it(image: MachineImage | None, proven: bool, status: str, words: str) -> None:
    found = check_gpu(with_ollama(), lambda: image, proven=proven)
    assert found.status == status and words in found.detail


def test_aws_s_driver_knows_no_old_gpus() -> None:
    old = with_ollama(instance_type="p3.2xlarge")
    refused = check_gpu(old, lambda: DEEP_LEARNING, proven=False)
    assert refused.status == "fail" and "as g4dn.xlarge" in refused.detail
    assert check_gpu(old, lambda: DEEP_LEARNING, proven=True).status == "pass", "it ran, whatever we think"
