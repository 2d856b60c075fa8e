"""How the instance is, as its agent tells it, with a view to what is to be made real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from geusemaker.agent.protocol.looks import Health
from geusemaker.agent.protocol.stored import Sentinel
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig, Target
from geusemaker.program.compose import render

ROOM_FOR_IMAGES_GIB: Final = 8
"""About what the images of a version take; looked at where the registry does not tell sizes."""
_MOUNTED_FIRST: Final = "not mounted; that is done first, and nothing starts without"
UNPACKED: Final = 2.7
"""How much larger layers are on disk than in the registry, which tells compressed sizes. Measured: 1.5 GB of a Debian
system's /usr as a tar file, by `gzip -6`, the level that Docker and BuildKit use."""


def run_host_checks(health: Health, config: StackConfig, target: Target, to_pull: int | None = 0) -> list[CheckResult]:
    """Judge how the instance is, with a view to the config that is to be made real.

    ``to_pull``: bytes of the images that are to be pulled, compressed; None where that is not known.
    """
    checks = [check_mount(health)]
    if target.has_data_volume:
        checks.append(check_volume_mount(health))
    return [*checks, check_volumes(health, config, target), check_disk(health, to_pull)]


def check_mount(health: Health) -> CheckResult:
    """The instance has the data's file system mounted."""
    if not health.mount.mounted:
        return CheckResult(name="EFS mount", status="warn", detail=_MOUNTED_FIRST)
    return CheckResult(name="EFS mount", status="pass", detail=f"{health.mount.file_system_id} is mounted")


def check_data(health: Health, deployment: str) -> CheckResult:
    """The mounted file system answers, and holds the deployment's own data: its sentinel file tells."""
    name = "data"
    mounted = str(health.mount.file_system_id)
    if not health.mount.mounted:
        return CheckResult(name=name, status="warn", detail="looked at when it is mounted")
    if health.data_problem:
        return CheckResult(name=name, status="fail", detail=health.data_problem.rstrip("."))
    known = health.sentinel_known
    if problem := sentinel_problem(health.sentinel, known, deployment, mounted):
        return CheckResult(name=name, status="fail", detail=problem)
    detail = f"{mounted} is the one it was made on" if known else "an agent of before does not tell"
    return CheckResult(name=name, status="pass" if known else "warn", detail=detail)


def sentinel_problem(sentinel: Sentinel | None, known: bool, name: str, file_system_id: str) -> str:
    """What the sentinel file says against the data on the mounted file system; empty when nothing."""
    if not known:
        return ""
    if sentinel is None:
        return (
            f"the sentinel file on {file_system_id} is gone: its data was removed or replaced. Nothing is changed on "
            "it. Bring the file system's content back from its backup (docs/data.md), .geusemaker/sentinel.json "
            "included"
        )
    if (owner := sentinel.deployment) not in (None, name):
        return f"{file_system_id} holds the data of another deployment: {owner}. Nothing is changed on it"
    if (made_on := sentinel.file_system_id) not in (None, file_system_id):
        return f"the data on {file_system_id} is a copy: it was made on {made_on}. Nothing is changed on it"
    return ""


def check_volume_mount(health: Health) -> CheckResult:
    """The instance has the data volume mounted, and there is room on it."""
    volume = health.data_volume
    if volume is None or not volume.mounted:
        return CheckResult(name="volume mount", status="warn", detail=_MOUNTED_FIRST)
    detail = f"{volume.id} is mounted, {_gib(volume.free_bytes)} of {_gib(volume.total_bytes)} free"
    full = volume.free_bytes < volume.total_bytes / 10
    return CheckResult(name="volume mount", status="warn" if full else "pass", detail=detail)


def check_volumes(health: Health, config: StackConfig, target: Target) -> CheckResult:
    """Each service finds its data where it has been: an empty folder in its place would look like a loss."""
    services = render(
        config, data_volume=target.has_data_volume, site=target.site, models_on_volume=target.models_on == "volume"
    )["services"]
    there = health.volumes  # an agent of before does not tell
    moved = [
        f"{name} would have {wanted or 'no data'} instead of {there[name] or 'none'}"
        for name, wanted in ((name, list(service.get("volumes", ()))) for name, service in services.items())
        if name in there and _has_moved(there[name], wanted, own=name in config.own_services)
    ]
    if moved:
        return CheckResult(name="volumes", status="fail", detail="; ".join(moved))
    return CheckResult(name="volumes", status="pass", detail="each service's data stays where it is")


def _has_moved(before: Sequence[str], wanted: Sequence[str], *, own: bool) -> bool:
    """Whether a service would find other data than it had; an own one may get folders more, or do without one."""
    if not own:
        return list(before) != list(wanted)
    places = {path: source for source, _, path in (one.rpartition(":") for one in before)}
    return any(places.get(path, source) != source for source, _, path in (one.rpartition(":") for one in wanted))


def check_disk(health: Health, to_pull: int | None) -> CheckResult:
    """The instance's disk has room for the images that are to be pulled.

    It is an estimate; the prefetch, before anything stops, has the last word.
    """
    free = health.disk.free_bytes
    room = f"{_gib(free)} free"
    if to_pull is None:
        enough = free >= ROOM_FOR_IMAGES_GIB * 2**30
        detail = f"{room}; how much the images need is not known"
        return CheckResult(name="disk space", status="pass" if enough else "warn", detail=detail)
    needed = to_pull * UNPACKED
    if not needed:
        return CheckResult(name="disk space", status="pass", detail=f"{room}; every image is there")
    need = f"images to pull take about {_gib(needed)} ({_gib(to_pull)} compressed)"
    if needed <= free:
        return CheckResult(name="disk space", status="pass", detail=f"{room}; {need}")
    larger = -(-int(health.disk.total_bytes + needed - free) // 2**30) // 10 * 10 + 10
    detail = f"{room}, but {need}; a larger disk has to come first, in an update of its own: --root-volume {larger}"
    return CheckResult(name="disk space", status="fail", detail=detail)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
