"""After how many seconds a verb is given up whatever it is doing: one table, for the agent and for who waits for it.

Apart from the protocol, because the agent starts with it.
"""

from __future__ import annotations

from typing import Final

DEADLINES: Final[dict[str, float]] = {
    "mount": 1800,
    "begin": 420,  # it may have to mount the data first, which may take a minute for each mount
    "end": 60,
    "cancel": 20,  # somebody who pressed Ctrl-C waits for it; it ends what it finds within ten seconds
    "lease": 60,
    "adoption": 60,
    "prefetch": 3600,
    "checkpoint": 3600,
    "checkpoints": 300,
    "schedule": 240,
    "backup": 7200,  # a checkpoint, and all of it read once more
    "restore": 14_400,
    "load": 14_400,
    "rehearse": 14_400,
    "hold": 720,
    "stop": 720,
    "start": 900,
    "restart": 720,
    "newer": 900,  # it may have to wait for whoever else uses apt
    "renew": 2400,
    "authorize": 60,
    "password": 60,
    "key": 60,
    "apply": 3600,
    "gate": 3600,
    "health": 45,  # `status` waits for it, on an instance whose Docker hangs as well
    "measure": 60,
    "manifest": 300,
    "logs": 600,
    "evidence": 60,  # the way back waits for it
    "gc": 600,
    "journal": 60,
    "watch": 240,  # a look, and all addresses, of which each has its time
    "notify": 1200,  # it may install a package
    "notice": 4200,  # an hour or so of looks, and the last one may stop services
}

MARGIN: Final = 30.0
"""For what the agent does not see: connection and log-in, an installation of the agent, and ending its children."""


def patience(verb: str) -> float:
    """How many seconds to wait for a verb's answer: whoever asks never gives up before the agent does."""
    return DEADLINES[verb] + MARGIN
