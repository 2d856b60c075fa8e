"""HTTP to parties that are not trusted with our time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from geusemaker.cloud import http, own_address
from geusemaker.cloud.http import Http, HttpError, keep_loopback_direct, proxy_of
from geusemaker.errors import EnvironmentProblemError


class Party:
    """A server that answers what it is told to, once each, and then 200."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        """Status and ``Retry-After``, of the answers to come."""
        self.body = b"{}"
        self.asked: list[tuple[str, str]] = []
        """What was asked for, and the proxy's credentials."""
        party = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                party.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
                status, after = party.answers.pop(0) if party.answers else (200, "")
                self.send_response(status)
                if after:
                    self.send_header("Retry-After", after)
                self.send_header("Content-Length", str(len(party.body)))
                self.end_headers()
                self.wfile.write(party.body)

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def party() -> Iterator[Party]:
    """A server, closed at the end."""
    made = Party()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's own proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_a_short_pause_is_told_and_waited(party: Party) -> None:
    told: list[str] = []
    slept: list[float] = []
    party.answers = [(429, "3"), (503, "2")]
    assert Http(5, told.append, slept.append).request("GET", party.url, {}).status == 200
    assert slept == [3, 2] and told[0] == "127.0.0.1 asks to wait 3 s (it answers 429)."


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 2038 23:59:59 GMT", "16"])
def test_a_long_pause_is_refused_at_once(party: Party, asked: str) -> None:
    slept: list[float] = []
    party.answers = [(429, asked)] * 9
    with pytest.raises(HttpError, match=r"answers 429 \(too many requests\) and asks to come back in \d+ s"):
        Http(5, sleep=slept.append).request("GET", party.url, {})
    assert slept == [] and len(party.asked) == 1


def test_many_short_pauses_are_bounded_together(party: Party) -> None:
    slept: list[float] = []
    party.answers = [(503, "0"), (503, "6"), (503, "6")] * 50
    with pytest.raises(HttpError, match="503"):
        Http(5, sleep=slept.append).request("GET", party.url, {})
    assert sum(slept) <= http.LONGEST_PAUSE_SECONDS and len(party.asked) < 20


@pytest.mark.parametrize("asked", ["", "soon"])
def test_one_that_names_no_pause_is_answered_with_what_it_said(party: Party, asked: str) -> None:
    party.answers = [(429, asked)]
    assert Http(5).request("GET", party.url, {}).status == 429 and len(party.asked) == 1


def test_an_answer_without_end_is_refused(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BODY_BYTES", 10)
    party.body = b"x" * 11
    with pytest.raises(HttpError, match="a longer answer"):
        Http(5).request("GET", party.url, {})
    monkeypatch.setattr(http, "_BODY_SECONDS", -1)
    party.body = b"x"
    with pytest.raises(HttpError, match="did not end within"):
        Http(5).request("GET", party.url, {})


def test_the_environments_proxy_is_asked_and_its_password_told_to_nobody_else(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", party.url.replace("//", "//ann:s%40cret@"))
    assert Http(5).request("GET", "http://registry.example/v2/", {}).status == 200
    assert party.asked == [("http://registry.example/v2/", "Basic YW5uOnNAY3JldA==")]
    party.server.shutdown()
    party.server.server_close()
    with pytest.raises(HttpError, match=r"by way of the proxy 127\.0\.0\.1") as refused:
        Http(1).request("GET", "http://registry.example/v2/", {})
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://registry-1.docker.io/v2/", "http://proxy:3128"),
        ("http://registry.example/v2/", ""),
        ("https://inside.example.com/v2/", ""),
        ("https://127.0.0.1:8000/v2/", ""),
        ("https://localhost/", ""),
        ("https://[::1]:1/", ""),
    ],
)
def test_which_proxy(monkeypatch: pytest.MonkeyPatch, url: str, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    assert proxy_of(url) == proxy


def test_this_machine_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    keep_loopback_direct()
    assert "NO_PROXY" not in os.environ, "no proxy, nothing to keep from it"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "inside, 127.0.0.1")
    keep_loopback_direct()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "inside,127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [(b"203.0.113.7\n", 200, "203.0.113.7"), (b"<html>a login page</html>", 200, ""), (b"203.0.113.7", 500, "")],
)
def test_this_machines_address_is_an_address_or_not_known(
    party: Party, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int, found: str
) -> None:
    monkeypatch.setattr(own_address, "_URL", party.url)
    party.body, party.answers = body, [(status, "")]
    if found:
        assert own_address.ask_own_address(Http(5)) == found
        return
    with pytest.raises(EnvironmentProblemError, match="What this machine's address is, is not known") as unknown:
        own_address.ask_own_address(Http(5))
    assert "--ssh-cidr 203.0.113.7/32" in unknown.value.next_step
