"""``dpkg-query`` of an instance: ``-W``."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from geusemaker.local_cloud.machine.apt_get import read

FIELD = re.compile(r"\$\{([^}]+)\}")


def fields(name: str, version: str, held: bool) -> dict[str, str]:
    return {
        "Package": name,
        "binary:Package": name,
        "Version": version,
        "Status": f"{'hold' if held else 'install'} ok installed",
        "db:Status-Status": "installed",
        "db:Status-Abbrev": "hi " if held else "ii ",
    }


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    installed: dict[str, str] = json.loads((root / "var/lib/dpkg/status.json").read_text())
    held = read(root / "var/lib/dpkg/held.json")
    shown = "${binary:Package}\t${Version}\n"
    names: list[str] = []
    for word in arguments:
        if word.startswith(("-f=", "--showformat=")):
            shown = word.partition("=")[2]
        elif not word.startswith("-"):
            names.append(word)
    code = 0
    for name in names or sorted(installed):
        if name not in installed:
            sys.stderr.write(f"dpkg-query: no packages found matching {name}\n")
            code = 1
            continue
        values = fields(name, installed[name], name in held)
        text = shown.replace("\\n", "\n").replace("\\t", "\t")
        sys.stdout.write(FIELD.sub(lambda match, values=values: values.get(match[1], ""), text))  # type: ignore[misc]
    return code
