"""A rehearsal: a Compose project of its own beside what runs. What is in it, whether there is room, how it goes.

Its folder is on the instance's own disk for as long as anything of it is there: made first, removed last. So whoever
takes the lease next knows by one look that something was left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text
from geusemaker.agent.images import Image

REHEARSAL: Final = "geusemaker-rehearsal"
REHEARSED: Final = ("postgresql", "n8n")
"""The services that a rehearsal has, in the order in which they start."""
RESERVE_BYTES: Final = 1 << 30
"""Of the disk, left over for what else is written to it meanwhile."""
LEAST_FREE: Final = 0.15
"""Of the memory: a rehearsal that leaves less is not begun, and one that comes to leave less ends."""
SHARED_PORT: Final = 15432
"""PostgreSQL's, where all instances share a machine's network (the process runtime of the local cloud)."""

_OWN: Final = frozenset({"ports", "networks", "restart", "volumes", "image", "labels", "env_file", "environment"})
"""What of a definition is another one in a rehearsal."""


class Memory(NamedTuple):
    """The instance's, in bytes (``MemTotal``, ``MemAvailable`` of proc(5))."""

    total: int
    available: int


class Room(NamedTuple):
    """What there is on the instance, and what a rehearsal takes, in bytes."""

    copy: int
    """The data that is copied. It is there twice for a while: as a dump, and loaded."""
    disk_free: int
    memory: Memory
    memory_needed: int
    """What its services cannot live without."""

    def lacks(self) -> str:
        """What there is not enough of, with the figures; empty: there is room."""
        needed = 2 * self.copy + RESERVE_BYTES
        if self.disk_free < needed:
            return (
                f"The instance's disk has {_mib(self.disk_free)} free, and a rehearsal needs {_mib(needed)}: twice the "
                f"{_mib(self.copy)} that are copied, and {_mib(RESERVE_BYTES)} in reserve"
            )
        reserve = int(self.memory.total * LEAST_FREE)
        if self.memory.available < self.memory_needed + reserve:
            return (
                f"The instance has {_mib(self.memory.available)} of memory available, and a rehearsal needs "
                f"{_mib(self.memory_needed + reserve)}: {_mib(self.memory_needed)} for its services, and "
                f"{_mib(reserve)} in reserve"
            )
        return ""


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def parse_memory(text: str) -> Memory:
    """``/proc/meminfo``'s text.

    Raises:
        AgentError: bad_state
    """
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    if "MemTotal" not in found or "MemAvailable" not in found:
        raise AgentError("bad_state", "How much memory the instance has available cannot be read.")
    return Memory(found["MemTotal"], found["MemAvailable"])


def read_memory(agent: Agent) -> Memory:
    """How much memory there is now."""
    own = read_text(agent.root / "proc/meminfo")
    return parse_memory(own if own is not None else Path("/proc/meminfo").read_text())


def rehearsal_project(
    live: Json, images: Mapping[str, Image], environment: Mapping[str, Mapping[str, str]], folder: Path, published: str
) -> Json:
    """The compose file of a rehearsal: as what runs, on copies, in a network that leads nowhere, and without ports.

    Args:
        live: the services of the compose file that runs.
        images: service → the image that it has in the rehearsal.
        environment: service → the variables that are others there.
        folder: the rehearsal's own.
        published: an address at which PostgreSQL is published all the same; empty: there is none.
    """
    services = {}
    for name, image in images.items():
        definition: Json = live[name]
        targets = [volume.rpartition(":")[2] for volume in definition.get("volumes", ())]
        services[name] = {
            **{key: value for key, value in definition.items() if key not in _OWN},
            "image": image.by_digest,
            "labels": {"io.geusemaker.image": f"{image.repository}:{image.tag or 'latest'}"},
            "environment": {**(definition.get("environment") or {}), **environment.get(name, {})},
            "networks": ["inside"],
            # A boot does not bring it back, what serves comes first, and it is the first that the kernel ends.
            "restart": "no",
            "cpu_shares": 128,
            "oom_score_adj": 1000,
            "volumes": [f"{str(folder / 'data' / name).replace('$', '$$')}:{target}" for target in targets],
            **({"env_file": [f"./{name}.env"]} if definition.get("env_file") else {}),
            **({"ports": [f"{published}:{SHARED_PORT}:5432"]} if published and name == "postgresql" else {}),
        }
    return {"name": REHEARSAL, "networks": {"inside": {"internal": True}}, "services": services}


def neutralising(columns: Sequence[tuple[str, str]]) -> list[str]:
    """The statements after which nothing in a copy of n8n's database begins by itself.

    Workflows are inactive (``active`` up to 1.x; 2.x runs what is published), and executions that wait, are queued or
    ran are over. n8n's sources, packages/@n8n/db/src/entities: workflow-entity, workflow-published-version,
    execution-entity.

    Args:
        columns: (table, column) of the schema ``public``, as this release's migrations made it.
    """
    known = set(columns)
    statements = []
    if ("workflow_entity", "active") in known:
        statements.append("UPDATE public.workflow_entity SET active = false")
    if ("workflow_entity", "activeVersionId") in known:
        statements.append('UPDATE public.workflow_entity SET "activeVersionId" = NULL')
    if any(table == "workflow_published_version" for table, _ in known):
        statements.append("DELETE FROM public.workflow_published_version")
    if ("execution_entity", "status") in known:
        statements.append(
            "UPDATE public.execution_entity SET status = 'canceled' "
            "WHERE status IN ('new', 'running', 'waiting', 'unknown')"
        )
    if ("execution_entity", "waitTill") in known:
        statements.append('UPDATE public.execution_entity SET "waitTill" = NULL')
    return statements


def is_isolated(agent: Agent) -> bool:
    """Whether the instance has a network of its own, in which a rehearsal's leads nowhere."""
    return agent.root == Path("/")


def clear_rehearsal(agent: Agent) -> bool:
    """Remove all that there is of a rehearsal; whether there was any.

    Raises:
        AgentError: docker_failed
    """
    import shutil

    if not agent.rehearsal.exists():
        return False
    label = f"label=com.docker.compose.project={REHEARSAL}"
    listed = agent.docker("ps", "-a", "-q", "--no-trunc", "--filter", label, timeout=30)
    names = listed.out.split()
    removed = agent.docker("rm", "--force", *names, timeout=60) if names else listed
    if listed.code != 0 or (removed.code != 0 and "no such" not in removed.err.lower()):
        raise AgentError("docker_failed", f"A rehearsal's containers could not be removed: {removed.reason()}")
    pruned = agent.docker("network", "prune", "--force", "--filter", label, timeout=30)
    if pruned.code != 0:
        raise AgentError("docker_failed", f"A rehearsal's network could not be removed: {pruned.reason()}")
    # Secrets first: should this be ended in the middle, they are gone.
    for file in agent.rehearsal.glob("*.env"):
        file.unlink(missing_ok=True)
    shutil.rmtree(agent.rehearsal)
    return True


def sweep_rehearsal(agent: Agent) -> None:
    """Remove what a rehearsal left whose operation is over. That it cannot be stands in nobody's way, and is told."""
    cleared, problem = or_problem(lambda: clear_rehearsal(agent))
    if problem:
        agent.reporter.note(f"What a rehearsal left is still there: {problem}")
    elif cleared:
        agent.reporter.note("What a rehearsal left was removed.")
