"""Image registries, over loopback HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from geusemaker.cloud.registry import ImageNotFoundError, Registry
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.image import ImageReference
from tests.unit.samples import DIGEST

N8N = ImageReference.parse("n8nio/n8n:1.91.0")
POSTGRES = ImageReference.parse("postgres:16.9")
INDEX = {
    "manifests": [
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "linux", "architecture": "arm64"}},
        {"platform": {"os": "windows", "architecture": "amd64"}},
        {"digest": "an attestation"},
        {"platform": None},
    ]
}

Answer = tuple[int, dict[str, str], Any]


class Server:
    """A registry that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        """Path → status, headers, body."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path, authorization."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                path = self.path.partition("?")[0]
                outer.requests.append((self.command, self.path, authorization))
                key = f"{path} {authorization}" if f"{path} {authorization}" in outer.answers else path
                status, headers, body = outer.answers.get(key, (404, {}, {}))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """An empty registry."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def registry(server: Server) -> Registry:
    """A client that takes every image from there."""
    return Registry(server.url, timeout_seconds=2)


MANIFEST = "/v2/n8nio/n8n/manifests/1.91.0"


def test_a_tags_digest(server: Server, registry: Registry) -> None:
    server.answers[MANIFEST] = (200, {"Docker-Content-Digest": DIGEST}, {})
    server.answers["/v2/library/postgres/manifests/16.9"] = (200, {"Docker-Content-Digest": DIGEST}, {})
    assert registry.digest(N8N) == registry.digest(POSTGRES) == DIGEST
    assert [method for method, _, _ in server.requests] == ["HEAD", "HEAD"]


def test_a_known_digest_is_asked_for_as_such(server: Server, registry: Registry) -> None:
    server.answers[f"/v2/n8nio/n8n/manifests/{DIGEST}"] = (200, {"Docker-Content-Digest": DIGEST}, INDEX)
    assert registry.digest(N8N.pinned(DIGEST)) == DIGEST
    assert registry.architectures(N8N.pinned(DIGEST)) == {"amd64", "arm64"}


@pytest.mark.parametrize("body", [{"config": {}}, [], {"manifests": None}])
def test_a_manifest_that_does_not_say(server: Server, registry: Registry, body: Any) -> None:
    server.answers[MANIFEST] = (200, {}, body)
    assert registry.architectures(N8N) == set()


@pytest.mark.parametrize(
    ("status", "said"), [(404, "has no image n8nio/n8n:1.91.0"), (403, "does not give"), (401, "or is private")]
)
def test_no_such_image(server: Server, registry: Registry, status: int, said: str) -> None:
    server.answers[MANIFEST] = (status, {}, {})
    with pytest.raises(ImageNotFoundError, match=said):
        registry.digest(N8N)


def test_a_token_is_fetched_as_the_registry_says_and_kept(server: Server, registry: Registry) -> None:
    challenge = f'Bearer realm="{server.url}/token",service="hub",scope="repository:n8nio/n8n:pull"'
    server.answers[MANIFEST] = (401, {"WWW-Authenticate": challenge}, {})
    server.answers["/token"] = (200, {}, {"access_token": "t0k"})
    server.answers[f"{MANIFEST} Bearer t0k"] = (200, {"Docker-Content-Digest": DIGEST}, {})

    assert registry.digest(N8N) == registry.digest(N8N) == DIGEST

    asked = [path for _, path, _ in server.requests]
    assert asked == [MANIFEST, "/token?service=hub&scope=repository%3An8nio%2Fn8n%3Apull", MANIFEST, MANIFEST]


def test_a_token_is_not_given_to_another_registry(server: Server, registry: Registry) -> None:
    challenge = f'Bearer realm="{server.url}/token"'
    server.answers[MANIFEST] = (401, {"WWW-Authenticate": challenge}, {})
    server.answers["/token"] = (200, {}, {"token": "t0k"})
    with pytest.raises(ImageNotFoundError):
        registry.digest(N8N)
    server.requests.clear()

    with pytest.raises(ImageNotFoundError):
        registry.digest(ImageReference.parse("evil.example.com/n8nio/n8n:1.91.0"))
    assert server.requests[0][2] == ""


@pytest.mark.parametrize("challenge", ['Basic realm="registry"', ""])
def test_a_registry_that_wants_a_login_is_private(server: Server, registry: Registry, challenge: str) -> None:
    server.answers[MANIFEST] = (401, {"WWW-Authenticate": challenge}, {})
    with pytest.raises(ImageNotFoundError, match="or is private"):
        registry.digest(N8N)


