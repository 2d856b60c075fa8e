"""What of a container's privileges a service keeps, from the third rendering of the compose file on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Confinement:
    """All other capabilities go, and no process of the container gets more than it began with.

    docs.docker.com/engine/security, "Linux kernel capabilities"; kernel.org, no_new_privs.
    """

    capabilities: tuple[str, ...] = ()
    """Those that it keeps of the ones that Docker gives to every container."""
    read_only: bool = False
    """Whether it may write nowhere but where something is mounted."""
    writable: tuple[str, ...] = ()
    """Where it has a file system in memory all the same."""
    processes: int = 0
    """So many it may have at most; 0: as many as it likes."""


NONE: Final = Confinement()
"""It keeps none."""

AS_ROOT_ON_DATA: Final = Confinement(capabilities=("DAC_OVERRIDE",))
"""It runs as root and needs no privilege of root's but one: data may belong to another user, as after a change of the
image's variant, or what somebody copied there."""
