"""What AWS's Deep Learning Base AMI has beyond an Ubuntu, as far as it is looked at: Docker, and what drives GPUs.

https://docs.aws.amazon.com/dlami/latest/devguide/aws-deep-learning-x86-base-gpu-ami-ubuntu-24-04.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from geusemaker.local_cloud.containers.devices import TOOLKIT
from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.program import script

_PACKAGES: Final = {
    "containerd.io": "2.3.6-1~ubuntu.24.04~noble",
    "docker-ce": "5:29.8.1-1~ubuntu.24.04~noble",
    "docker-ce-cli": "5:29.8.1-1~ubuntu.24.04~noble",
    "docker-compose-plugin": "5.6.0-1~ubuntu.24.04~noble",
    "nvidia-container-toolkit": "1.20.1-1",
}
_DOCKER: Final = "usr/lib/systemd/system/docker.service"


def install(disk: Path) -> None:
    """Put it on an instance's new disk."""
    status = disk / "var/lib/dpkg/status.json"
    write(status, json.dumps(json.loads(status.read_text()) | _PACKAGES))
    write(disk / "usr/bin/docker", script("docker"), 0o755)
    write(disk / TOOLKIT, "#!/bin/sh\n", 0o755)
    plugin = disk / "usr/libexec/docker/cli-plugins/docker-compose"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    write(plugin, '#!/bin/sh\nexec docker compose "$@"\n', 0o755)
    unit = disk / _DOCKER
    unit.parent.mkdir(parents=True, exist_ok=True)
    write(unit, "[Service]\nType=notify\n[Install]\nWantedBy=multi-user.target\n")
    wants = disk / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit.name).symlink_to(unit)
