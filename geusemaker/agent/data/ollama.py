"""Ollama's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.listing import listed
from geusemaker.agent.document import Json

OLLAMA_PORT: Final = 11434


def on_disk(efs: Path) -> list[str] | None:
    """The models that the files alone tell of (touches EFS)."""
    models = efs / "ollama/models/manifests"
    if not models.is_dir():
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


def _model_name(parts: Sequence[str]) -> str:
    registry, namespace, model, tag = parts
    prefix = "" if registry == "registry.ollama.ai" else f"{registry}/"
    return f"{prefix}{model}:{tag}" if namespace == "library" and not prefix else f"{prefix}{namespace}/{model}:{tag}"
