"""Qdrant: collections are folders of its storage, snapshots are archives in the container's own ``/qdrant/snapshots``.

Texts and status codes are those of Qdrant's storage errors (lib/storage/src/content_manager/errors.rs, and
src/actix/helpers.rs for the codes). A snapshot can be recovered by the minor version that made it and by later ones; an
earlier one refuses it, as Qdrant's segments do (lib/segment, ``load_segment``).
"""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http, qdrant_key
from geusemaker.local_cloud.containers.services.container import Container, StartError, log
from geusemaker.local_cloud.containers.services.image import Image
from geusemaker.local_cloud.files import write

PORT = 6333
STORAGE = "/qdrant/storage"
SNAPSHOTS = "/qdrant/snapshots"

_RELEASES: Final = ("1.14.1", "1.15.5", "1.16.3", "1.17.1", "1.18.3", "1.19.2", "1.20.0")
IMAGE: Final = Image(
    "qdrant/qdrant",
    {
        "ExposedPorts": {f"{PORT}/tcp": {}, "6334/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "Cmd": ["./entrypoint.sh"],
        "WorkingDir": "/qdrant",
    },
    tags=("latest", "v1", *(f"v{release}{end}" for release in _RELEASES for end in ("", "-unprivileged"))),
)
_PEER = "1234567890123456"
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
    store = _Collections(storage, container.path(SNAPSHOTS), container.version)
    raft = storage / "raft_state.json"
    if not raft.exists():
        raft.write_text(
            json.dumps({"state": {"hard_state": {"term": 0, "vote": 0, "commit": 0}}, "peer_address_by_id": {}})
        )

    def health(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, "healthz check passed")

    def about(request: http.Request) -> Any:
        return {"title": "qdrant - vector search engine", "version": container.version, "commit": "0" * 40}

    collection = "/collections/(?P<name>[^/]+)"
    routes = [
        ("GET", "/", about),
        ("GET", "/(?:healthz|livez|readyz)", health),
        ("GET", "/aliases", store.list_aliases),
        ("POST", "/collections/aliases", store.change_aliases),
        ("GET", "/collections", store.list),
        ("GET", collection, store.show),
        ("PUT", collection, store.create),
        ("DELETE", collection, store.delete),
        ("PUT", f"{collection}/points", store.upsert),
        ("GET", f"{collection}/snapshots", store.list_snapshots),
        ("POST", f"{collection}/snapshots", store.create_snapshot),
        ("POST", f"{collection}/snapshots/upload", store.upload_snapshot),
        ("GET", f"{collection}/snapshots/(?P<snapshot>[^/]+)", store.download_snapshot),
        ("DELETE", f"{collection}/snapshots/(?P<snapshot>[^/]+)", store.delete_snapshot),
    ]
    http.serve(container.listener(PORT), qdrant_key.guarded(container, routes), {"X-Image-Tag": container.tag})
    log(f"INFO qdrant::actix: Qdrant HTTP listening on {PORT}")


class _Collections:
    """What is stored, and the API's answers about it."""

    def __init__(self, storage: Path, snapshots: Path, version: str) -> None:
        self._collections = storage / "collections"
        self._aliases = storage / "aliases/data.json"
        self._snapshots = snapshots
        self._version = version
        for folder in (self._collections, self._aliases.parent, snapshots):
            folder.mkdir(parents=True, exist_ok=True)

    # Collections

    def list(self, request: http.Request) -> Any:
        names = sorted(path.name for path in self._collections.iterdir() if self._exists(path.name))
        return _answer({"collections": [{"name": name} for name in names]})

    def show(self, request: http.Request) -> Any:
        folder = self._folder(request)
        points = len(json.loads((folder / "points.json").read_text()))
        config = {"params": json.loads((folder / "config.json").read_text())}
        return _answer({"status": "green", "points_count": points, "config": config})

    def create(self, request: http.Request) -> Any:
        name = request.match["name"]
        if self._exists(name):
            raise _error(409, f"Wrong input: Collection `{name}` already exists!")
        if _NAME.fullmatch(name) is None:
            raise _error(422, "collection name is invalid")
        self._write(name, json.dumps(request.json()), "{}")
        return _answer(True)

    def delete(self, request: http.Request) -> Any:
        name = request.match["name"]
        if not self._exists(name):
            return _answer(False)
        shutil.rmtree(self._collections / name)
        self._save_aliases({alias: of for alias, of in self._read_aliases().items() if of != name})
        return _answer(True)

    def upsert(self, request: http.Request) -> Any:
        file = self._folder(request) / "points.json"
        points = json.loads(file.read_text())
        points.update({str(point["id"]): point for point in request.json().get("points", [])})
        write(file, json.dumps(points))
        return _answer({"operation_id": 0, "status": "completed"})

    def _exists(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and (self._collections / name / "config.json").exists()

    def _folder(self, request: http.Request) -> Path:
        name = request.match["name"]
        if not self._exists(name):
            raise _error(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections / name

    def _write(self, name: str, config: str, points: str) -> None:
        # Complete before it has its name: a kill in between leaves no half collection.
        partial = self._collections / f".{name}.{time.time_ns()}"
        partial.mkdir()
        (partial / "points.json").write_text(points)
        (partial / "config.json").write_text(config)
        partial.rename(self._collections / name)

    # Aliases

    def list_aliases(self, request: http.Request) -> Any:
        aliases = [{"alias_name": alias, "collection_name": of} for alias, of in self._read_aliases().items()]
        return _answer({"aliases": aliases})

    def change_aliases(self, request: http.Request) -> Any:
        aliases = self._read_aliases()
        for action in request.json()["actions"]:
            if made := action.get("create_alias"):
                if not self._exists(made["collection_name"]):
                    raise _error(404, f"Not found: Collection `{made['collection_name']}` doesn't exist!")
                aliases[made["alias_name"]] = made["collection_name"]
            else:
                aliases.pop(action["delete_alias"]["alias_name"], None)
        self._save_aliases(aliases)
        return _answer(True)

    def _read_aliases(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._aliases.read_text()) if self._aliases.exists() else {}
        return found

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        write(self._aliases, json.dumps(aliases))

    # Snapshots

    def list_snapshots(self, request: http.Request) -> Any:
        self._folder(request)
        return _answer([_described(path) for path in (self._snapshots / request.match["name"]).glob("*.snapshot")])

    def create_snapshot(self, request: http.Request) -> Any:
        import tarfile

        folder, name = self._folder(request), request.match["name"]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for member, data in (
                ("version.info", self._version.encode()),
                ("config.json", (folder / "config.json").read_bytes()),
                ("0/points.json", (folder / "points.json").read_bytes()),
            ):
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        moment = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())
        path = self._snapshots / name / f"{name}-{_PEER}-{moment}.snapshot"
        self._keep(path, packed.getvalue())
        _checksum_file(path).write_text(_digest(packed.getvalue()))
        log(f"INFO collection::collection::snapshots: Creating collection snapshot {path.name}")
        return _answer(_described(path))

    def download_snapshot(self, request: http.Request) -> Any:
        return self._snapshot(request).read_bytes()

    def delete_snapshot(self, request: http.Request) -> Any:
        path = self._snapshot(request)
        path.unlink()
        _checksum_file(path).unlink(missing_ok=True)
        return _answer(True)

    def upload_snapshot(self, request: http.Request) -> Any:
        name, data = request.upload("snapshot")
        _check(data, request.query.get("checksum"))
        # It stays among the collection's snapshots afterwards, as with the real one.
        file = Path(name).name or f"{time.time_ns()}.snapshot"
        self._keep(self._snapshots / request.match["name"] / file, data)
        return self._recover(request.match["name"], data)

    def _recover(self, name: str, data: bytes) -> Any:
        import tarfile

        if _NAME.fullmatch(name) is None:
            raise _error(422, "collection name is invalid")
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                version, config, points = (
                    archive.extractfile(member).read().decode()  # type: ignore[union-attr]  # all are plain files
                    for member in ("version.info", "config.json", "0/points.json")
                )
        except (tarfile.TarError, KeyError) as error:
            raise _error(500, f"Service internal error: failed to unpack snapshot: {error}") from None
        if _minor(version) > _minor(self._version):
            raise _error(
                500,
                f"Service internal error: Data version {version} is newer than application version {self._version}. "
                "Please upgrade the application. Compatibility is not guaranteed.",
            )
        if not self._exists(name):
            self._write(name, config, points)
            return _answer(True)
        here, there = (
            json.loads(text).get("vectors") for text in ((self._collections / name / "config.json").read_text(), config)
        )
        if here != there:
            raise _error(
                400,
                "Wrong input: Snapshot is not compatible with existing collection: "
                f"Collection vectors: {here} Snapshot Vectors: {there}",
            )
        write(self._collections / name / "points.json", points)
        return _answer(True)

    def _snapshot(self, request: http.Request) -> Path:
        self._folder(request)
        name = request.match["snapshot"]
        path = self._snapshots / request.match["name"] / name
        if Path(name).name != name or not path.is_file():
            raise _error(404, f"Not found: Snapshot {name}")
        return path

    @staticmethod
    def _keep(path: Path, data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        write(path, data)


def _answer(result: Any) -> Any:
    return {"result": result, "status": "ok", "time": 0.0}


def _error(status: int, text: str) -> http.HttpError:
    return http.HttpError(status, {"status": {"error": text}, "time": 0.0})


def _digest(data: bytes) -> str:
    import hashlib  # loading OpenSSL takes as long as all else that a start needs

    return hashlib.sha256(data).hexdigest()


def _checksum_file(snapshot: Path) -> Path:
    return snapshot.with_name(f"{snapshot.name}.checksum")


def _described(path: Path) -> dict[str, Any]:
    found = path.stat()
    made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(found.st_mtime))
    description = {"name": path.name, "creation_time": made, "size": found.st_size}
    # One that was uploaded has no checksum beside it.
    return description | ({"checksum": _checksum_file(path).read_text()} if _checksum_file(path).exists() else {})


def _check(data: bytes, wanted: str | None) -> None:
    actual = _digest(data)
    if wanted is not None and wanted.lower() != actual:
        raise _error(400, f"Checksum mismatch: expected {actual}, actual {wanted}")  # Qdrant has these two crossed


def _minor(version: str) -> tuple[int, int]:
    """``latest`` and the like pass for the newest."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (999, 0)
