"""The engine's images: pulled from the local cloud's registry, kept in one JSON file."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from geusemaker.local_cloud.containers.api import DockerError
from geusemaker.local_cloud.files import read_json, write_json
from geusemaker.models.reference import Reference

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def host_architecture() -> str:
    """This machine's architecture in the registry's words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


STOOD_FOR: Final = ("docker.io", "ghcr.io", "quay.io")
"""Registries that the local cloud's stands for."""


class ImageStore:
    """Images by id (the digest of their configuration), with the tags and digests that name them.

    Args:
        folder: where ``images.json`` lives.
        registry: URL of what stands in for ``STOOD_FOR``; no other registry beyond loopback is ever asked.
        architecture: what ``pull`` picks unless told otherwise.
    """

    def __init__(self, folder: Path, registry: str, architecture: str) -> None:
        self._file = folder / "images.json"
        self._registry = registry
        self._architecture = architecture
        self._lock = threading.RLock()
        state = read_json(self._file, {"images": {}, "tags": {}, "digests": {}})
        self._images: dict[str, dict[str, Any]] = state["images"]
        self._tags: dict[str, str] = state["tags"]
        self._digests: dict[str, str] = state["digests"]

    def _save(self) -> None:
        write_json(self._file, {"images": self._images, "tags": self._tags, "digests": self._digests})

    # Looking up

    def find_id(self, name: str) -> str | None:
        """The id behind an id, an id's beginning, ``repository[:tag]`` or ``repository@digest``."""
        with self._lock:
            bare = name.removeprefix("sha256:")
            if len(bare) >= 4 and all(c in "0123456789abcdef" for c in bare):
                matches = [i for i in self._images if i.removeprefix("sha256:").startswith(bare)]
                if len(matches) == 1:
                    return matches[0]
            try:
                reference = Reference.parse(name)
            except ValueError:
                return None
            table = self._digests if reference.digest else self._tags
            return table.get(reference.familiar)

    def get(self, name: str) -> dict[str, Any]:
        """As ``docker image inspect`` shows it.

        Raises:
            DockerError: no such image.
        """
        with self._lock:
            image_id = self.find_id(name)
            if image_id is None:
                raise DockerError(f"No such image: {name}", 404)
            return self._shown(image_id)

    def all(self) -> list[dict[str, Any]]:
        """Every image, newest first."""
        with self._lock:
            newest_first = sorted(self._images, key=lambda i: str(self._images[i]["Pulled"]), reverse=True)
            return [self._shown(image_id) for image_id in newest_first]

    def _shown(self, image_id: str) -> dict[str, Any]:
        return {
            **{key: value for key, value in self._images[image_id].items() if key != "Pulled"},
            "RepoTags": sorted(tag for tag, target in self._tags.items() if target == image_id),
            "RepoDigests": sorted(digest for digest, target in self._digests.items() if target == image_id),
        }

    # Pulling

    def pull(self, name: str, now: str) -> dict[str, Any]:
        """Fetch an image; ``{"digest", "reference", "full", "path", "new", "layers"}``.

        ``layers`` maps the digests of a new image's layers to whether they had to be fetched.

        Raises:
            DockerError: unknown to the registry, not for this platform, or the registry does not answer.
        """
        try:
            reference = Reference.parse(name)
        except ValueError as error:
            raise DockerError(str(error), 400) from None
        architecture = self._architecture
        registry = _Registry(self._url(reference), reference)
        digest, manifest = registry.manifest(reference.digest or reference.tag or "latest")
        single = digest
        if manifest.get("mediaType") in INDEX_TYPES:
            for entry in manifest["manifests"]:
                if entry["platform"]["architecture"] == architecture and entry["platform"]["os"] == "linux":
                    single = entry["digest"]
                    break
            else:
                raise DockerError(f"no matching manifest for linux/{architecture} in the manifest list entries", 404)
            _, manifest = registry.manifest(single)
        image_id = manifest["config"]["digest"]
        with self._lock:
            known = image_id in self._images
            present = {layer for image in self._images.values() for layer in image["RootFS"]["Layers"]}
        layers: dict[str, bool] = {}
        if not known:
            configuration = json.loads(registry.blob(image_id))
            size = sum(layer["size"] for layer in manifest["layers"])
            for digest_of_layer in configuration["rootfs"]["diff_ids"]:
                layers[digest_of_layer] = digest_of_layer not in present
                if layers[digest_of_layer]:
                    registry.blob(digest_of_layer)  # uncompressed: the blob's digest is the layer's
        with self._lock:
            if not known:
                self._images[image_id] = {
                    "Id": image_id,
                    "Parent": "",
                    "Comment": "",
                    "Created": configuration["created"],
                    "DockerVersion": "",
                    "Author": "",
                    "Config": configuration["config"],
                    "Architecture": configuration["architecture"],
                    "Os": configuration["os"],
                    "Size": size,
                    "RootFS": {"Type": "layers", "Layers": configuration["rootfs"]["diff_ids"]},
                    "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
                    "Pulled": now,
                }
            by_digest = f"{reference.familiar_name}@{digest}"
            new = not known or self._digests.get(by_digest) != image_id
            self._digests[by_digest] = image_id
            if not reference.digest:
                new = new or self._tags.get(reference.familiar) != image_id
                self._tags[reference.familiar] = image_id
            self._save()
        return {
            "digest": digest,
            "reference": reference.familiar,
            "full": reference.full,
            "path": reference.path,
            "new": new,
            "layers": layers,
        }

    def _url(self, reference: Reference) -> str:
        if reference.registry in STOOD_FOR:
            return self._registry
        name = reference.registry.partition(":")[0]
        if name == "localhost" or name.startswith("127."):
            return f"http://{reference.registry}"
        raise DockerError(f'Get "https://{reference.registry}/v2/": dial tcp: lookup {name}: no such host')

    # Removing

    def remove(self, name: str, users: Callable[[str], list[tuple[str, bool]]]) -> list[dict[str, str]]:
        """Remove a name, and the image with its last one; ``[{"Untagged"|"Deleted": …}]``.

        The rules are those of moby's ``ImageService.ImageDelete``.

        Args:
            users: image id → containers of it, as (id, running).

        Raises:
            DockerError: no such image (404), or it is in use (409).
        """
        with self._lock:
            image_id = self.find_id(name)
            if image_id is None:
                raise DockerError(f"No such image: {name}", 404)
            short = image_id.removeprefix("sha256:")[:12]
            gone = names = [n for table in (self._tags, self._digests) for n, i in table.items() if i == image_id]
            containers = users(image_id)
            if not image_id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
                familiar = Reference.parse(name).familiar
                if containers and sum("@" not in other for other in names) <= 1:
                    raise DockerError(
                        f'conflict: unable to remove repository reference "{name}" (must force) - '
                        f"container {containers[0][0][:12]} is using its referenced image {short}",
                        409,
                    )
                others = [other for other in names if other != familiar]
                # The digests go with the last tag.
                gone = [familiar] if any("@" not in other for other in others) else [familiar, *others]
            if containers and len(gone) == len(names):
                container, running = containers[0]
                how, what = ("cannot be forced", "running") if running else ("must be forced", "stopped")
                raise DockerError(
                    f"conflict: unable to delete {short} ({how}) - "
                    f"image is being used by {what} container {container[:12]}",
                    409,
                )
            for other in gone:
                (self._digests if "@" in other else self._tags).pop(other, None)
            removed = [{"Untagged": other} for other in gone]
            if len(gone) == len(names):
                del self._images[image_id]
                removed.append({"Deleted": image_id})
            self._save()
            return removed


