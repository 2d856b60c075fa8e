"""The behavioural half of a resource type: what the engine's calls mean in AWS calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from geusemaker.local_cloud.providers.aws.api import Aws
from geusemaker.local_cloud.providers.schema import Property, Schema

Values = Mapping[str, Any]

REGION = Property(replaces=True, computed=True)
TAGS: Mapping[str, Property] = {"tags": Property(), "tagsAll": Property(computed=True)}


class Resource:
    """One resource type. Methods raise ProviderError; inputs are checked and hold no unknowns."""

    schema: ClassVar[Schema]

    def create(self, aws: Aws, inputs: Values) -> str:
        """Create it and return its id; what follows (waiting) belongs to :meth:`settle`."""
        raise NotImplementedError

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        """Finish what was created. A failure here leaves a resource that the engine keeps and updates next time."""

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        """What AWS says it is now; ``None`` when it is gone."""
        raise NotImplementedError

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        """Change it in place; ``changed`` names the input properties that differ."""
        raise NotImplementedError

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        """Remove it; it being gone already is fine."""
        raise NotImplementedError

    def also_replaces(self, aws: Aws, olds: Values, news: Values, changed: set[str]) -> set[str]:
        """Properties whose change replaces for a reason that a table cannot tell."""
        return set()

    def unknown_after(self, changed: set[str]) -> set[str]:
        """Outputs that an update of these properties makes unknown until it was carried out."""
        return set()
