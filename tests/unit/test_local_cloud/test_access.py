from __future__ import annotations

import io
import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.access import (
    AccessKey,
    belongs_to_owner,
    check_signature,
    read_whole_body,
    require_own_folder,
)
from geusemaker.local_cloud.strictness import AwsRefusalError

KEY = AccessKey("geusemaker-local", "the-key-of-this-cloud")
NOBODY = 65534


def signed(service: str, method: str, target: str, body: bytes, key: AccessKey = KEY, **more: str) -> dict[str, Any]:
    """The WSGI environment of a request as botocore, which every AWS SDK for Python uses, signs it."""
    request = AWSRequest(method, f"http://127.0.0.1:4000{target}", headers=more, data=body)
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(key.id, key.secret), service, "eu-west-1")
    auth.add_auth(request)
    path = urlsplit(target)
    environ = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "PATH_INFO": path.path,
        "QUERY_STRING": path.query,
        "HTTP_HOST": "127.0.0.1:4000",
    }
    for name, value in request.headers.items():
        variable = name.upper().replace("-", "_")
        environ[variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"] = _text(value)
    return environ


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


CALLS = [
    ("ec2", "POST", "/", b"Action=DescribeInstances&Version=2016-11-15"),
    ("iam", "POST", "/", b"Action=GetRole&RoleName=r%20s"),
    ("elasticfilesystem", "POST", "/2015-02-01/file-systems", b'{"CreationToken": "a"}'),
    ("elasticfilesystem", "GET", "/2015-02-01/mount-targets?FileSystemId=fs-1&MaxItems=2", b""),
    ("elasticfilesystem", "DELETE", "/2015-02-01/resource-tags/fs-1?tagKeys=b&tagKeys=a%20b", b""),
    ("s3", "PUT", "/bucket/a%20key/with//slashes/..%2Fdots", b"\x00\xffbinary"),
    ("s3", "GET", "/bucket?list-type=2&prefix=.pulumi%2Fstacks&delimiter", b""),
]


@pytest.mark.parametrize(("service", "method", "target", "body"), CALLS)
def test_a_call_signed_with_the_clouds_key_is_taken(service: str, method: str, target: str, body: bytes) -> None:
    check_signature(signed(service, method, target, body), body, KEY)


@pytest.mark.parametrize(("service", "method", "target", "body"), CALLS)
def test_another_key_is_turned_away_on_every_service(service: str, method: str, target: str, body: bytes) -> None:
    other = AccessKey(KEY.id, "another clouds key")
    with pytest.raises(AwsRefusalError) as refused:
        check_signature(signed(service, method, target, body, key=other), body, KEY)
    assert (refused.value.code, refused.value.status) == ("SignatureDoesNotMatch", 403)


_SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@example("s3", ["a"], [("tag", "1"), ("tag1", "2"), ("tag", "0")], b"")
@given(
    st.sampled_from(["s3", "elasticfilesystem"]),
    st.lists(_SEGMENT, min_size=1, max_size=4),
    st.lists(st.tuples(_SEGMENT, _SEGMENT), max_size=4),
    st.binary(max_size=64),
)
def test_whatever_botocore_signs_is_verified(
    service: str, segments: list[str], query: list[tuple[str, str]], body: bytes
) -> None:
    target = "/" + "/".join(quote(segment, safe="-_.~") for segment in segments)
    if query:
        target += "?" + "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    check_signature(signed(service, "PUT", target, body), body, KEY)


def _mangled(what: str) -> tuple[dict[str, Any], bytes]:
    body = b"Action=RunInstances"
    environ = signed("ec2", "POST", "/", body)
    match what:
        case "body":
            return environ, b"Action=RunInstances&InstanceType=p5.48xlarge"
        case "path":
            environ["REQUEST_URI"] = "/other"
        case "method":
            environ["REQUEST_METHOD"] = "PUT"
        case "query":
            environ["REQUEST_URI"] = "/?Action=TerminateInstances"
        case "host":
            environ["HTTP_HOST"] = "127.0.0.1:5000"
        case "scope":
            environ["HTTP_AUTHORIZATION"] = environ["HTTP_AUTHORIZATION"].replace("/ec2/", "/iam/")
    return environ, body


@pytest.mark.parametrize("what", ["body", "path", "method", "query", "host", "scope"])
def test_what_was_signed_cannot_be_changed(what: str) -> None:
    environ, body = _mangled(what)
    with pytest.raises(AwsRefusalError) as refused:
        check_signature(environ, body, KEY)
    assert refused.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({"REQUEST_METHOD": "POST", "REQUEST_URI": "/"}, "MissingAuthenticationToken"),
        ({"REQUEST_METHOD": "POST", "HTTP_AUTHORIZATION": "Basic YTpi"}, "MissingAuthenticationToken"),
        (signed("ec2", "POST", "/", b"", key=AccessKey("anybody", "anything")), "InvalidClientTokenId"),
    ],
)
def test_an_unsigned_call_or_a_foreign_key_is_named_as_aws_names_it(environ: dict[str, Any], code: str) -> None:
    with pytest.raises(AwsRefusalError) as refused:
        check_signature(environ, b"", KEY)
    assert (refused.value.code, refused.value.status) == (code, 403)


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_call_that_was_recorded_cannot_be_played_again_later(minutes: int) -> None:
    environ = signed("ec2", "POST", "/", b"")
    later = datetime.now(UTC) + timedelta(minutes=minutes)
    with pytest.raises(AwsRefusalError) as refused:
        check_signature(environ, b"", KEY, now=later)
    assert refused.value.code == "RequestExpired"


