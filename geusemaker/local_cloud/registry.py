"""The local cloud's image registry: the read half of the distribution API v2 over a catalogue made up on request.

It stands in for Docker Hub, ghcr.io and quay.io. The services' official repositories hold every plain version tag
(``1.91.0``, ``v1.14.1``, ``16.9-alpine``, ``latest`` …), others every tag, except those ending ``-missing``. Content is
addressed by digest and stays as it was issued: a manifest once handed out is found by its digest for ever, also after
its tag has moved.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from geusemaker.local_cloud.access import belongs_to_owner
from geusemaker.local_cloud.containers import labels
from geusemaker.local_cloud.containers.services import generic, stand_ins
from geusemaker.local_cloud.files import write
from geusemaker.models.reference import Reference

CATALOGUE: Final = {image.repository: (service, image) for service, image in stand_ins.images().items()}
"""Repository → the service its images are, and what they are like."""

_NAMESPACES: Final = frozenset(repository.partition("/")[0] for repository in CATALOGUE)
_OTHERS: Final = ("generic", generic.IMAGE)
"""What is known of an image that only the stand-in for all others stands for."""

ARCHITECTURES: Final = ("amd64", "arm64")

_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_TAG = re.compile(r"(?:v?\d+(?:\.\d+){0,3}|latest|stable|next)(?:-[A-Za-z0-9._]+)*")
_ANY_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TAGS_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/tags/list")
_A_PAGE: Final = 1000
"""As many as Docker's own registry gives where nobody asks for fewer; for more it is an error there and here."""
_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