def test_no_token_for_us(server: Server, registry: Registry) -> None:
    server.answers[MANIFEST] = (401, {"WWW-Authenticate": f'Bearer realm="{server.url}/none"'}, {})
    with pytest.raises(ImageNotFoundError):
        registry.digest(N8N)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, {}), "gave no digest"),
        ((200, {"Docker-Content-Digest": "md5:1"}, {}), "gave no digest"),
        ((429, {}, {}), "answered 429"),
    ],
)
def test_nonsense(server: Server, registry: Registry, answer: Answer, said: str) -> None:
    server.answers[MANIFEST] = answer
    with pytest.raises(EnvironmentProblemError, match=said):
        registry.digest(N8N)


def test_layers_of_an_architecture(server: Server, registry: Registry) -> None:
    platform = {"os": "linux", "architecture": "arm64"}
    entries = [*INDEX["manifests"], {"digest": DIGEST, "platform": platform | {"variant": "v8"}}]
    entries[:2] = []
    server.answers[MANIFEST] = (200, {}, {"manifests": entries})
    layers = [{"digest": "sha256:a", "size": 10}, {"digest": "sha256:b", "size": 20}]
    server.answers[f"/v2/n8nio/n8n/manifests/{DIGEST}"] = (200, {}, {"layers": layers})
    assert registry.layers(N8N, "arm64") == {"sha256:a": 10, "sha256:b": 20}
    with pytest.raises(ImageNotFoundError, match="not published for riscv64"):
        registry.layers(N8N, "riscv64")


def test_layers_of_an_image_for_one_platform_alone(server: Server, registry: Registry) -> None:
    server.answers[MANIFEST] = (200, {}, {"layers": [{"digest": "sha256:a", "size": 10}]})
    assert registry.layers(N8N, "amd64") == {"sha256:a": 10}


def test_a_page_instead_of_a_manifest(server: Server, registry: Registry) -> None:
    server.answers[MANIFEST] = (200, {}, b"<html>")
    with pytest.raises(EnvironmentProblemError, match="answered no JSON"):
        registry.architectures(N8N)


def test_nobody_there(server: Server) -> None:
    server.close()
    with pytest.raises(EnvironmentProblemError, match=r"The local cloud's registry cannot be reached \(NewConn"):
        Registry(server.url, timeout_seconds=0.2).digest(N8N)


def test_one_that_takes_a_question_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("geusemaker.cloud.registry._DOCKER_HUB", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EnvironmentProblemError, match=r"The registry docker\.io cannot be reached \(ReadTimeout"):
            Registry(timeout_seconds=0.1).digest(N8N)


def test_docker_hub_is_asked_for_what_the_mirror_does_not_have(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.cloud.registry._DOCKER_HUB", f"{server.url}/hub")
    registry = Registry(server.url, fall_back=True, timeout_seconds=2)
    server.answers[f"/hub{MANIFEST}"] = (200, {"Docker-Content-Digest": DIGEST}, {})
    assert registry.digest(N8N) == DIGEST
    other = f"sha256:{'d' * 64}"
    server.answers[MANIFEST] = (200, {"Docker-Content-Digest": other}, {})
    assert registry.digest(N8N) == other


def test_an_image_that_neither_has_is_missing_also_without_the_network(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.cloud.registry._DOCKER_HUB", "http://127.0.0.1:9")
    registry = Registry(server.url, fall_back=True, timeout_seconds=0.5)
    with pytest.raises(
        ImageNotFoundError, match=r"local cloud's registry has no image .*, and the registry docker\.io"
    ):
        registry.digest(N8N)


def test_tags_are_read_page_by_page(server: Server, registry: Registry) -> None:
    """By ``Link``, relative as Docker's own registry has it or whole as others do."""
    path = "/v2/n8nio/n8n/tags/list"
    first = {"Link": f'<{path}?last=1.1.0&n=1000>; rel="next"'}
    second = {"Link": f"<https://elsewhere.example{path}?n=1000&last=b>; rel=next"}
    pages = iter(
        [
            (200, first, {"name": "n8nio/n8n", "tags": ["1.0.0", "1.1.0"]}),
            (200, second, {"tags": ["a", "b"]}),
            (200, {"Link": f'<{path}>; rel="prev"'}, {"name": "n8nio/n8n", "tags": None}),
        ]
    )

    class Pages(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            return next(pages)

    server.answers = Pages()
    assert registry.tags(N8N) == ("1.0.0", "1.1.0", "a", "b")
    assert [asked for _, asked, _ in server.requests] == [
        f"{path}?n=1000",
        f"{path}?last=1.1.0&n=1000",
        f"{path}?n=1000&last=b",
    ]


def test_tags_without_end_are_an_error(server: Server, registry: Registry) -> None:
    link = {"Link": '</v2/n8nio/n8n/tags/list?last=a>; rel="next"'}
    server.answers["/v2/n8nio/n8n/tags/list"] = 200, link, {"tags": ["a"]}
    with pytest.raises(EnvironmentProblemError, match="without end"):
        registry.tags(N8N)


def test_tags_of_what_is_not_there(registry: Registry) -> None:
    with pytest.raises(ImageNotFoundError):
        registry.tags(N8N)
