"""Ollama's models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.listing import listed, told
from geusemaker.agent.document import Json

OLLAMA_PORT: Final = 11434


def on_disk(places: Iterable[Path]) -> list[str] | None:
    """The models that the files alone tell of (touches EFS); ``places``: where they may lie."""
    models = next((there for place in places if (there := place / "ollama/models/manifests").is_dir()), None)
    if models is None:
        return None
    # manifests/registry.ollama.ai/library/llama3/8b is the model that Ollama calls llama3:8b
    return sorted(_model_name(path.relative_to(models).parts) for path in models.glob("*/*/*/*") if path.is_file())


def manifest(agent: Agent, running: Mapping[str, Container], on_disk: Json) -> Json | None:
    """Ollama's part of the manifest; None where there is no Ollama and never was."""
    there, known = "ollama" in running, on_disk["ollama"]
    if not there and known is None:
        return None
    names, source = listed(agent, there, OLLAMA_PORT, "/api/tags", ("models",))
    return {"models": known if names is None else names, "source": source}


def sizes(agent: Agent, running: Mapping[str, Container]) -> dict[str, int] | None:
    """Model → bytes, as Ollama tells it; None where it cannot be asked."""
    items = told(agent, "ollama" in running, OLLAMA_PORT, "/api/tags", ("models",))[0]
    if items is None:
        return None
    return {str(item.get("name")): int(item.get("size") or 0) for item in items if isinstance(item, dict)}


def _model_name(parts: Sequence[str]) -> str:
    registry, namespace, model, tag = parts
    prefix = "" if registry == "registry.ollama.ai" else f"{registry}/"
    return f"{prefix}{model}:{tag}" if namespace == "library" and not prefix else f"{prefix}{namespace}/{model}:{tag}"
