"""n8n's folder, copied for a rehearsal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from geusemaker.agent.data.n8n import N8N_FILES

_LEFT_OUT: Final = frozenset({"crash.journal"})
"""With it n8n would take itself for one that crashed (packages/cli/src/crash-journal.ts)."""


def folder_bytes(folder: Path) -> int:
    """How much ``copy_folder`` copies of it (touches EFS)."""
    return sum(path.lstat().st_size for path in _copied(folder) if path.is_file() and not path.is_symlink())


def copy_folder(source: Path, target: Path) -> None:
    """Copy the folder with its owners into one that is there (touches EFS). What goes away meanwhile is left out.

    Of the files of n8n's executions only the folders come: they may be hundreds of gigabytes, and no start reads them.
    """
    import shutil

    if source.is_dir():
        _take_owner(source, target)
    for path in _copied(source):
        there = target / path.relative_to(source)
        try:
            if path.is_symlink():
                there.symlink_to(path.readlink())
            elif path.is_dir():
                there.mkdir()
                _take_owner(path, there)
            elif path.is_file():
                shutil.copyfile(path, there)
                _take_owner(path, there)
        except FileNotFoundError:
            continue


def _take_owner(source: Path, target: Path) -> None:
    found = source.stat()
    target.chmod(found.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid)


def _copied(folder: Path) -> Iterator[Path]:
    """What of the folder is copied, folders before what is in them."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in _LEFT_OUT:
            continue
        yield path
        if path.is_dir() and not path.is_symlink() and path.name not in N8N_FILES:
            yield from sorted(path.rglob("*"))
