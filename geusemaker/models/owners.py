"""Which user a service's image runs as: its data has to belong to that user. Pure.

Source: the Dockerfiles of github.com/docker-library/postgres (999, Alpine 70), n8n-io/n8n (node, 1000), qdrant/qdrant
(root, ``-unprivileged`` 1000) and ollama/ollama (root).
"""

from __future__ import annotations

from typing import Final

from geusemaker.models.image import ImageReference

_DEFAULTS: Final[dict[str, int]] = {"postgresql": 999, "n8n": 1000, "ollama": 0, "qdrant": 0}
_VARIANTS: Final[dict[str, tuple[str, int]]] = {"postgresql": ("alpine", 70), "qdrant": ("unprivileged", 1000)}
"""Service → (what the tag of another variant holds, the user that one runs as)."""


def owner(service: str, image: ImageReference) -> int:
    """The numeric id of the user, and of its group."""
    word, uid = _VARIANTS.get(service, ("", 0))
    return uid if word and word in image.tag else _DEFAULTS[service]
