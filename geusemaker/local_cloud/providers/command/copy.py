"""CopyToRemote: files, text and folders over SFTP."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from geusemaker.local_cloud.providers.server import ProviderError
from geusemaker.local_cloud.providers.wire import Asset

if TYPE_CHECKING:
    import asyncssh


async def copy_to_remote(dialled: asyncssh.SSHClientConnection, source: Asset, remote_path: str) -> None:
    """Copy an asset or archive, creating parent folders; no modes are set and nothing is ever deleted.

    Raises:
        ProviderError: the source is of a kind not supported here, or the copy failed.
    """
    import asyncssh

    try:
        async with dialled.start_sftp_client() as sftp:
            if source.text is not None:
                await _copy_text(sftp, source.text, remote_path)
            elif source.path is not None:
                await _copy_path(sftp, source.path, remote_path)
            else:
                raise ProviderError("the local cloud copies text, files and folders only")
    except (asyncssh.Error, OSError) as error:
        raise ProviderError(f"failed to copy to remote path {remote_path}: {error}") from error


async def _copy_text(sftp: asyncssh.SFTPClient, text: str, target: str) -> None:
    if await sftp.isdir(target):
        raise ProviderError(
            f"remote path {target} is a directory; when using a text asset, remotePath must be a file path"
        )
    await sftp.makedirs(posixpath.dirname(target) or ".", exist_ok=True)
    async with sftp.open(target, "wb") as remote:
        await remote.write(text.encode())


async def _copy_path(sftp: asyncssh.SFTPClient, source: str, target: str) -> None:
    local = Path(source)
    if not local.exists():
        raise ProviderError(f"lstat {source}: no such file or directory")
    if local.is_dir():
        if await sftp.exists(target) and not await sftp.isdir(target):
            raise ProviderError(f"remote path {target} exists but is not a directory")
        await sftp.makedirs(target, exist_ok=True)
        folder = target if source.endswith("/") else posixpath.join(target, local.name)
        for path in sorted([local, *local.rglob("*")]):
            remote = posixpath.join(folder, path.relative_to(local).as_posix())
            if path.is_dir():
                await sftp.makedirs(remote, exist_ok=True)
            else:
                await _put(sftp, path, remote)
    elif await sftp.isdir(target):
        await _put(sftp, local, posixpath.join(target, local.name))
    else:
        await sftp.makedirs(posixpath.dirname(target) or ".", exist_ok=True)
        await _put(sftp, local, target)


async def _put(sftp: asyncssh.SFTPClient, source: Path, target: str) -> None:
    async with sftp.open(target, "wb") as remote:
        await remote.write(source.read_bytes())
