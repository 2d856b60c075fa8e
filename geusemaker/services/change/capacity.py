"""Asks EC2, while the engine resizes an instance, whether there is any use in waiting for it to start.

The provider repeats in silence what AWS has no capacity for. Its attempts are bounded by its own setting
(``engine/keys.py``); this is the bound where a provider does not keep to that.
"""

from __future__ import annotations

from typing import Final

from geusemaker.cloud.refusals import find_refusal
from geusemaker.errors import GeusemakerError
from geusemaker.services.change.work import Work

PATIENCE: Final = 25.0
"""Seconds that an instance may stay stopped after its type was changed; one that starts does so at once."""
_ASKED_EACH: Final = 5.0
_NO_CAPACITY: Final = "InsufficientInstanceCapacity"


class Capacity:
    """Called again and again while the engine runs: why it is to be stopped; empty: it is not."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._asked = float("-inf")
        self._stopped_since: float | None = None

    def __call__(self) -> str:
        work, clock = self._work, self._work.collaborators.clock
        now = clock.monotonic()
        if now - self._asked < _ASKED_EACH:
            return ""
        self._asked = now
        cloud = work.collaborators.cloud(work.change.target.region)
        try:
            instance = cloud.find_instance(work.asked.name)
            waits = (
                instance is not None and instance.state == "stopped" and instance.type == work.plan.config.instance_type
            )
            if not waits or instance is None:
                self._stopped_since = None
                return ""
            self._stopped_since = now if self._stopped_since is None else self._stopped_since
            if now - self._stopped_since < PATIENCE:
                return ""
            said = cloud.why_not_started(instance.id)
        except GeusemakerError:
            return ""  # what AWS does not answer now, the run's own deadline ends
        refusal = find_refusal([said])
        return said if refusal is not None and refusal.code == _NO_CAPACITY else ""
