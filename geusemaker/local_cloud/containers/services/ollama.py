"""Ollama: models are files in its folder, by the layout of the real one (manifests beside blobs)."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.container import Container, StartError, complain
from geusemaker.local_cloud.containers.services.image import Image
from geusemaker.local_cloud.files import write

PORT = 11434
HOME = "/root/.ollama"

IMAGE: Final = Image(
    "ollama/ollama",
    {
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", f"OLLAMA_HOST=0.0.0.0:{PORT}"],
        "Entrypoint": ["/bin/ollama"],
        "Cmd": ["serve"],
    },
    tags=("0.9.6", "0.9.6-rocm", "0.32.15", "0.32.15-rocm", "0.33.0", "0.33.0-rc2", "0.33.0-rocm", "latest"),
)


def run(container: Container) -> None:
    """Start; returns when it serves."""
    no_prune = container.environment.get("OLLAMA_NOPRUNE", "false")
    complain(f'time=2025-01-01T00:00:00.000Z level=INFO msg="server config" OLLAMA_NOPRUNE={no_prune}')
    if container.misbehaviour == "crash":
        raise StartError(
            "panic: runtime error: invalid memory address or nil pointer dereference\n\ngoroutine 1 [running]:"
        )
    home = container.path(HOME)
    manifests, blobs = home / "models/manifests/registry.ollama.ai/library", home / "models/blobs"
    manifests.mkdir(parents=True, exist_ok=True)
    blobs.mkdir(parents=True, exist_ok=True)
    key = home / "id_ed25519"
    if not key.exists():
        key.write_text("stand-in for the key by which ollama.com knows this server\n")
        key.chmod(0o600)

    def version(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, {"version": container.version})

    def tags(request: http.Request) -> Any:
        http.ready_or_503(container.is_ready, {})
        found = []
        for path in sorted(manifests.glob("*/*")):
            if path.name.startswith("."):
                continue
            data = path.read_bytes()
            size = sum(layer["size"] for layer in json.loads(data)["layers"])
            name = f"{path.parent.name}:{path.name}"
            found.append({"name": name, "model": name, "size": size, "digest": hashlib.sha256(data).hexdigest()})
        return {"models": found}

    def pull(request: http.Request) -> Any:
        document = request.json()
        name, _, tag = str(document.get("model") or document.get("name") or "").partition(":")
        if not name or "/" in name or name.startswith("."):
            raise http.HttpError(400, {"error": "invalid model name"})
        data = f"weights of {name}:{tag or 'latest'}\n".encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        write(blobs / digest.replace(":", "-"), data)
        manifest = {"schemaVersion": 2, "layers": [{"digest": digest, "size": len(data)}]}
        (manifests / name).mkdir(exist_ok=True)
        write(manifests / name / (tag or "latest"), json.dumps(manifest).encode())
        return {"status": "success"}

    routes = [
        ("GET", "/", lambda request: "Ollama is running"),
        ("GET", "/api/version", version),
        ("GET", "/api/tags", tags),
        ("POST", "/api/pull", pull),
    ]
    http.serve(container.listener(PORT), routes, {"X-Image-Tag": container.tag})
    complain(f'time=2025-01-01T00:00:00.000Z level=INFO msg="Listening on [::]:{PORT} (version {container.version})"')
