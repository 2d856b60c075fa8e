"""A stand-in for OSV's API on loopback: answers of the real shape, picked by a reading of the ranges of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def record(id_: str, package: tuple[str, str], *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """A record of one package and one range."""
    ecosystem, name = package
    return {
        "id": id_,
        "summary": f"{id_} of {name}",
        "details": "…",
        "aliases": [],
        "modified": "2026-01-08T00:11:22Z",
        "published": "2026-01-07T19:02:41Z",
        "database_specific": {"github_reviewed": True, "severity": "CRITICAL", "cwe_ids": ["CWE-20"]},
        "references": [{"type": "WEB", "url": "https://example.org"}],
        "affected": [
            {
                "package": {"name": name, "ecosystem": ecosystem, "purl": f"pkg:{ecosystem.lower()}/{name}"},
                "ranges": [{"type": "SEMVER", "events": list(events)}],
                "database_specific": {"source": "https://example.org/record.json"},
            }
        ],
        "schema_version": "1.7.3",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:N"}],
        **more,
    }


N8N, OLLAMA = ("npm", "n8n"), ("Go", "github.com/ollama/ollama")
POSTGRESQL = ("Bitnami", "postgresql")
RECORDS = (
    record("GHSA-v4pr-fm98-w9pg", N8N, {"introduced": "1.65.0"}, {"fixed": "1.121.0"}, aliases=["CVE-2026-21858"]),
    record("GHSA-v364-rw7m-3263", N8N, {"introduced": "0.123.0"}, {"fixed": "1.121.3"}, aliases=["CVE-2026-21877"]),
    # The two below are made up.
    record("GHSA-2222-2222-2222", N8N, {"introduced": "1.90.0"}, {"fixed": "1.101.0"}, aliases=["CVE-2026-2222"]),
    record(
        *("GHSA-3333-3333-3333", OLLAMA, {"introduced": "0"}, {"fixed": "0.33.0"}),
        database_specific={"severity": "HIGH"},
    ),
    record(
        *("BIT-postgresql-2026-14678", POSTGRESQL, {"introduced": "16.0.0"}, {"fixed": "16.15.0"}),
        database_specific={"severity": "Medium"},
        aliases=["CVE-2026-14678"],
    ),
)


def _has(version: str, document: dict[str, Any]) -> bool:
    def key(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    first, mended = document["affected"][0]["ranges"][0]["events"]
    return key(first["introduced"]) <= key(version) < key(mended["fixed"])


class Osv:
    """What is asked, and what is answered."""

    def __init__(self, records: tuple[dict[str, Any], ...]) -> None:
        self.records = records
        self.asked: list[dict[str, Any]] = []
        """The questions, as they came."""
        self.status = 200
        self.says = b""
        """What it answers whatever is asked."""
        self.a_page = 100
        """So many records a page has."""
        self.answers = threading.Event()
        """Until this is set nothing is answered."""
        self.answers.set()
        self.url = ""

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """As api.osv.dev does: nothing found is an empty document."""
        self.asked.append(question)
        package = {"name": question["package"]["name"], "ecosystem": question["package"]["ecosystem"]}
        found = [
            one
            for one in self.records
            if package.items() <= one["affected"][0]["package"].items() and _has(question["version"], one)
        ]
        start = int(question.get("page_token") or 0)
        page: dict[str, Any] = {"vulns": found[start : start + self.a_page]} if found else {}
        if start + self.a_page < len(found):
            page["next_page_token"] = str(start + self.a_page)
        return page


@contextmanager
def serving(records: tuple[dict[str, Any], ...] = RECORDS) -> Iterator[Osv]:
    """It listens on a free port of loopback."""
    osv = Osv(records)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            osv.answers.wait(30)
            body = json.dumps(osv.answer(question) if osv.status == 200 else {"code": 3, "message": "no"}).encode()
            body = osv.says or body
            assert self.path == "/v1/query"
            self.send_response(osv.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked did not wait for it
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    osv.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield osv
    finally:
        osv.answers.set()
        server.shutdown()
        server.server_close()