class _Registry:
    """The registry's HTTP API v2, with Docker's words for its failures; content is checked against its digest."""

    def __init__(self, url: str, reference: Reference) -> None:
        self._url = url.rstrip("/")
        self._reference = reference

    def manifest(self, reference: str) -> tuple[str, dict[str, Any]]:
        status, headers, body = self._get(f"manifests/{reference}", ", ".join(INDEX_TYPES + MANIFEST_TYPES))
        if status != 200:
            raise self._refusal(status, body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if digest != headers.get("Docker-Content-Digest", digest) or (
            reference.startswith("sha256:") and digest != reference
        ):
            raise DockerError(f"manifest verification failed for digest {reference}")
        manifest = json.loads(body)
        manifest.setdefault("mediaType", headers.get("Content-Type", ""))
        return digest, manifest

    def blob(self, digest: str) -> bytes:
        status, _, body = self._get(f"blobs/{digest}", "*/*")
        if status != 200:
            raise self._refusal(status, body)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise DockerError(f"filesystem layer verification failed for digest {digest}")
        return body

    def _get(self, path: str, accept: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self._url)
        address = f"{parts.hostname}:{parts.port or 80}"
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request("GET", f"/v2/{self._reference.path}/{path}", headers={"Accept": accept})
            response = connection.getresponse()
            return response.status, {k.title(): v for k, v in response.getheaders()}, response.read()
        except ConnectionRefusedError:
            raise DockerError(f'Get "{self._url}/v2/": dial tcp {address}: connect: connection refused') from None
        except TimeoutError:
            raise DockerError(
                f'Get "{self._url}/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)'
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(f'Get "{self._url}/v2/": {error or "EOF"}') from None
        finally:
            connection.close()

    def _refusal(self, status: int, body: bytes) -> DockerError:
        if status == 404:
            return DockerError(
                f"manifest for {self._reference.familiar} not found: manifest unknown: manifest unknown", 404
            )
        if status in (401, 403):
            return DockerError(
                f"pull access denied for {self._reference.familiar_name}, repository does not exist or may require "
                "'docker login': denied: requested access to the resource is denied",
                404,
            )
        return DockerError(
            f"received unexpected HTTP status: {status} {http.client.responses.get(status, '')}: {body[:200]!r}"
        )
