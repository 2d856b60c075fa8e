"""OSV's API, over loopback HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geusemaker.cloud.advisories import Osv, read
from geusemaker.models.advisory import Span
from tests import osv
from tests.osv import N8N, record

NOW = datetime(2026, 11, 29, 2, 10, tzinfo=UTC)
AFFECTED = {"introduced": "0"}, {"fixed": "2.0.0"}


@pytest.fixture
def server() -> Iterator[osv.Osv]:
    with osv.serving() as running:
        yield running


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(server: osv.Osv, tmp_path: Path, clock: Clock) -> Osv:
    return Osv(f"{server.url}/", tmp_path / "advisories.json", clock)


def ids(client: Osv, version: str = "1.100.1") -> list[str]:
    found = client.published(*N8N, version)
    assert (found.problem, found.day) == ("", None)
    return [one.id for one in found.advisories]


def test_what_is_asked_and_what_is_found(client: Osv, server: osv.Osv) -> None:
    assert ids(client) == ["GHSA-v4pr-fm98-w9pg", "GHSA-v364-rw7m-3263", "GHSA-2222-2222-2222"]
    assert server.asked == [{"package": {"name": "n8n", "ecosystem": "npm"}, "version": "1.100.1"}]
    assert client.published("Bitnami", "postgresql", "16.9.0").advisories == (), "of medium severity"
    assert ids(client, "2.42.6") == [], "an empty document"


def test_pages_are_followed(client: Osv, server: osv.Osv) -> None:
    server.a_page = 1
    assert len(ids(client)) == 3
    assert [question.get("page_token") for question in server.asked] == [None, "1", "2"]


def test_pages_without_end_are_a_problem(client: Osv, server: osv.Osv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "answer", lambda question: {"vulns": [], "next_page_token": "again"})
    assert client.published(*N8N, "1.0.0").problem == "127.0.0.1 gives more than 20 pages"


def test_it_is_asked_once_a_day(client: Osv, server: osv.Osv, clock: Clock, tmp_path: Path) -> None:
    first = ids(client)
    clock.now += timedelta(hours=23)
    assert ids(client) == first and len(server.asked) == 1
    again = Osv(server.url, tmp_path / "advisories.json", clock)
    assert ids(again) == first and len(server.asked) == 1, "another process"
    clock.now += timedelta(hours=2)
    assert ids(again) == first and len(server.asked) == 2


def test_offline_an_older_answer_serves_with_its_day(client: Osv, server: osv.Osv, clock: Clock) -> None:
    known = ids(client)
    clock.now += timedelta(days=3)
    server.status = 500
    found = client.published(*N8N, "1.100.1")
    assert [one.id for one in found.advisories] == known
    assert (found.day, found.problem) == (NOW.date(), "127.0.0.1 answers 500")


def test_answers_are_dropped_one_day(client: Osv, clock: Clock, tmp_path: Path) -> None:
    ids(client)
    clock.now += timedelta(days=91)
    ids(client, "1.101.0")
    assert list(json.loads((tmp_path / "advisories.json").read_text())) == ["npm n8n 1.101.0"]


@pytest.mark.parametrize("content", ["", "[]", '{"npm n8n 1.100.1": ["yesterday", []]}', '{"npm n8n 1.100.1": 7}'])
def test_a_damaged_file_is_as_good_as_none(client: Osv, tmp_path: Path, content: str) -> None:
    (tmp_path / "advisories.json").write_text(content)
    assert len(ids(client)) == 3


def test_a_file_that_cannot_be_written_costs_a_question(server: osv.Osv, tmp_path: Path, clock: Clock) -> None:
    client = Osv(server.url, tmp_path / "nowhere" / "advisories.json", clock)
    assert len(ids(client)) == len(ids(client)) == 3
    assert len(server.asked) == 2


def test_nobody_answers(tmp_path: Path, clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = Osv(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path / "advisories.json", clock)
        found = client.published(*N8N, "1.100.1")
    assert found.advisories == () and found.problem == "127.0.0.1 cannot be reached (NewConnectionError)"
    assert not (tmp_path / "advisories.json").exists(), "what is not known is not kept"


@pytest.mark.parametrize("address", ["osv", "ftp://127.0.0.1", "https://"])
def test_an_address_that_is_none(address: str, tmp_path: Path, clock: Clock) -> None:
    found = Osv(address, tmp_path / "advisories.json", clock).published(*N8N, "1.0.0")
    assert found.problem.endswith("cannot be asked: GEUSEMAKER_ADVISORIES is neither a URL nor `off`")


@pytest.mark.parametrize(("answer", "problem"), [([], "gives another answer than is known of it"), ("x", "")])
def test_an_answer_that_is_none(
    client: Osv, server: osv.Osv, monkeypatch: pytest.MonkeyPatch, answer: Any, problem: str
) -> None:
    monkeypatch.setattr(server, "answer", lambda question: answer)
    assert problem in client.published(*N8N, "1.0.0").problem != ""


def test_an_answer_that_is_no_json(client: Osv, server: osv.Osv) -> None:
    server.says = b"<html>"
    assert client.published(*N8N, "1.0.0").problem == "127.0.0.1 gives no JSON"


@pytest.mark.parametrize(
    "more",
    [
        {"id": "MAL-2026-1"},
        {"withdrawn": "2026-01-09T00:00:00Z"},
        {"database_specific": {"severity": "MODERATE"}},
        {"database_specific": {}, "severity": []},
        {"database_specific": {}, "severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}]},
        {"severity": "high", "database_specific": None},
        {"affected": [{"package": 7}]},
    ],
)
def test_what_is_left_out(more: dict[str, Any]) -> None:
    assert read({**record("GHSA-1", N8N, *AFFECTED), **more}, *N8N) is None
    assert read("no record", *N8N) is None


def test_severity_by_the_vector_where_there_is_no_word() -> None:
    """Bitnami's are those of the package, others' those of the record; the worst counts."""
    document = record("BIT-1", N8N, *AFFECTED, database_specific={}, severity=[])
    document["affected"][0]["severity"] = [
        {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"},
        {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"},
    ]
    found = read(document, *N8N)
    assert found is not None and found.severity == "high"
    document["severity"] = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    found = read(document, *N8N)
    assert found is not None and found.severity == "critical"


def test_what_is_known_by_its_repository_alone() -> None:
    """A CVE of OSV's own making: commits, the tags that have it, and at times the versions that it was made of."""
    entry: dict[str, Any] = {
        "ranges": [{"type": "GIT", "repo": "https://github.com/qdrant/qdrant", "events": [{"introduced": "0"}]}],
        "versions": ["v1.8.0", "v1.8.1"],
    }
    document = record("CVE-2024-2221", N8N, *AFFECTED) | {"affected": [entry]}
    git = ("GIT", "https://github.com/qdrant/qdrant.git")
    found = read(document, *git)
    assert found is not None and (found.spans, found.versions) == ((), ("v1.8.0", "v1.8.1"))
    entry["ranges"][0]["database_specific"] = {"versions": [{"introduced": "0"}, {"fixed": "1.9.0"}]}
    found = read(document, *git)
    assert found is not None and found.versions == ()
    assert found.spans == (Span(events=(("introduced", "0"), ("fixed", "1.9.0"))),)


def test_packages_that_stand_in_the_same_record_are_not_of_ours() -> None:
    document = record("GHSA-1", N8N, *AFFECTED)
    other = record("GHSA-1", ("npm", "n8n-core"), {"introduced": "3.0.0"})
    document["affected"] += other["affected"]
    found = read(document, *N8N)
    assert found is not None and len(found.spans) == 1 and not found.affects("3.1.0")
