"""The AWS account's state on disk: moto's backends, pickled in one graph so that references between them hold."""

from __future__ import annotations

import importlib.metadata
import io
import os
import pickle
from pathlib import Path
from typing import Any

from geusemaker.errors import LocalCloudError

_FORMAT = 1


def snapshot() -> bytes:
    """Every backend that was used, as bytes. Must not run while a call changes them."""
    from moto.core.base_backend import BackendDict

    backends = {
        service.service_name: {account: dict(regions.items()) for account, regions in service.items()}
        for service in BackendDict._instances
    }
    buffer = io.BytesIO()
    pickle.dump({"format": _FORMAT, "moto": importlib.metadata.version("moto"), "backends": backends}, buffer, 5)
    return buffer.getvalue()


def save(path: Path, state: bytes) -> None:
    """Replace the file at once: a killed daemon leaves the old state or the new one, never half of one."""
    write_atomically(path, state)


def restore(path: Path) -> bool:
    """Put the backends saved in ``path`` in place; False when nothing was saved.

    Raises:
        LocalCloudError: the file cannot be read (another version of moto wrote it, or it is damaged).
    """
    from moto.backends import get_backend

    try:
        # Our own file, in a folder only the user can write to.
        saved: dict[str, Any] = pickle.loads(path.read_bytes())
        if saved["format"] != _FORMAT:
            raise ValueError(f"format {saved['format']}")
    except FileNotFoundError:
        return False
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise LocalCloudError(
            f"The local cloud's state {path} cannot be read: {type(error).__name__}: {error}.",
            state="Nothing was changed; the file systems' folders are untouched.",
            next_step="Use the version that wrote it, or run geusemaker local reset to start afresh.",
        ) from error
    for service, accounts in saved["backends"].items():
        target = get_backend(service)
        for account, regions in accounts.items():
            for region, backend in regions.items():
                dict.__setitem__(target[account], region, backend)
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, by temporary file and rename."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
