"""HTTP to parties that are not trusted with our time: their waits are bounded and told, and proxies are honoured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3

LONGEST_PAUSE_SECONDS: Final = 15.0
"""Of what a party asks to wait, this much is waited, in all for one request."""
_BODY_BYTES: Final = 8 * 2**20
"""More than any manifest: the distribution specification lets registries refuse those above 4 MiB."""
_BODY_SECONDS: Final = 30.0
_ASKS_TO_WAIT: Final = (429, 503)


class HttpError(Exception):
    """There is no answer that could be used; the text says why: what that party does."""


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Http:
    """Asks over HTTP.

    Args:
        timeout_seconds: for each request, until the answer begins.
        note: told when a party makes us wait.
        sleep: waits.
    """

    def __init__(
        self,
        timeout_seconds: float,
        note: Callable[[str], None] = lambda text: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = {
            "timeout": urllib3.Timeout(total=timeout_seconds),
            # Its own waiting is not bounded: that is done here.
            "retries": urllib3.Retry(2, redirect=3, backoff_factor=0.2, respect_retry_after_header=False),
        }
        self._note = note
        self._sleep = sleep
        self._pools: dict[str, urllib3.PoolManager] = {}

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """The answer to a request.

        Raises:
            HttpError: nobody answers, or only after longer than anybody waits.
        """
        waited = 0.0
        while True:
            answer, pause = self._ask(method, url, headers, body)
            if answer.status not in _ASKS_TO_WAIT or pause is None:
                return answer
            host = urlsplit(url).hostname or url
            if waited + pause > LONGEST_PAUSE_SECONDS:
                why = "too many requests" if answer.status == 429 else "not available now"
                raise HttpError(f"answers {answer.status} ({why}) and asks to come back in {pause:.0f} s")
            self._note(f"{host} asks to wait {pause:.0f} s (it answers {answer.status}).")
            self._sleep(pause)
            waited += max(pause, 1.0)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[Answer, float | None]:
        """The answer, and the pause in seconds that it asks for."""
        try:
            response = self._pool(url).request(method, url, headers=dict(headers), body=body, preload_content=False)
            try:
                data = _body(response)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
            raise HttpError(f"cannot be reached ({type(reason).__name__}{self._by_proxy(url)})") from error
        asked = response.headers.get("Retry-After")
        return Answer(response.status, response.headers, data), _seconds(asked) if asked is not None else None

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_of(url)
        if proxy not in self._pools:
            self._pools[proxy] = self._make(proxy) if proxy else urllib3.PoolManager(**self._options)  # type: ignore[arg-type]
        return self._pools[proxy]

    def _make(self, proxy: str) -> urllib3.PoolManager:
        parts = urlsplit(proxy)
        headers = None
        if parts.username is not None:
            account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=account)
        return urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            proxy_headers=headers,
            **self._options,  # type: ignore[arg-type]
        )

    def _by_proxy(self, url: str) -> str:
        proxy = proxy_of(url)
        return f", by way of the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}" if proxy else ""


def proxy_of(url: str) -> str:
    """The proxy that the environment names for a URL (``HTTPS_PROXY``, ``NO_PROXY`` …); empty: none.

    This machine's own loopback is never asked by way of another.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return ""
    proxies = getproxies_environment()
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], proxies):
        return ""
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def keep_loopback_direct() -> None:
    """Have everything in this process and its children reach this machine itself without the environment's proxy.

    Engine and program talk over loopback, and so does the local cloud: gRPC and botocore would ask the proxy for it.
    """
    if not getproxies_environment():
        return
    names = ("NO_PROXY", "no_proxy")  # where both are there, some programs read only the one and some the other
    known = [entry.strip() for name in names for entry in os.environ.get(name, "").split(",") if entry.strip()]
    os.environ |= dict.fromkeys(names, ",".join(dict.fromkeys([*known, "localhost", "127.0.0.1", "::1"])))


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """The body, if it comes in time and is not without end: who sends a byte now and then would hold us for ever."""
    deadline = time.monotonic() + _BODY_SECONDS
    data = b""
    while chunk := response.read1(65536):
        data += chunk
        if len(data) > _BODY_BYTES:
            raise HttpError("gives a longer answer than any that could be meant")
        if time.monotonic() > deadline:
            raise HttpError(f"gives an answer that did not end within {_BODY_SECONDS:.0f} s")
    return data


def _seconds(asked: str) -> float | None:
    """A ``Retry-After`` in seconds; None for one that cannot be read."""
    try:
        return max(float(urllib3.Retry().parse_retry_after(asked)), 0.0)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
