"""An SSH host for tests: commands run as ``/bin/sh -c``, in sessions of their own, in a given folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import asyncssh


class SshHost:
    """Listens on loopback with keys of its own; ``connection`` is what pulumi-command needs to reach it.

    Args:
        folder: where commands run.
        port: 0 takes a free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result(10)
        # Kept: exporting a private key gives another text each time.
        self.connection: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self._server.get_port(),
            "user": "admin",
            "private_key": self.client_key.export_private_key().decode(),
            "host_key": self._host_key.export_public_key().decode().strip(),
        }

    def close(self) -> None:
        """Stop listening; may be called again."""
        if not self._thread.is_alive():
            return

        async def stop() -> None:
            self._server.close()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self, port: int) -> asyncssh.SSHAcceptor:
        key = self.client_key.export_public_key().decode()
        return await asyncssh.listen(
            "127.0.0.1",
            port,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(key),
            process_factory=self._run,
            encoding=None,
            sftp_factory=True,
            allow_scp=False,
        )

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.defpath, "HOME": str(self.folder)},
            start_new_session=True,
        )
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        reader = asyncio.ensure_future(_feed(process, child.stdin))
        await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
        code = await child.wait()
        reader.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


async def _feed(process: asyncssh.SSHServerProcess[bytes], target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while chunk := await process.stdin.read(65536):
            target.write(chunk)
            await target.drain()
        target.close()


async def _pump(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    while chunk := await source.read(65536):
        target.write(chunk)
