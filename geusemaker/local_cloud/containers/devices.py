"""GPUs in containers: what a compose file reserves, and what an instance's engine does about it.

As Docker: an engine knows the driver ``nvidia`` just if NVIDIA's container toolkit was there when it started
(github.com/moby/moby, daemon/nvidia_linux.go looks for its hook on PATH), refuses a reservation otherwise when the
container is started (daemon/devices.go), and leaves the rest to the toolkit, which asks the kernel's driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers.api import DockerError

TOOLKIT: Final = "usr/bin/nvidia-container-runtime-hook"
"""The toolkit's hook on an instance's disk."""
DRIVER: Final = "proc/driver/nvidia/gpus"
"""Where the kernel's driver lists the GPUs, a folder each, once it is loaded."""
_EVERY: Final = -1


def requested(deploy: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The engine's device requests for a service's ``deploy`` section, of which nothing else is known here.

    Raises:
        DockerError: it says something else.
    """
    found = []
    for device in (deploy or {}).get("resources", {}).get("reservations", {}).get("devices", []):
        rest = {key: value for key, value in device.items() if key != "count"}
        if rest != {"driver": "nvidia", "capabilities": ["gpu"]}:
            raise DockerError(
                f"the local cloud's docker compose reserves NVIDIA's GPUs only, not {json.dumps(rest)}", 400
            )
        count = device.get("count", "all")
        found.append({"Driver": "nvidia", "Count": _EVERY if count == "all" else int(count), "Capabilities": [["gpu"]]})
    return found


class Devices:
    """What the engine of an instance knows of devices since its start.

    Args:
        root: the instance's disk.
    """

    def __init__(self, root: Path) -> None:
        self._gpus = root / DRIVER
        self._has_toolkit = (root / TOOLKIT).exists()

    def given(self, requests: Iterable[dict[str, Any]]) -> list[str]:
        """The names of the GPUs that a container gets.

        Raises:
            DockerError: there is no toolkit (400), no driver, or there are not as many (500).
        """
        names: list[str] = []
        for request in requests:
            if not self._has_toolkit:
                capabilities = " ".join(f"[{' '.join(words)}]" for words in request["Capabilities"])
                raise DockerError(
                    f'could not select device driver "{request["Driver"]}" with capabilities: [{capabilities}]', 400
                )
            there = self._there()
            wanted = there if request["Count"] == _EVERY else there[: request["Count"]]
            if not there or len(wanted) < request["Count"]:
                missing = "unknown device" if there else "nvml error: driver not loaded"
                raise DockerError(
                    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc "
                    "create failed: unable to start container process: error during container init: error running "
                    "prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
                    f"nvidia-container-cli: initialization error: {missing}: unknown"
                )
            names += wanted
        return names

    def _there(self) -> list[str]:
        lines = [file.read_text() for file in sorted(self._gpus.glob("*/information"))]
        return [text.partition(":")[2].strip() for text in lines]


def plug(root: Path, names: Iterable[str]) -> None:
    """Have the driver on an instance's disk list these GPUs, at a boot. Without a GPU the module is not loaded."""
    for number, name in enumerate(names):
        folder = root / DRIVER / f"0000:00:{0x1E - number:02x}.0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "information").write_text(f"Model: \t\t {name}\n")
