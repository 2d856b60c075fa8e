"""The services' small HTTP server, against the standard library's client."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from geusemaker.local_cloud.containers.services.http import HttpError, Request, ready_or_503, serve


def echo(request: Request) -> dict[str, object]:
    return {"name": request.match["name"], "body": request.json()}


def broken(request: Request) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def client() -> Iterator[http.client.HTTPConnection]:
    listener = socket.create_server(("127.0.0.1", 0))
    routes = [
        ("GET", "/text", lambda request: "hello"),
        ("PUT", "/things/(?P<name>[a-z]+)", echo),
        ("GET", "/sick", lambda request: ready_or_503(False, {})),
        ("GET", "/broken", broken),
    ]
    serve(listener, routes, {"X-Image-Tag": "1.2.3"})
    connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=10)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    client.request(method, path, body)
    response = client.getresponse()
    assert response.headers["X-Image-Tag"] == "1.2.3"
    return response.status, response.read()


def test_answers_over_one_connection(client: http.client.HTTPConnection) -> None:
    assert ask(client, "GET", "/text?x=1") == (200, b"hello")
    assert ask(client, "HEAD", "/text") == (200, b"")
    status, body = ask(client, "PUT", "/things/abc", '{"a": 1}')
    assert (status, json.loads(body)) == (200, {"name": "abc", "body": {"a": 1}})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("POST", "/text", None, 405),
        ("PUT", "/things/abc", "{", 400),
        ("GET", "/sick", None, 503),
        ("GET", "/broken", None, 500),
    ],
)
def test_refusals(client: http.client.HTTPConnection, method: str, path: str, body: str | None, status: int) -> None:
    assert ask(client, method, path, body)[0] == status


def test_what_is_not_http_is_hung_up_on(client: http.client.HTTPConnection) -> None:
    with socket.create_connection((client.host, client.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
        assert connection.recv(10) == b""


def test_queries_escapes_and_bytes() -> None:
    request = Request("GET", "/x?wait=true&name=a%20b&flag", {}, b"")
    assert (request.path, request.query) == ("/x", {"wait": "true", "name": "a b", "flag": ""})


def test_an_uploaded_file_is_taken_out_of_its_form() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.tar"\r\n\r\n\x00\r\n\xff\r\n--x--\r\n'
    )
    request = Request("POST", "/", {"content-type": "multipart/form-data; boundary=x"}, body)
    assert request.upload("file") == ("a.tar", b"\x00\r\n\xff")
    for wrong in (request, Request("POST", "/", {}, body)):
        with pytest.raises(HttpError) as refused:
            wrong.upload("nothing")
        assert refused.value.status == 400
