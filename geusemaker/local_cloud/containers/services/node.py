"""``node -e SCRIPT URL METHOD BODY`` in n8n's container, whatever the script: the agent's asks n8n a question."""

from __future__ import annotations

import re
import socket
import sys
from typing import Final

from geusemaker.local_cloud.containers.services.container import Container

_URL: Final = re.compile(r"http://127\.0\.0\.1:(\d+)(/\S*)")
_SECONDS: Final = 8.0


def run(container: Container, argv: list[str]) -> int:
    """Ask, and print the answer; 1 where there is none."""
    match = _URL.fullmatch(argv[2]) if len(argv) == 5 and argv[0] == "-e" else None
    if match is None:
        print("the local cloud's node knows -e SCRIPT URL METHOD BODY only", file=sys.stderr)
        return 9
    body = argv[4].encode()
    request = f"{argv[3]} {match[2]} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}"
    try:
        # What is not published is at this path: the working directory is the container's folder.
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_SECONDS)
            asked.connect(f".port-{match[1]}")
            asked.sendall(f"{request}\r\n\r\n".encode() + body)
            answer = b""
            while piece := asked.recv(65536):
                answer += piece
    except OSError as error:
        print(f"Error: connect {error.strerror or error} 127.0.0.1:{match[1]}", file=sys.stderr)
        return 1
    print(answer.decode(errors="replace"))
    return 0
