"""Qdrant, asked by its own API."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.listing import listed
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import Summed, create_file, file_name

QDRANT_PORT: Final = 6333


class Qdrant:
    """Qdrant's own API on the instance (api.qdrant.tech, "Collections", "Snapshots").

    Qdrant makes a snapshot in its container, on the instance's disk. So one is made at a time, and deleted there as
    soon as it is fetched; what a killed operation leaves is gone with the container.

    Every method raises:
        AgentError: qdrant_failed
    """

    def __init__(self, agent: Agent, timeout: float) -> None:
        self._address = agent.address
        self._headers = key_header(agent)
        self._deadline = time.monotonic() + timeout

    def version(self) -> str:
        return str(self._ask("GET", "/", result=None)["version"])

    def collections(self) -> list[str]:
        return sorted(str(found["name"]) for found in self._ask("GET", "/collections")["collections"])

    def points(self, collection: str) -> int | None:
        count = self._ask("GET", _collection(collection)).get("points_count")
        return None if count is None else int(count)

    def aliases(self) -> dict[str, str]:
        found = self._ask("GET", "/aliases")["aliases"]
        return {str(alias["alias_name"]): str(alias["collection_name"]) for alias in found}

    def save_snapshot(self, collection: str, path: Path) -> str:
        """Have a snapshot made and fetch it into a new file; its SHA-256, which is compared with what Qdrant says."""
        snapshots = f"{_collection(collection)}/snapshots"
        made = self._ask("POST", snapshots)
        try:
            size, digest = self._fetch(f"{snapshots}/{_quoted(made['name'])}", path)
        finally:
            self._drop(f"{snapshots}/{_quoted(made['name'])}")
        # Before 1.9 Qdrant tells no checksum.
        if size != made["size"] or made.get("checksum") not in (None, digest):
            raise AgentError("qdrant_failed", f"The snapshot of {collection} did not arrive as Qdrant had made it.")
        return digest

    def load_snapshot(self, collection: str, path: Path, digest: str, name: str) -> None:
        """Make a collection what a snapshot says. One that was made anew with other vectors since makes way."""
        snapshots = f"{_collection(collection)}/snapshots"
        try:
            try:
                self._upload(f"{snapshots}/upload?priority=snapshot&checksum={digest}", path, name)
            except AgentError as error:
                if "not compatible with existing collection" not in error.message:
                    raise
                self._ask("DELETE", _collection(collection))
                self._upload(f"{snapshots}/upload?priority=snapshot&checksum={digest}", path, name)
        finally:
            self._drop(f"{snapshots}/{_quoted(name)}")  # Qdrant keeps what was uploaded

    def add_alias(self, alias: str, collection: str) -> None:
        made = {"create_alias": {"alias_name": alias, "collection_name": collection}}
        self._ask("POST", "/collections/aliases", {"actions": [made]})

    def _upload(self, path: str, source: Path, name: str) -> None:
        boundary = os.urandom(16).hex()
        field = f'Content-Disposition: form-data; name="snapshot"; filename="{name}"'
        head = f"--{boundary}\r\n{field}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        with contextlib.closing(self._connect()) as connection, source.open("rb") as file:
            with _qdrant_trouble("POST", path):
                connection.putrequest("POST", path)
                for key, value in self._headers.items():
                    connection.putheader(key, value)
                connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
                connection.putheader("Content-Length", str(len(head) + source.stat().st_size + len(end)))
                connection.endheaders(head)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer says why
                    while piece := file.read(1 << 20):
                        connection.send(piece)
                    connection.send(end)
                answer = self._checked(connection.getresponse(), "POST", path)
            self._receive(answer)

    def _fetch(self, path: str, target: Path) -> tuple[int, str]:
        size = 0
        with contextlib.closing(self._connect()) as connection, create_file(target) as file:
            answer = self._send(connection, "GET", path)
            summed = Summed(file)
            while piece := self._receive(answer, 1 << 20):
                summed.write(piece)
                size += len(piece)
            return size, summed.sum()

    def _drop(self, path: str) -> None:
        with contextlib.suppress(AgentError):  # it costs disk space until the container is replaced, no more
            self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Json | None = None, result: str | None = "result") -> Any:
        with contextlib.closing(self._connect()) as connection:
            answer = self._receive(self._send(connection, method, path, body))
        try:
            value = json.loads(answer)
            return value if result is None else value[result]
        except (ValueError, KeyError, TypeError) as error:
            raise AgentError("qdrant_failed", f"Qdrant's answer to {method} {path} cannot be read: {error!r}") from None

    def _connect(self) -> Any:
        import http.client

        timeout = max(1.0, self._deadline - time.monotonic())
        return http.client.HTTPConnection(self._address, QDRANT_PORT, timeout=timeout)

    def _send(self, connection: Any, method: str, path: str, body: Json | None = None) -> Any:
        """The answer's head; its body is still to be received."""
        data = None if body is None else json.dumps(body)
        with _qdrant_trouble(method, path):
            connection.request(method, path, data, {**self._headers, "Content-Type": "application/json"})
            return self._checked(connection.getresponse(), method, path)

    def _receive(self, answer: Any, size: int = -1) -> bytes:
        with _qdrant_trouble("reading", "its answer"):
            return bytes(answer.read() if size < 0 else answer.read(size))

    @staticmethod
    def _checked(answer: Any, method: str, path: str) -> Any:
        if answer.status == 200:
            return answer
        text = answer.read(4000).decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["status"]["error"]
        words = " ".join(str(text).split())[:400]
        raise AgentError("qdrant_failed", f"Qdrant refuses {method} {path}: HTTP {answer.status} {words}")


