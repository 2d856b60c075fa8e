"""Ollama: models, which any release reads."""

from __future__ import annotations

from typing import Final

from geusemaker.catalog.service import Data, Service

SERVICE: Final = Service(
    name="ollama",
    title="Ollama",
    image="ollama/ollama:0.32.15",
    repositories=("ollama/ollama",),
    port=11434,
    memory_share=8,
    least_mib=256,
    uses_gpu=True,
    data=Data(path="/root/.ollama", uid=0),  # github.com/ollama/ollama, Dockerfile
    # Models are read from EFS: loading takes longer than its default allows, and pruning at start would delete blobs
    # that an older version still needs.
    environment={"OLLAMA_LOAD_TIMEOUT": "15m", "OLLAMA_NOPRUNE": "1"},
    open=frozenset({"OLLAMA_LOAD_TIMEOUT"}),
    reserved=frozenset({"OLLAMA_HOST", "OLLAMA_MODELS"}),
    lately_reserved=frozenset({"HOME"}),
    # /api/version answers at once; /api/tags reads the store of models (server/routes.go).
    readiness={"kind": "http", "path": "/api/tags", "json": True},
    listed="models",
)
