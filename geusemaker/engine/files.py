"""Files that others at work at the same time see whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def replace_whole(file: Path, text: str) -> None:
    """Replace a file; its mode stays."""
    with _beside(file, text, file.stat().st_mode & 0o777) as written:
        written.replace(file)


def make_whole(file: Path, text: str, mode: int) -> None:
    """Make a file; one that is there stays as it is."""
    with _beside(file, text, mode) as written, contextlib.suppress(FileExistsError):
        os.link(written, file)


def replace_passphrase(file: Path, passphrase: str) -> None:
    """Write a passphrase file (0600); one that a killed rotation left is replaced."""
    file.unlink(missing_ok=True)
    make_whole(file, passphrase, 0o600)


@contextlib.contextmanager
def _beside(file: Path, text: str, mode: int) -> Iterator[Path]:
    """The text, written into a file beside it, which is gone in the end."""
    written = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as new:
            new.write(text)
        yield written
    finally:
        written.unlink(missing_ok=True)
