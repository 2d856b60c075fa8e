"""Qdrant's stand-in, asked as a client asks: collections, aliases, and snapshots with their refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.qdrant_server import QdrantServer as Server


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def build(tag: str) -> Server:
        servers.append(Server(tmp_path / f"container-{len(servers)}", tag, tmp_path / "storage"))
        return servers[-1]

    yield build


@pytest.fixture
def server(make: Callable[[str], Server]) -> Server:
    """v1.14.1 with a collection of two points."""
    made = make("v1.14.1")
    assert made("PUT", "/collections/docs", {"vectors": {"size": 1, "distance": "Dot"}}) == (200, True)
    made.add("docs", 1, 2)
    return made


def test_a_snapshot_is_made_listed_fetched_and_deleted(server: Server) -> None:
    status, made = server("POST", "/collections/docs/snapshots")
    assert status == 200 and made["name"].startswith("docs-") and made["name"].endswith(".snapshot")
    assert server("GET", "/collections/docs/snapshots") == (200, [made])
    status, data = server("GET", f"/collections/docs/snapshots/{made['name']}")
    assert (status, len(data), hashlib.sha256(data).hexdigest()) == (200, made["size"], made["checksum"])
    assert server("DELETE", f"/collections/docs/snapshots/{made['name']}") == (200, True)
    assert server("GET", "/collections/docs/snapshots") == (200, [])
    assert list(server.snapshots.glob("docs/*")) == []


def test_what_is_not_there_is_404(server: Server) -> None:
    assert server("POST", "/collections/nope/snapshots") == (404, "Not found: Collection `nope` doesn't exist!")
    for method in ("GET", "DELETE"):
        assert server(method, "/collections/docs/snapshots/no.snapshot") == (404, "Not found: Snapshot no.snapshot")
        assert server(method, "/collections/docs/snapshots/..%2Fx")[0] == 404


def snapshot(server: Server) -> bytes:
    name = server("POST", "/collections/docs/snapshots")[1]["name"]
    data: bytes = server("GET", f"/collections/docs/snapshots/{name}")[1]
    return data


def test_an_uploaded_snapshot_replaces_the_points_and_stays_in_the_folder(server: Server) -> None:
    data = snapshot(server)
    server.add("docs", 3)
    assert server.upload("docs", data) == (200, True)
    assert server.points("docs") == 2
    kept = {found["name"]: found for found in server("GET", "/collections/docs/snapshots")[1]}
    assert "checksum" not in kept["mine.snapshot"]
    assert server("DELETE", "/collections/docs/snapshots/mine.snapshot") == (200, True)


def test_a_collection_that_is_gone_is_made_again(server: Server) -> None:
    data = snapshot(server)
    assert server("DELETE", "/collections/docs") == (200, True)
    assert server.upload("docs", data)[0] == 200
    assert server.points("docs") == 2
    assert server("GET", "/collections/docs")[1]["config"]["params"]["vectors"]["size"] == 1


def test_another_checksum_other_vectors_and_no_archive_are_refused(server: Server) -> None:
    data = snapshot(server)
    assert server.upload("docs", data, f"checksum={'0' * 64}")[0] == 400
    assert server.upload("docs", data, f"checksum={hashlib.sha256(data).hexdigest()}")[0] == 200
    assert server.upload("docs", b"nonsense")[0] == 500
    server("DELETE", "/collections/docs")
    server("PUT", "/collections/docs", {"vectors": {"size": 2, "distance": "Dot"}})
    status, problem = server.upload("docs", data)
    assert status == 400 and problem.startswith("Wrong input: Snapshot is not compatible with existing collection")


@pytest.mark.parametrize(("tag", "status"), [("v1.13.9", 500), ("v1.14.0", 200), ("v1.15.0", 200), ("latest", 200)])
def test_a_snapshot_of_a_newer_minor_version_is_refused(
    server: Server, make: Callable[[str], Server], tag: str, status: int
) -> None:
    data = snapshot(server)
    other = make(tag)
    code, problem = other.upload("docs", data)
    assert code == status
    assert code == 200 or "Data version 1.14.1 is newer than application version 1.13.9" in problem


def test_a_containers_snapshots_die_with_it(server: Server, make: Callable[[str], Server]) -> None:
    server("POST", "/collections/docs/snapshots")
    assert make("v1.14.1")("GET", "/collections/docs/snapshots") == (200, [])


def test_aliases_follow_their_collection(server: Server) -> None:
    action = {"create_alias": {"alias_name": "current", "collection_name": "docs"}}
    assert server("POST", "/collections/aliases", {"actions": [action]}) == (200, True)
    assert server("GET", "/aliases")[1] == {"aliases": [{"alias_name": "current", "collection_name": "docs"}]}
    server("DELETE", "/collections/docs")
    assert server("GET", "/aliases")[1] == {"aliases": []}
    assert server("POST", "/collections/aliases", {"actions": [action]})[0] == 404
