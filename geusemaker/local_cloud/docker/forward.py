"""Instances' addresses: what connects to port 2222 of one is passed on to the instance's sshd.

A container's published port is chosen when it is made, while an Elastic IP comes and goes. One event loop, in a thread
of its own, serves all instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from geusemaker.local_cloud.moto_backends import SSH_PORT

__all__ = ["Forwards"]

_T = TypeVar("_T")
_CHUNK: Final = 64 * 1024
_CALL_SECONDS: Final = 30.0


@dataclass
class _Forward:
    address: str
    port: int
    server: asyncio.Server | None = None
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class Forwards:
    """One listening address per instance that has one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._forwards: dict[str, _Forward] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwards", daemon=True)
        self._thread.start()

    def find_address(self, instance_id: str) -> str | None:
        """Where the instance is reached."""
        found = self._forwards.get(instance_id)
        return found.address if found else None

    def listen(self, instance_id: str, address: str, port: int) -> None:
        """Pass connections to ``address`` on to ``port`` of 127.0.0.1; what was before is given up.

        Raises:
            OSError: the address cannot be had.
        """
        found = self._forwards.get(instance_id)
        if found is None or (found.address, found.port) != (address, port):
            self.close(instance_id)
            self._call(self._listen(instance_id, _Forward(address, port)))

    def close(self, instance_id: str) -> None:
        """Stop listening and drop the connections."""
        if instance_id in self._forwards:
            self._call(self._close(self._forwards.pop(instance_id)))

    def stop(self) -> None:
        """Close everything and end the thread."""
        for instance_id in list(self._forwards):
            self.close(instance_id)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self, instance_id: str, forward: _Forward) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            forward.connections.add(task)
            try:
                await _pass_on(reader, writer, forward.port)
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                forward.connections.discard(task)

        forward.server = await asyncio.start_server(accept, forward.address, SSH_PORT, reuse_address=True)
        self._forwards[instance_id] = forward

    async def _close(self, forward: _Forward) -> None:
        assert forward.server is not None
        forward.server.close()
        connections = list(forward.connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.transport.abort()  # as a machine does on which nothing listens any more
        return
    try:
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
    finally:
        inner_writer.close()
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source ends, which the target is told; the other direction may go on."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    if target.can_write_eof() and not target.is_closing():
        with contextlib.suppress(OSError):
            target.write_eof()
