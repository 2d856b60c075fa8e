"""The units of an instance: their files, and whether they are enabled."""

from __future__ import annotations

import re
from pathlib import Path

OF_THE_HOST = frozenset({"systemd-journald.service", "systemd-timesyncd.service"})
"""What runs on Debian's AMI from its first boot on. Here the machine that the local cloud is on does their work."""


def escape_path(path: str) -> str:
    """systemd.unit(5): ``/mnt/efs`` is the unit ``mnt-efs``, a dash in a name is written ``\\x2d``."""
    return "-".join(part.replace("-", "\\x2d") for part in path.strip("/").split("/"))


def seconds_of(text: str) -> float | None:
    """A time span of one unit, as in systemd.time(7); without a unit it is seconds. None: it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|min|h|)", text)
    return float(found[1]) * {"ms": 0.001, "min": 60, "h": 3600}.get(found[2], 1) if found else None


def full_name(name: str) -> str:
    return name if "." in name.rpartition("/")[2] else f"{name}.service"


class Unit:
    """A unit: its file, with the drop-ins, and whether it is enabled."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.folder = root / "etc/systemd/system"
        self.settings: dict[str, list[str]] = {}
        self.file = next(
            (file for file in (self.folder / name, root / "usr/lib/systemd/system" / name) if file.is_file()), None
        )
        if self.file is not None:
            drop_ins = sorted((self.folder / f"{name}.d").glob("*.conf"))
            for file in [self.file, *drop_ins]:
                self._read(file)

    def _read(self, file: Path) -> None:
        section = ""
        for raw in file.read_text().splitlines():
            line = raw.strip()
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
                self.settings.setdefault(section, [])
            elif "=" in line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                self.settings.setdefault(f"{section}.{key.strip()}", []).append(value.strip())

    def get(self, key: str, default: str = "") -> str:
        values = self.settings.get(key)
        return values[-1] if values else default

    def words(self, *keys: str) -> list[str]:
        return [word for key in keys for value in self.settings.get(key, []) for word in value.split()]

    @property
    def enabled(self) -> bool:
        return any(True for _ in self.folder.glob(f"*.wants/{self.name}"))

    @property
    def required_mounts(self) -> list[Unit]:
        """The mount units that must be there before this one may start."""
        names = [f"{escape_path(path)}.mount" for path in self.words("Unit.RequiresMountsFor")]
        names += [name for name in self.words("Unit.Requires", "Unit.BindsTo") if name.endswith(".mount")]
        units = [Unit(self.root, name) for name in dict.fromkeys(names)]
        return [unit for unit in units if unit.file is not None]