@contextlib.contextmanager
def _qdrant_trouble(method: str, path: str) -> Iterator[None]:
    import http.client

    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise AgentError("qdrant_failed", f"Qdrant does not answer ({method} {path}): {reason}") from error


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def key_header(agent: Agent) -> dict[str, str]:
    """What shows Qdrant its key (qdrant.tech/documentation/security, "Authentication"); empty where it asks for none.

    Its config crate compares the names of variables in small letters. Compose gives a container what stands in its
    definition before what stands in an env file.
    """
    service = (agent.compose_document().get("services") or {}).get("qdrant") or {}
    given = {**agent.env_file_of("qdrant"), **(service.get("environment") or {})}
    key = {name.upper(): value for name, value in given.items()}.get("QDRANT__SERVICE__API_KEY")
    return {"api-key": str(key)} if key else {}


def _collection(name: str) -> str:
    return f"/collections/{_quoted(name)}"


def on_disk(place: Path) -> list[str] | None:
    """The collections that the files alone tell of (may touch EFS); ``place``: what Qdrant's folder is in."""
    collections = place / "qdrant/collections"
    return sorted(entry.name for entry in collections.iterdir() if entry.is_dir()) if collections.is_dir() else None


def manifest(agent: Agent, running: Mapping[str, Container], on_disk: Json) -> Json | None:
    """Qdrant's part of the manifest; None where there is no Qdrant and never was."""
    there, known = "qdrant" in running, on_disk["qdrant"]
    if not there and known is None:
        return None
    headers = key_header(agent)
    names, source = listed(agent, there, QDRANT_PORT, "/collections", ("result", "collections"), headers)
    return {"collections": known if names is None else names, "source": source}


def collections_now(agent: Agent, containers: Mapping[str, Container], found: Json) -> None:
    """Add what a checkpoint would hold of Qdrant to what ``data_now`` has found."""
    qdrant = Qdrant(agent, 60)
    found["versions"]["qdrant"] = qdrant.version()
    for name in qdrant.collections():
        found["holds"].append({"service": "qdrant", "name": name, "points": qdrant.points(name)})


def copy_collections(
    agent: Agent, containers: Mapping[str, Container], about: Json, folder: Path, deadline: float
) -> None:
    """Copy all collections into a checkpoint's folder, and tell of them in its own file (runs in the child)."""
    qdrant = Qdrant(agent, deadline)
    about["versions"]["qdrant"] = qdrant.version()
    about["aliases"] = qdrant.aliases()
    for name in qdrant.collections():
        agent.reporter.service("qdrant", "snapshotting", name)
        path = folder / file_name(name, ".snapshot")
        points = qdrant.points(name)
        digest = qdrant.save_snapshot(name, path)
        about["holds"].append(
            {"service": "qdrant", "name": name, "points": points}
            | {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
        )
