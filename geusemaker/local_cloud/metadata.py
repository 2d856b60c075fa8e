"""An instance's metadata service (IMDSv2), as far as an interruption of a spot instance is told there.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html and
…/spot-instance-termination-notices.html: without a token it is 401, and ``spot/instance-action`` is 404 until EC2 has
marked the instance.

An instance of the kind ``docker`` runs this file as a program, with Python's standard library only, at the address that
it has on EC2. It answers the instance itself: a container's packet would be beyond the hop limit of 1.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import secrets
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

ADDRESS = "169.254.169.254"
NOTICE = "run/spot-notice.json"
"""Below the instance's root: what EC2 has told it; a boot empties the folder."""
TOKEN_PATH = "/latest/api/token"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = f"{TOKEN_HEADER}-ttl-seconds"
ACTION_PATH = "/latest/meta-data/spot/instance-action"


def answer(
    method: str, path: str, headers: Mapping[str, str], tokens: set[str], root: Path, instance_id: str
) -> tuple[int, str]:
    """(HTTP's status, body). ``headers`` has names in small letters; a token given out is put into ``tokens``."""
    if method == "PUT" and path == TOKEN_PATH:
        if not headers.get(TTL_HEADER.lower(), "").isdecimal():
            return 400, ""
        token = secrets.token_urlsafe(40)
        tokens.add(token)
        return 200, token
    if method != "GET":
        return 405, ""
    if headers.get(TOKEN_HEADER.lower()) not in tokens:
        return 401, ""
    if path == "/latest/meta-data/instance-id":
        return 200, instance_id
    if path == ACTION_PATH:
        try:
            return 200, (root / NOTICE).read_text()
        except FileNotFoundError:
            return 404, ""
    return 404, ""


def _take_address() -> None:
    """Have the address on the loopback interface (netdevice(7): SIOCSIFADDR is 0x8916)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH2s4s8s", b"lo:imds", socket.AF_INET, b"", socket.inet_aton(ADDRESS), b"")
        fcntl.ioctl(control, 0x8916, request)


def main() -> None:
    """Answer until the instance ends."""
    tokens: set[str] = set()
    instance_id = json.loads(Path("/etc/geusemaker-local.json").read_text())["instance_id"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.client_address[0] != ADDRESS:
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = answer(self.command, self.path, headers, tokens, Path("/"), instance_id)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET

        def log_message(self, *words: object) -> None:
            """Nobody reads it."""

    _take_address()
    with http.server.ThreadingHTTPServer((ADDRESS, 80), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
