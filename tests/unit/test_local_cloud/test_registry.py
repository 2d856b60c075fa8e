"""The image registry over HTTP: what a client of the distribution API sees."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geusemaker.cloud.registry import ImageNotFoundError, Registry
from geusemaker.local_cloud.registry import CATALOGUE, RegistryServer, move_tag, serve
from geusemaker.models.image import ImageReference

OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    server = serve(tmp_path)
    yield server
    server.close()


def get(registry: RegistryServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{registry.url}/v2/{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def refusal(body: bytes) -> str:
    document: dict[str, Any] = json.loads(body)
    return str(document["errors"][0]["code"])


def test_version_check(registry: RegistryServer) -> None:
    status, headers, _ = get(registry, "")
    assert status == 200
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("repository", CATALOGUE)
def test_a_tag_leads_to_content_that_its_digests_describe(registry: RegistryServer, repository: str) -> None:
    status, headers, body = get(registry, f"{repository}/manifests/17.2.3")
    assert (status, headers["Content-Type"]) == (200, OCI_INDEX)
    assert headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"
    architectures = set()
    for entry in json.loads(body)["manifests"]:
        _, _, manifest = get(registry, f"{repository}/manifests/{entry['digest']}")
        assert entry["digest"] == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        assert entry["size"] == len(manifest)
        config_entry = json.loads(manifest)["config"]
        _, _, config = get(registry, f"{repository}/blobs/{config_entry['digest']}")
        assert config_entry["digest"] == f"sha256:{hashlib.sha256(config).hexdigest()}"
        assert json.loads(config)["architecture"] == entry["platform"]["architecture"]
        architectures.add(entry["platform"]["architecture"])
    assert architectures == {"amd64", "arm64"}


def test_head_gives_the_digest_without_a_body(registry: RegistryServer) -> None:
    _, headers, body = get(registry, "n8nio/n8n/manifests/1.91.0", "HEAD")
    assert body == b""
    _, _, content = get(registry, "n8nio/n8n/manifests/1.91.0")
    assert headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("tag", ["1.91.0", "v1.14.1", "16", "16.9-alpine", "latest", "1.91.0-crash", "0.9.6-rc.1"])
def test_plain_version_tags_exist(registry: RegistryServer, tag: str) -> None:
    assert get(registry, f"n8nio/n8n/manifests/{tag}")[0] == 200


@pytest.mark.parametrize("tag", ["1.91.0-missing", "no-such-tag", "-", "1..2"])
def test_other_tags_are_unknown(registry: RegistryServer, tag: str) -> None:
    status, _, body = get(registry, f"n8nio/n8n/manifests/{tag}")
    assert (status, refusal(body)) == (404, "MANIFEST_UNKNOWN")


def test_a_foreign_repository_is_denied_as_docker_hub_does(registry: RegistryServer) -> None:
    status, _, body = get(registry, "library/mysql/manifests/8")
    assert (status, refusal(body)) == (401, "DENIED")


def test_a_digest_is_known_only_in_the_repository_that_issued_it(registry: RegistryServer) -> None:
    _, headers, _ = get(registry, "n8nio/n8n/manifests/1.91.0")
    digest = headers["Docker-Content-Digest"]
    assert get(registry, f"n8nio/n8n/manifests/{digest}")[0] == 200
    assert get(registry, f"ollama/ollama/manifests/{digest}")[0] == 404
    assert get(registry, f"n8nio/n8n/manifests/sha256:{'0' * 64}")[0] == 404


def test_a_moved_tag_names_new_content_and_the_old_stays(registry: RegistryServer, tmp_path: Path) -> None:
    _, before, _ = get(registry, "n8nio/n8n/manifests/1.91.0")
    moved = move_tag(tmp_path, "n8nio/n8n:1.91.0")
    _, after, _ = get(registry, "n8nio/n8n/manifests/1.91.0")
    assert after["Docker-Content-Digest"] == moved != before["Docker-Content-Digest"]
    assert get(registry, f"n8nio/n8n/manifests/{before['Docker-Content-Digest']}")[0] == 200
    _, other, _ = get(registry, "n8nio/n8n/manifests/1.92.0")
    assert other["Docker-Content-Digest"] not in (moved, before["Docker-Content-Digest"])


def test_issued_manifests_and_moved_tags_outlive_the_server(tmp_path: Path) -> None:
    first = serve(tmp_path)
    _, before, _ = get(first, "library/postgres/manifests/16.9")
    moved = move_tag(tmp_path, "postgres:16.9")
    first.close()
    second = serve(tmp_path)
    try:
        assert get(second, f"library/postgres/manifests/{before['Docker-Content-Digest']}")[0] == 200
        assert get(second, "library/postgres/manifests/16.9")[1]["Docker-Content-Digest"] == moved
    finally:
        second.close()


def test_content_is_the_same_in_every_folder(registry: RegistryServer, tmp_path: Path) -> None:
    other = serve(tmp_path / "other")
    try:
        assert get(other, "qdrant/qdrant/manifests/v1.14.1")[2] == get(registry, "qdrant/qdrant/manifests/v1.14.1")[2]
    finally:
        other.close()


def test_moving_what_cannot_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the local registry"):
        move_tag(tmp_path, "n8nio/n8n:1.0-missing")
    with pytest.raises(ValueError, match="not in the local registry"):
        move_tag(tmp_path, "mysql:8")


def test_a_taken_port_is_an_error(registry: RegistryServer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(tmp_path, int(registry.url.rpartition(":")[2]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user: NOT TESTED against a real one")
def test_another_user_of_the_machine_is_turned_away(registry: RegistryServer) -> None:
    port = registry.url.rpartition(":")[2]
    path = "/v2/n8nio/n8n/manifests/1.2.3"
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    answer = subprocess.run(["bash", "-c", script], user=65534, cwd="/", capture_output=True, text=True, timeout=30)
    assert answer.stdout.startswith("HTTP/1.1 401"), answer
    assert "another user" in answer.stdout


def test_a_postgresql_that_nothing_here_can_run_is_refused_with_the_reason(registry: RegistryServer) -> None:
    status, _, body = get(registry, "library/postgres/manifests/15.13")
    assert (status, refusal(body)) == (404, "MANIFEST_UNKNOWN")
    with pytest.raises(
        ImageNotFoundError, match=r"no image postgres:15\.13: the local cloud cannot run PostgreSQL 15\.13"
    ):
        Registry(mirror=registry.url).digest(ImageReference.parse("postgres:15.13"))
    with pytest.raises(ImageNotFoundError, match=r"no image postgres:17-missing$"):
        Registry(mirror=registry.url).digest(ImageReference.parse("postgres:17-missing"))


def test_tags_are_listed_in_order_and_page_by_page(registry: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(get(registry, "qdrant/qdrant/tags/list")[2])
    assert whole["name"] == "qdrant/qdrant" and whole["tags"] == sorted(CATALOGUE["qdrant/qdrant"][1].tags)
    status, headers, body = get(registry, "qdrant/qdrant/tags/list?n=2")
    assert (status, json.loads(body)["tags"]) == (200, ["latest", "v1"])
    assert headers["Link"] == '</v2/qdrant/qdrant/tags/list?last=v1&n=2>; rel="next"'
    _, headers, body = get(registry, "qdrant/qdrant/tags/list?last=v1.20.0&n=2")
    assert json.loads(body)["tags"] == ["v1.20.0-unprivileged"] and "Link" not in headers
    monkeypatch.setattr("geusemaker.cloud.registry._A_PAGE", 3)
    assert list(Registry(registry.url).tags(ImageReference.parse("qdrant/qdrant:v1.20.0"))) == whole["tags"]


def test_what_was_issued_is_listed_from_then_on(registry: RegistryServer) -> None:
    get(registry, "n8nio/n8n/manifests/2.42.6-crash")
    get(registry, "library/redis/manifests/7")
    assert "2.42.6-crash" in json.loads(get(registry, "n8nio/n8n/tags/list")[2])["tags"]
    assert json.loads(get(registry, "library/redis/tags/list")[2])["tags"] == ["7"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("library/mysql/tags/list", 401, "DENIED"),
        ("n8nio/n8n/tags/list?n=0", 400, "PAGINATION_NUMBER_INVALID"),
        ("n8nio/n8n/tags/list?n=1001", 400, "PAGINATION_NUMBER_INVALID"),
        ("n8nio/n8n/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
    ],
)
def test_listings_that_are_refused(registry: RegistryServer, path: str, status: int, code: str) -> None:
    found, _, body = get(registry, path)
    assert (found, refusal(body)) == (status, code)


@pytest.mark.parametrize("repository", CATALOGUE)
def test_each_listed_tag_can_be_had(registry: RegistryServer, repository: str) -> None:
    for tag in json.loads(get(registry, f"{repository}/tags/list")[2])["tags"]:
        assert get(registry, f"{repository}/manifests/{tag}", "HEAD")[0] == 200, tag
