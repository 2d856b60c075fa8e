"""``dpkg`` of an instance: ``--print-architecture``, and ``--install`` of AWS's Session Manager agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from geusemaker.local_cloud.files import write

UNIT = """[Unit]
Description=amazon-ssm-agent
[Service]
Type=simple
ExecStart=/usr/bin/sleep infinity
Restart=always
RestartSec=15min
[Install]
WantedBy=multi-user.target
"""
"""As the package has it (packaging/linux/amazon-ssm-agent.service), but for what runs: to be there is all it does."""


def main(arguments: list[str]) -> int:
    if arguments == ["--print-architecture"]:
        print("amd64")
        return 0
    if len(arguments) != 2 or arguments[0] not in ("-i", "--install"):
        sys.stderr.write("dpkg: error: need an action option\n")
        return 2
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    try:
        package = json.loads(Path(arguments[1]).read_text())
    except ValueError:
        sys.stderr.write(f"dpkg-deb: error: '{arguments[1]}' is not a Debian format archive\n")
        return 1
    status = root / "var/lib/dpkg/status.json"
    installed = {**json.loads(status.read_text()), package["Package"]: package["Version"]}
    unit = root / f"usr/lib/systemd/system/{package['Package']}.service"
    unit.parent.mkdir(parents=True, exist_ok=True)
    write(unit, UNIT)
    write(status, json.dumps(installed, indent=1, sort_keys=True))
    print(f"Setting up {package['Package']} ({package['Version']}) ...", flush=True)
    return subprocess.run(["systemctl", "enable", "--now", f"{package['Package']}.service"]).returncode
