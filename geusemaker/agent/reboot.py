"""Whether the instance is to boot anew: what was patched runs only then."""

from __future__ import annotations

import os
import re
from pathlib import Path

from geusemaker.agent.files import read_text, write_atomic


def why_reboot(root: Path, running: str | None = None) -> list[str]:
    """Why, one phrase each; empty: it need not.

    Packages ask for it by ``/run/reboot-required`` (Debian's unattended-upgrades does for a kernel, by
    ``/etc/kernel/postinst.d/unattended-upgrades``), with their names in ``reboot-required.pkgs``. Where nobody writes
    that, a kernel that is installed and newer than the one that runs tells it.

    Args:
        root: where the instance's paths lie.
        running: the kernel that runs, as ``uname -r`` has it; None: it is asked.
    """
    reasons = []
    if (root / "run/reboot-required").exists():
        asked = read_text(root / "run/reboot-required.pkgs") or ""
        packages = sorted({line.strip() for line in asked.splitlines() if line.strip()})
        reasons.append(f"{', '.join(packages) or 'an update'} asks for it")
    running = os.uname().release if running is None else running
    installed = [file.name.removeprefix("vmlinuz-") for file in (root / "boot").glob("vmlinuz-*")]
    # Without the running one among them these are not its own: a container shows its host's.
    newer = [one for one in installed if running in installed and _order(one) > _order(running)]
    if newer:
        reasons.append(f"kernel {max(newer, key=_order)} is installed, {running} runs")
    return reasons


def boot_id(root: Path) -> str:
    """What tells this boot from others: ``/run`` is empty after each, so whoever looks first puts a mark there."""
    mark = root / "run/geusemaker/boot"
    if (known := read_text(mark)) is not None:
        return known
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, os.urandom(8).hex())
    return read_text(mark) or ""


def _order(release: str) -> list[tuple[int, int, str]]:
    """A kernel's release to be compared: numbers as numbers, so that 6.12.9 is before 6.12.43."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", release)]
