"""Who may use a local cloud: loopback alone is no authentication, since every user of the machine is on it.

Whoever calls the AWS API could import a key, run an instance and log in as the user that the local cloud runs as. So
the API takes only calls signed with this cloud's own key (Signature Version 4, as AWS does), and its other ports only
connections of the user that it belongs to. Cheap to import.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.files import write_json
from geusemaker.local_cloud.strictness import AwsRefusalError

__all__ = ["AccessKey", "belongs_to_owner", "check_signature", "read_whole_body", "require_own_folder"]

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request,\s*SignedHeaders=(?P<signed>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW: Final = timedelta(minutes=15)
"""docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html: older requests are refused."""
_LOOPBACK: Final = {"127.0.0.1": "0100007F", "::ffff:127.0.0.1": "0100007F"}


@dataclass(frozen=True)
class AccessKey:
    """The one access key of a local cloud."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey({self.id}, …)"

    @classmethod
    def make(cls, path: Path) -> AccessKey:
        """The key of the cloud; generated where it has none, as one from before keys were asked for."""
        if not path.exists():
            made = {"access_key_id": "geusemaker-local", "secret_access_key": secrets.token_urlsafe(30)}
            write_json(path, made)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> AccessKey:
        """The key of the cloud.

        Raises:
            LocalCloudError: there is none that can be read.
        """
        try:
            document = json.loads(path.read_text())
            return cls(str(document["access_key_id"]), str(document["secret_access_key"]))
        except FileNotFoundError:
            raise LocalCloudError(
                f"The local cloud that runs has no access key ({path} is missing): an earlier geusemaker started it.",
                next_step="Run `geusemaker local stop && geusemaker local start`; its instances and data come back.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            # Not the error itself: it may quote what the file holds.
            raise LocalCloudError(
                f"The local cloud's access key {path} cannot be read ({type(error).__name__}).",
                next_step=f"For a new one, run `geusemaker local stop && rm {path} && geusemaker local start`.",
            ) from None


def require_own_folder(folder: Path) -> None:
    """Refuse a folder that others can write to: what is loaded from it is code (pickle).

    Raises:
        LocalCloudError: it is another user's, or others may write to it.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise LocalCloudError(
            f"The local cloud's folder {folder} belongs to another user (id {found.st_uid}).",
            next_step="Set GEUSEMAKER_LOCAL_DIR to a folder of your own.",
        )
    if found.st_mode & 0o022:
        raise LocalCloudError(
            f"Others can write to the local cloud's folder {folder}, and what lies in it is run.",
            next_step=f"Run: chmod go-w {folder}",
        )


def belongs_to_owner(peer: tuple[str, int], own_port: int) -> bool:
    """Whether the other end of a loopback connection is a process of this user, or of root.

    The kernel knows whose a socket is (proc(5), /proc/net/tcp); no secret has to be handed to programs, like the Pulumi
    engine, that have no way to show one.
    """
    address, port = peer
    if address not in _LOOPBACK:
        return False
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except FileNotFoundError:  # without IPv6
            continue
        for line in lines:
            _, local, remote, _, _, _, _, uid, _, inode = line.split()[:10]
            is_peer = _is(local, address, port) and int(remote.rpartition(":")[2], 16) == own_port
            # One that was closed already, whosever it was, is listed as root's, and has no inode.
            if is_peer and inode != "0" and int(uid) in (os.geteuid(), 0):
                return True
    return False


def _is(end: str, address: str, port: int) -> bool:
    host, _, number = end.rpartition(":")
    return int(number, 16) == port and host.endswith(_LOOPBACK[address])


def read_whole_body(environ: dict[str, Any]) -> bytes:
    """The request's body, which stays there to be read by whoever comes next."""
    if environ.get("wsgi.input_terminated"):
        body: bytes = environ["wsgi.input"].read()
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def check_signature(environ: Mapping[str, Any], body: bytes, key: AccessKey, now: datetime | None = None) -> None:
    """Refuse a call that was not signed with the cloud's key.

    docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    Raises:
        AwsRefusalError: MissingAuthenticationToken, InvalidClientTokenId, SignatureDoesNotMatch, RequestExpired
    """
    found = _AUTHORIZATION.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        raise AwsRefusalError("MissingAuthenticationToken", "The request is not signed (Signature Version 4).", 403)
    if not hmac.compare_digest(found["key"], key.id):
        raise AwsRefusalError(
            "InvalidClientTokenId", "The access key is not this local cloud's; see `geusemaker local env`.", 403
        )
    headers = {name: _header(environ, name) for name in found["signed"].split(";")}
    stamp = headers.get("x-amz-date") or _header(environ, "x-amz-date")
    if "host" not in headers or not _is_fresh(stamp, now or datetime.now(UTC)) or not stamp.startswith(found["day"]):
        raise AwsRefusalError("RequestExpired", "The request was not signed within the last 15 minutes.", 400)
    digest = hashlib.sha256(body).hexdigest()
    said = _header(environ, "x-amz-content-sha256") or digest
    if re.fullmatch(r"[0-9a-f]{64}", said) and said != digest:
        raise AwsRefusalError("XAmzContentSHA256Mismatch", "The body is not the one that was signed.", 400)
    raw_path, _, query = str(environ.get("REQUEST_URI") or environ.get("RAW_URI") or "/").partition("?")
    canonical = "\n".join(
        (
            environ["REQUEST_METHOD"],
            _canonical_path(raw_path, found["service"]),
            "&".join(f"{name}={value}" for name, value in sorted(_pairs(query))),
            *(f"{name}:{' '.join(value.split())}" for name, value in headers.items()),
            "",
            found["signed"],
            said,
        )
    )
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
    signing_key = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    expected = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, found["signature"]):
        raise AwsRefusalError("SignatureDoesNotMatch", "The request was not signed with this local cloud's key.", 403)


def _header(environ: Mapping[str, Any], name: str) -> str:
    variable = name.upper().replace("-", "_")
    return str(environ.get(variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}", ""))


def _is_fresh(stamp: str, now: datetime) -> bool:
    try:
        signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - signed) <= _SKEW


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    """The parameters as they were sent; they are signed in the order of their names, and a name may begin another."""
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield name, value


def _canonical_path(raw: str, service: str) -> str:
    """S3 signs the path as it is sent; every other service encodes it once more, after it took out dots and slashes."""
    from botocore.utils import normalize_url_path  # here and not above: a client that only asks need not load it

    path = urlsplit(raw).path if "://" in raw else raw
    if service in ("s3", "s3-outposts"):
        return path or "/"
    return quote(normalize_url_path(path or "/"), safe="/-_.~")
