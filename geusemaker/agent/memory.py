"""How much memory a container uses, by the kernel's own count (cgroup v2)."""

from __future__ import annotations

from pathlib import Path

from geusemaker.agent.files import read_text


def memory_of(cgroups: Path, pid: int) -> tuple[int | None, int | None]:
    """(bytes in use, bytes allowed) of the container that this process is the first of; None: it cannot be told.

    Pages of files that the kernel can let go of are not counted, as `docker stats` does not either:
    https://docs.docker.com/reference/cli/docker/container/stats/. For the files see
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files.
    """
    group = _group_of(pid)
    if group is None:
        return None, None
    folder = cgroups / group.lstrip("/")
    used, limit = _number(read_text(folder / "memory.current")), _number(read_text(folder / "memory.max"))
    if used is None:
        return None, limit
    fields = dict(line.split(maxsplit=1) for line in (read_text(folder / "memory.stat") or "").splitlines())
    return max(0, used - (_number(fields.get("inactive_file")) or 0)), limit


def _group_of(pid: int) -> str | None:
    """Its group in the one tree that cgroup v2 has, the line ``0::/…``."""
    try:
        lines = (read_text(Path(f"/proc/{pid}/cgroup")) or "").splitlines()
    except OSError:  # it ended in between
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def _number(text: str | None) -> int | None:
    """A count; None for ``max``, and where there is no such file."""
    word = (text or "").strip()
    return int(word) if word.isdigit() else None
