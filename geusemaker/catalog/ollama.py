"""Ollama: models, which any release reads."""

from __future__ import annotations

from typing import Final

from geusemaker.catalog.confinement import AS_ROOT_ON_DATA
from geusemaker.catalog.package import Package
from geusemaker.catalog.service import Data, Service

_OVERHEAD: Final = 1.2
"""A loaded model takes its file's size and about a fifth more, with a long context more than that:
https://www.substratus.ai/blog/calculating-gpu-memory-for-llm."""


def _fitting(memory_mib: int, gpu_mib: int) -> str:
    """Which models fit, in the sizes that ``ollama list`` shows: GB of 10^9 bytes."""
    held = f"Ollama has {memory_mib / 1024:.1f} GiB of memory: models of up to about {_model_gb(memory_mib)} GB fit"
    if not gpu_mib:
        return held
    on_gpu = f"into the {gpu_mib / 1024:.0f} GiB of the GPU, which is fast"
    return f"{held}; of up to about {_model_gb(gpu_mib)} GB {on_gpu}"


def _model_gb(mib: int) -> str:
    size = mib * 2**20 / _OVERHEAD / 1e9
    return f"{size:.1f}" if size < 10 else f"{size:.0f}"


SERVICE: Final = Service(
    name="ollama",
    title="Ollama",
    start_order=30,
    image="ollama/ollama:0.32.15",
    repositories=("ollama/ollama",),
    package=Package("Go", "github.com/ollama/ollama"),
    port=11434,
    memory_share=8,
    since=1,
    takes_rest=True,
    least_mib=256,
    uses_gpu=True,
    fitting=_fitting,
    data=Data(path="/root/.ollama", uid=0, models=True),  # github.com/ollama/ollama, Dockerfile
    # Models are read from EFS: loading takes longer than its default allows, and pruning at start would delete blobs
    # that an older version still needs.
    environment={"OLLAMA_LOAD_TIMEOUT": "15m", "OLLAMA_NOPRUNE": "1"},
    open=frozenset({"OLLAMA_LOAD_TIMEOUT"}),
    reserved=frozenset({"OLLAMA_HOST", "OLLAMA_MODELS"}),
    lately_reserved=frozenset({"HOME"}),
    # /api/version answers at once; /api/tags reads the store of models (server/routes.go).
    readiness={"kind": "http", "path": "/api/tags", "json": True},
    # Upstream says nothing. Its Dockerfile starts one program as root, which changes no user and no owner; devices of
    # GPUs are handed in by the container toolkit.
    confinement=lambda _image: AS_ROOT_ON_DATA,
    listed="models",
)