def test_a_body_other_than_the_signed_digest_is_refused() -> None:
    environ = signed("s3", "PUT", "/bucket/key", b"one")
    with pytest.raises(AwsRefusalError) as refused:
        check_signature(environ, b"two", KEY)
    assert refused.value.code == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize("terminated", [True, False])
def test_the_body_can_be_read_again(terminated: bool) -> None:
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(b"abc"), "HTTP_TRANSFER_ENCODING": "chunked"}
    environ |= {"wsgi.input_terminated": True} if terminated else {"CONTENT_LENGTH": "3"}
    assert read_whole_body(environ) == b"abc"
    assert (environ["wsgi.input"].read(), environ["CONTENT_LENGTH"]) == (b"abc", "3")
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    made = AccessKey.make(path)
    assert AccessKey.make(path) == AccessKey.read(path) == made
    assert len(made.secret) >= 30 and made.secret not in repr(made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert AccessKey.make(tmp_path / "other.json").secret != made.secret


@pytest.mark.parametrize("text", [None, "", "{}", '{"access_key_id": "a"}', "[1]"])
def test_a_key_that_cannot_be_read_says_what_to_do_and_nothing_of_the_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "access.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LocalCloudError) as refused:
        AccessKey.read(path)
    assert "geusemaker local stop" in (refused.value.next_step or "")
    assert not text or text not in str(refused.value)


def test_a_folder_that_others_can_write_to_is_not_loaded_from(tmp_path: Path) -> None:
    require_own_folder(tmp_path)
    for mode in (0o720, 0o702):
        tmp_path.chmod(mode)
        with pytest.raises(LocalCloudError, match="Others can write"):
            require_own_folder(tmp_path)
    tmp_path.chmod(0o755)
    require_own_folder(tmp_path)


def test_a_folder_of_another_user_is_not_loaded_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(LocalCloudError, match="belongs to another user"):
        require_own_folder(tmp_path)


def test_a_connection_of_this_user_is_told_by_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            own = client.getsockname()[1]
            assert belongs_to_owner(("127.0.0.1", own), port)
            assert not belongs_to_owner(("127.0.0.1", own), port + 1), "a connection to something else"
            assert not belongs_to_owner(("192.0.2.1", own), port), "not loopback"
        assert not belongs_to_owner(("127.0.0.1", 1), port), "no such connection"


def test_a_connection_that_was_closed_after_its_question_is_nobodys() -> None:
    """The kernel lists it with user 0, whosever it was: it is not root's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, peer = server.accept()
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with accepted:
            accepted.settimeout(10)
            while accepted.recv(100):
                pass  # until the end of the other side has arrived
            assert not belongs_to_owner(peer, port)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user: NOT TESTED against a real one")
def test_a_connection_of_another_user_is_told_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; read -r"
        other = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, user=NOBODY, cwd="/")
        accepted, peer = server.accept()
        with accepted:
            assert not belongs_to_owner(peer, port)
            monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
            assert belongs_to_owner(peer, port)
        other.communicate(timeout=30)
