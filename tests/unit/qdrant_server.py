"""The local cloud's Qdrant, served in this process: what its own tests ask, and what the agent's tests talk to."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.containers.services import qdrant
from geusemaker.local_cloud.containers.services.container import Container


class QdrantServer:
    """One Qdrant, with a folder of its own for what its container writes."""

    def __init__(self, folder: Path, tag: str, storage: Path) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        specification = {
            "id": "c1",
            "service": "qdrant",
            "tag": tag,
            "loopback": "127.0.0.1",
            "lifeline": 0,
            "sockets": {"6333/tcp": listener.detach()},
            "mounts": {qdrant.STORAGE: str(storage)},
        }
        folder.mkdir()
        (folder / "service.json").write_text(json.dumps(specification))
        self.snapshots = folder / "rootfs" / qdrant.SNAPSHOTS.lstrip("/")
        qdrant.run(Container(folder))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        connection.request(method, path, data, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.headers["Content-Type"] == "application/octet-stream":
            return answer.status, content
        value = json.loads(content)
        return answer.status, value["result"] if answer.status == 200 else value["status"]["error"]

    def upload(self, collection: str, data: bytes, query: str = "priority=snapshot") -> tuple[int, Any]:
        head = b'--b0und\r\nContent-Disposition: form-data; name="snapshot"; filename="mine.snapshot"\r\n\r\n'
        return self(
            "POST",
            f"/collections/{collection}/snapshots/upload?{query}",
            head + data + b"\r\n--b0und--\r\n",
            Content_Type="multipart/form-data; boundary=b0und",
        )

    def points(self, collection: str) -> int:
        found: int = self("GET", f"/collections/{collection}")[1]["points_count"]
        return found

    def add(self, collection: str, *ids: int) -> None:
        points = [{"id": number, "vector": [0.0]} for number in ids]
        assert self("PUT", f"/collections/{collection}/points", {"points": points})[0] == 200
