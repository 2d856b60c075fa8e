"""How a rollback of some services alone is told, wherever it is; a module of its own, since views load no models."""

from __future__ import annotations

from collections.abc import Mapping


def parts_told(services_from: Mapping[str, int]) -> str:
    """``n8n and qdrant back to v2``; empty where no service went back alone."""
    names: dict[int, list[str]] = {}
    for name, number in services_from.items():
        names.setdefault(number, []).append(name)
    return ", ".join(f"{' and '.join(those)} back to v{number}" for number, those in names.items())