class Catalogue:
    """The registry's content under a folder; one instance may serve many threads, several processes one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        for name in ("manifests", "blobs"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def find_tag(self, repository: str, tag: str) -> bytes | None:
        """The image index behind a tag, issued now if it has not been before."""
        if not _has_tag(repository, tag) or unrunnable(repository, tag):
            return None
        return self._issue(repository, tag, self._moved().get(f"{repository}:{tag}", 0))

    def tags(self, repository: str) -> list[str]:
        """What a repository lists, in order: some of the real ones, and those that were issued or moved here."""
        known = set(CATALOGUE[repository][1].tags if repository in CATALOGUE else ())
        for file in (self._folder / "manifests").glob("*.json"):
            notes = json.loads(file.read_bytes())["annotations"]
            if notes["org.opencontainers.image.title"] == repository:
                known.add(notes["org.opencontainers.image.version"])
        return sorted(tag for tag in known if not unrunnable(repository, tag))

    def find_manifest(self, repository: str, digest: str) -> bytes | None:
        """An index or manifest issued earlier in this repository."""
        data = self._read("manifests", digest)
        if data is None or json.loads(data)["annotations"]["org.opencontainers.image.title"] != repository:
            return None
        return data

    def find_blob(self, digest: str) -> bytes | None:
        """A configuration or layer issued earlier."""
        return self._read("blobs", digest)

    def move_tag(self, repository: str, tag: str) -> str:
        """Let a tag name new content; its new digest."""
        with self._exclusive():
            moved = self._moved()
            key = f"{repository}:{tag}"
            moved[key] = moved.get(key, 0) + 1
            write(self._folder / "tags.json", json.dumps(moved, sort_keys=True))
        return _digest(self._issue(repository, tag, moved[key]))

    def _moved(self) -> dict[str, int]:
        path = self._folder / "tags.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._lock, (self._folder / "tags.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _issue(self, repository: str, tag: str, revision: int) -> bytes:
        # Everything is a function of (repository, tag, revision): the same on every machine and after every reset.
        notes = {
            "org.opencontainers.image.title": repository,
            "org.opencontainers.image.version": tag,
            "org.opencontainers.image.revision": str(revision),
        }
        entries = []
        for architecture in ARCHITECTURES:
            # As with real images, the lower layer is common to a repository's tags and is pulled once.
            layers = [
                f"base of {repository} for {architecture}\n".encode(),
                f"{repository}:{tag} revision {revision} for {architecture}\n".encode(),
            ]
            config = _json(_image_config(repository, tag, revision, architecture, [_digest(data) for data in layers]))
            manifest = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": _MANIFEST,
                    "config": _descriptor(_CONFIG, config),
                    "layers": [_descriptor(_LAYER, data) | _said_size(tag) for data in layers],
                    "annotations": notes,
                }
            )
            for data in (*layers, config):
                self._keep("blobs", data)
            self._keep("manifests", manifest)
            entries.append(
                {**_descriptor(_MANIFEST, manifest), "platform": {"architecture": architecture, "os": "linux"}}
            )
        index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries, "annotations": notes})
        self._keep("manifests", index)
        return index

    def _path(self, kind: str, digest: str) -> Path:
        suffix = ".json" if kind == "manifests" else ""
        return self._folder / kind / (digest.removeprefix("sha256:") + suffix)

    def _keep(self, kind: str, data: bytes) -> None:
        path = self._path(kind, _digest(data))
        if not path.exists():
            write(path, data)

    def _read(self, kind: str, digest: str) -> bytes | None:
        path = self._path(kind, digest)
        return path.read_bytes() if _DIGEST.fullmatch(digest) and path.exists() else None


def has(repository: str) -> bool:
    """Whether there is such a repository here."""
    return repository in CATALOGUE or generic.stands_for(repository, _NAMESPACES)


def _has_tag(repository: str, tag: str) -> bool:
    return not tag.endswith("-missing") and bool((_TAG if repository in CATALOGUE else _ANY_TAG).fullmatch(tag))


def unrunnable(repository: str, tag: str) -> str:
    """Why nothing here can run an image that exists elsewhere; empty for all others."""
    return CATALOGUE[repository][1].unrunnable(tag) if repository in CATALOGUE and _TAG.fullmatch(tag) else ""


def _image_config(repository: str, tag: str, revision: int, architecture: str, layers: list[str]) -> dict[str, Any]:
    service, image = CATALOGUE.get(repository, _OTHERS)
    return {
        "created": f"2025-01-01T00:00:{revision % 60:02}Z",
        "architecture": architecture,
        "os": "linux",
        "config": {
            **image.config,
            "Labels": {labels.SERVICE: service, labels.TAG: tag, "org.opencontainers.image.revision": str(revision)},
        },
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [],
    }


def _said_size(tag: str) -> dict[str, int]:
    """A tag that ends ``-huge`` claims layers that no disk holds."""
    return {"size": 2**50} if tag.endswith("-huge") else {}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def move_tag(folder: Path, reference: str) -> str:
    """Make ``repository:tag`` name new content, as an upstream does that pushes a tag again; the new digest.

    Raises:
        ValueError: the repository is not in the catalogue, or the tag could not exist.
    """
    named = Reference.parse(reference)
    if not has(named.path) or not _has_tag(named.path, named.tag):
        raise ValueError(f"{reference!r} is not in the local registry's catalogue")
    return Catalogue(folder).move_tag(named.path, named.tag)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    catalogue: Catalogue
    own_port: int

    def do_GET(self) -> None:
        host, port = self.client_address[:2]
        if not belongs_to_owner((str(host), int(port)), self.own_port):
            self._refuse(401, "UNAUTHORIZED", "this local cloud is another user's")
            return
        path = self.path.partition("?")[0]
        if path in ("/v2", "/v2/"):
            self._answer(200, "application/json", b"{}")
            return
        if (listing := _TAGS_PATH.fullmatch(path)) is not None:
            self._tags(listing["name"], dict(parse_qsl(self.path.partition("?")[2])))
            return
        match = _PATH.fullmatch(path)
        if match is None:
            self._refuse(404, "NOT_FOUND", "page not found")
            return
        name, kind, reference = match["name"], match["kind"], match["reference"]
        if not has(name):
            # Docker Hub does not tell "does not exist" from "not yours".
            self._refuse(401, "DENIED", "requested access to the resource is denied")
        elif kind == "manifests":
            self._manifest(name, reference)
        elif (data := self.catalogue.find_blob(reference)) is None:
            self._refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
        else:
            self._answer(200, "application/octet-stream", data, reference)

    do_HEAD = do_GET

    def _tags(self, name: str, query: dict[str, str]) -> None:
        """A page of a repository's tags; the next one's address is in ``Link``, as RFC 5988 has it."""
        asked = query.get("n", str(_A_PAGE))
        if not has(name):
            self._refuse(401, "DENIED", "requested access to the resource is denied")
            return
        if not asked.isdecimal() or not 0 < int(asked) <= _A_PAGE:
            self._refuse(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
            return
        left = [tag for tag in self.catalogue.tags(name) if tag > query.get("last", "")]
        page = left[: int(asked)]
        links = {}
        if len(left) > len(page):
            following = urlencode({"last": page[-1], "n": asked})
            links["Link"] = f'</v2/{name}/tags/list?{following}>; rel="next"'
        self._answer(200, "application/json", _json({"name": name, "tags": page}), headers=links)

    def _manifest(self, name: str, reference: str) -> None:
        if reference.startswith("sha256:"):
            data = self.catalogue.find_manifest(name, reference)
        else:
            data = self.catalogue.find_tag(name, reference)
        if data is None:
            self._refuse(404, "MANIFEST_UNKNOWN", unrunnable(name, reference) or "manifest unknown")
        else:
            self._answer(200, json.loads(data)["mediaType"], data, _digest(data))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._answer(status, "application/json", _json({"errors": [{"code": code, "message": message}]}))

    def _answer(
        self,
        status: int,
        content_type: str,
        body: bytes,
        digest: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for header, value in headers.items():
            self.send_header(header, value)
        if digest:
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("ETag", f'"{digest}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a pull is reported by the engine that makes it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class RegistryServer:
    """A running registry; ``url`` is where it listens."""

    def __init__(self, folder: Path, port: int) -> None:
        class Handler(_Handler):
            catalogue = Catalogue(folder)

        self._server = _Server(("127.0.0.1", port), Handler)
        Handler.own_port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="registry", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(folder: Path, port: int = 0) -> RegistryServer:
    """Serve the registry kept in ``folder`` on loopback, from a thread of its own; port 0 picks a free one.

    Raises:
        OSError: the port is taken.
    """
    return RegistryServer(folder, port)
