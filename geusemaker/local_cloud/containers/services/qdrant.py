"""Qdrant: collections are folders of its storage."""

from __future__ import annotations

import json
import re
import shutil
import time
from typing import Any

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.run import Container, StartError, log

PORT = 6333
STORAGE = "/qdrant/storage"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")


def run(container: Container) -> None:
    """Start; returns when it serves."""
    log(f"Version: {container.version}, build: 00000000")
    if container.misbehaviour == "crash":
        raise StartError(
            "ERROR qdrant::startup: Panic occurred in file src/main.rs at line 261: Can't open storage: "
            "Service internal error: RocksDB open error"
        )
    storage = container.path(STORAGE)
    collections = storage / "collections"
    collections.mkdir(parents=True, exist_ok=True)
    raft = storage / "raft_state.json"
    if not raft.exists():
        raft.write_text(
            json.dumps({"state": {"hard_state": {"term": 0, "vote": 0, "commit": 0}}, "peer_address_by_id": {}})
        )

    def found(name: str) -> bool:
        return _NAME.fullmatch(name) is not None and (collections / name / "config.json").exists()

    def answer(result: Any) -> Any:
        return {"result": result, "status": "ok", "time": 0.0}

    def health(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, "healthz check passed")

    def about(request: http.Request) -> Any:
        return {"title": "qdrant - vector search engine", "version": container.version, "commit": "0" * 40}

    def listing(request: http.Request) -> Any:
        names = sorted(path.name for path in collections.iterdir() if found(path.name))
        return answer({"collections": [{"name": name} for name in names]})

    def show(request: http.Request) -> Any:
        name = request.match["name"]
        if not found(name):
            raise http.HttpError(
                404, {"status": {"error": f"Not found: Collection `{name}` doesn't exist!"}, "time": 0.0}
            )
        config = json.loads((collections / name / "config.json").read_text())
        points = len(json.loads((collections / name / "points.json").read_text()))
        return answer({"status": "green", "points_count": points, "config": {"params": config}})

    def create(request: http.Request) -> Any:
        name = request.match["name"]
        if found(name):
            raise http.HttpError(
                409, {"status": {"error": f"Wrong input: Collection `{name}` already exists!"}, "time": 0.0}
            )
        if _NAME.fullmatch(name) is None:
            raise http.HttpError(422, {"status": {"error": "collection name is invalid"}, "time": 0.0})
        # Complete before it has its name: a kill in between leaves no half collection.
        partial = collections / f".{name}.{time.time_ns()}"
        partial.mkdir()
        (partial / "points.json").write_text("{}")
        (partial / "config.json").write_text(json.dumps(request.json()))
        partial.rename(collections / name)
        return answer(True)

    def delete(request: http.Request) -> Any:
        name = request.match["name"]
        if not found(name):
            return answer(False)
        shutil.rmtree(collections / name)
        return answer(True)

    def upsert(request: http.Request) -> Any:
        show(request)
        path = collections / request.match["name"] / "points.json"
        points = json.loads(path.read_text())
        points.update({str(point["id"]): point for point in request.json().get("points", [])})
        temporary = path.with_name(".points.json")
        temporary.write_text(json.dumps(points))
        temporary.replace(path)
        return answer({"operation_id": 0, "status": "completed"})

    routes = [
        ("GET", "/", about),
        ("GET", "/(?:healthz|livez|readyz)", health),
        ("GET", "/collections", listing),
        ("GET", "/collections/(?P<name>[^/]+)", show),
        ("PUT", "/collections/(?P<name>[^/]+)", create),
        ("DELETE", "/collections/(?P<name>[^/]+)", delete),
        ("PUT", "/collections/(?P<name>[^/]+)/points", upsert),
    ]
    http.serve(container.listener(PORT), routes, {"X-Image-Tag": container.tag})
    log(f"INFO qdrant::actix: Qdrant HTTP listening on {PORT}")
