"""The engine's steps, told in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from geusemaker.models import resource_types

if TYPE_CHECKING:
    from geusemaker.models.plan import Event

_DONE = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
_GROUP_SECONDS = 5.0
"""Steps of the engine that ended within this time are one line."""


class Steps:
    """Steps of the engine that have ended, to be told together: what was done → to which resources."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ended: dict[str, list[str]] = {}
        self._since = 0.0

    def takes(self, event: Event) -> bool:
        """Whether the event belongs to a group; what runs on the instance and what failed is told by itself.

        That a resource is begun with is told of the instance alone, whose change is what takes long.
        """
        kind = event.data.get("type")
        if event.kind != "resource" or not kind or kind == resource_types.REMOTE_COMMAND or event.state == "failed":
            return False
        if event.state != "done":
            return bool(kind != resource_types.INSTANCE)
        if not self._ended:
            self._since = self._clock()
        done = _DONE.get(str(event.data.get("op")), f"{event.data.get('op')} done:")
        self._ended.setdefault(done, []).append(f"{str(kind).rpartition(':')[2]} {event.name}")
        return True

    @property
    def due(self) -> bool:
        """Whether the oldest of them has waited long enough."""
        return bool(self._ended) and self._clock() - self._since >= _GROUP_SECONDS

    def told(self) -> str:
        """All of them as one text, and none from then on."""
        text = "; ".join(f"{done} {', '.join(names)}" for done, names in self._ended.items())
        self._ended = {}
        return text
