"""Ollama's models."""

from __future__ import annotations

from collections.abc import Sequence


def model_name(parts: Sequence[str]) -> str:
    registry, namespace, model, tag = parts
    prefix = "" if registry == "registry.ollama.ai" else f"{registry}/"
    return f"{prefix}{model}:{tag}" if namespace == "library" and not prefix else f"{prefix}{namespace}/{model}:{tag}"
