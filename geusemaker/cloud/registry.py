"""Image registries: which digest a tag means now. The OCI distribution protocol, read-only.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from geusemaker.cloud.http import Answer, Http, HttpError
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.image import ImageReference

_ACCEPT: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_NEXT: Final = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')
_A_PAGE: Final = 1000
_PAGES: Final = 50
_DOCKER_HUB: Final = "https://registry-1.docker.io"


class ImageNotFoundError(Exception):
    """The registry answered, and it has no such image."""


class Registry:
    """Looks images up.

    Args:
        mirror: base URL that stands for every registry (the local cloud's); None asks each image's own registry.
        fall_back: the mirror stands for Docker Hub only, and Docker Hub is asked for what it does not have. This is how
            a Docker daemon uses its ``registry-mirrors``.
        timeout_seconds: for each request.
        note: told when a registry makes us wait.
    """

    def __init__(
        self,
        mirror: str | None = None,
        *,
        fall_back: bool = False,
        timeout_seconds: float = 10.0,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._mirror = mirror
        self._fall_back = fall_back
        self._http = Http(timeout_seconds, note)
        self._tokens: dict[tuple[str, str], str] = {}

    def digest(self, image: ImageReference) -> str:
        """The digest an image's tag means now.

        Raises:
            ImageNotFoundError: no such image or tag, or it is private.
            EnvironmentProblemError: the registry cannot be reached or answers nonsense.
        """
        response = self._manifest("HEAD", image, image.digest or image.tag)
        digest = response.headers.get("Docker-Content-Digest", "")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise EnvironmentProblemError(f"The registry {image.registry} gave no digest for {image.tagged}.")
        return digest

    def architectures(self, image: ImageReference) -> set[str]:
        """The architectures an image is published for; empty when its manifest does not say."""
        response = self._manifest("GET", image, image.digest or image.tag)
        platforms = [entry.get("platform") or {} for entry in _document(response, image).get("manifests") or ()]
        return {str(platform.get("architecture")) for platform in platforms if platform.get("os") == "linux"}

    def layers(self, image: ImageReference, architecture: str) -> dict[str, int]:
        """An image's layers for an architecture: digest → bytes as they are transferred, which is compressed.

        Raises:
            ImageNotFoundError: no such image, or none for that architecture.
            EnvironmentProblemError: the registry cannot be reached or answers nonsense.
        """
        document = _document(self._manifest("GET", image, image.digest or image.tag), image)
        if "manifests" in document:
            wanted = {"os": "linux", "architecture": architecture}
            found = [
                str(entry["digest"])
                for entry in document["manifests"]
                if wanted.items() <= (entry.get("platform") or {}).items()
            ]
            if not found:
                raise ImageNotFoundError(f"{image.tagged} is not published for {architecture}")
            document = _document(self._manifest("GET", image, found[0]), image)
        return {str(layer["digest"]): int(layer["size"]) for layer in document.get("layers") or ()}

    def tags(self, image: ImageReference) -> tuple[str, ...]:
        """All tags of an image's repository, in the registry's order, page by page.

        Raises:
            ImageNotFoundError: no such repository, or it is private.
            EnvironmentProblemError: the registry cannot be reached or answers nonsense.
        """
        found: list[str] = []
        query = f"n={_A_PAGE}"
        for _ in range(_PAGES):
            response = self._get("GET", image, f"tags/list?{query}")
            found += [str(tag) for tag in _document(response, image).get("tags") or ()]
            following = _NEXT.search(response.headers.get("Link", ""))
            if following is None:
                return tuple(found)
            # Relative or whole, and whole ones of what stands before the registry: only what is asked there counts.
            query = urlsplit(urljoin("https://registry/", following[1])).query
        raise EnvironmentProblemError(
            f"The registry {image.registry} lists the tags of {image.repository} without end."
        )

    def _manifest(self, method: str, image: ImageReference, reference: str) -> Answer:
        return self._get(method, image, f"manifests/{reference}")

    def _get(self, method: str, image: ImageReference, what: str) -> Answer:
        own = _DOCKER_HUB if image.registry == "docker.io" else f"https://{image.registry}"
        if self._mirror is None or (self._fall_back and image.registry != "docker.io"):
            return self._get_from(own, method, image, what)
        if not self._fall_back:
            return self._get_from(self._mirror, method, image, what)
        with contextlib.suppress(ImageNotFoundError):
            return self._get_from(self._mirror, method, image, what)
        try:
            return self._get_from(own, method, image, what)
        except EnvironmentProblemError as error:
            raise ImageNotFoundError(
                f"The local cloud's registry has no image {image.tagged}, and {error.message[:1].lower()}"
                f"{error.message[1:].rstrip('.')}"
            ) from error

    def _get_from(self, base: str, method: str, image: ImageReference, what: str) -> Answer:
        url = f"{base}/v2/{image.path}/{what}"
        response = self._request(method, url, image, self._tokens.get((image.registry, image.path)))
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status == 401 and challenge.lower().startswith("bearer "):
            token = self._token(challenge, image)
            self._tokens[image.registry, image.path] = token
            response = self._request(method, url, image, token)
        if response.status in (401, 403, 404):
            raise ImageNotFoundError(
                f"{image.registry} has no image {image.tagged}{self._reason(base, url, image, response.status)}"
                if response.status == 404
                else f"{image.registry} does not give {image.tagged} to us (it does not exist, or is private)"
            )
        if response.status != 200:
            raise EnvironmentProblemError(
                f"The registry {image.registry} answered {response.status} for {image.tagged}."
            )
        return response

    def _reason(self, base: str, url: str, image: ImageReference, status: int) -> str:
        """The local cloud's registry says why where it cannot run what other registries have."""
        if base != self._mirror or status != 404:
            return ""
        errors = _document(self._request("GET", url, image, None), image).get("errors") or [{}]
        message = str(errors[0].get("message") or "manifest unknown")
        return "" if message == "manifest unknown" else f": {message}"

    def _token(self, challenge: str, image: ImageReference) -> str:
        values = dict(_CHALLENGE.findall(challenge))
        query = urlencode({key: values[key] for key in ("service", "scope") if key in values})
        response = self._request("GET", f"{values.get('realm', '')}?{query}", image, None)
        body = _document(response, image) if response.status == 200 else {}
        return str(body.get("token") or body.get("access_token") or "")

    def _request(self, method: str, url: str, image: ImageReference, token: str | None) -> Answer:
        headers = {"Accept": _ACCEPT, **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            return self._http.request(method, url, headers)
        except HttpError as error:
            raise EnvironmentProblemError(f"{self._called(url, image)} {error}.") from error

    def _called(self, url: str, image: ImageReference) -> str:
        if self._mirror is not None and url.startswith(self._mirror):
            return "The local cloud's registry"
        return f"The registry {image.registry}"


def _document(response: Answer, image: ImageReference) -> dict[str, Any]:
    try:
        document = json.loads(response.data)
    except ValueError as error:
        raise EnvironmentProblemError(f"The registry {image.registry} answered no JSON for {image.tagged}.") from error
    return document if isinstance(document, dict) else {}
