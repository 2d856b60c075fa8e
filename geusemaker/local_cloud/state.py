"""The AWS account's state on disk: moto's backends, pickled in one graph so that references between them hold."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import pickle
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud import moto_gaps
from geusemaker.local_cloud.files import write

_FORMAT = 1
_LOG = logging.getLogger(__name__)


class _Pickler(pickle.Pickler):
    """Pickles what plain pickle refuses: SSM's default dictionaries (with a lambda, or of a subclass), KMS's keys."""

    def reducer_override(self, obj: Any) -> Any:
        if hasattr(obj, "private_bytes") and not isinstance(obj, type):
            der = obj.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            return _private_key, (der,)
        if not isinstance(obj, defaultdict):
            return NotImplemented
        factory = _nameable(obj.default_factory)
        return (
            _default_dictionary,
            (type(obj), factory, vars(obj) if hasattr(obj, "__dict__") else {}),
            None,
            None,
            iter(obj.items()),
        )


def _private_key(der: bytes) -> Any:
    return load_der_private_key(der, None)


def _nameable(factory: Any) -> Any:
    """A factory that makes the same and can be pickled."""
    if factory is None or "<locals>" not in getattr(factory, "__qualname__", ""):
        return factory
    made = factory()
    return partial(defaultdict, _nameable(made.default_factory)) if isinstance(made, defaultdict) else type(made)


def _default_dictionary(kind: type[defaultdict[Any, Any]], factory: Any, attributes: dict[str, Any]) -> Any:
    # Not by its constructor: moto's subclasses take arguments of their own.
    made = kind.__new__(kind)
    made.default_factory = factory
    if attributes:
        vars(made).update(attributes)
    return made


def _dump(document: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, 5).dump(document)
    return buffer.getvalue()


def snapshot() -> bytes:
    """Every backend that was used, as bytes. Must not run while a call changes them.

    A service whose backend cannot be pickled (geusemaker uses none of those) is left out: its state is lost when
    the daemon ends, and the log says so.
    """
    from moto.core.base_backend import BackendDict

    backends = {
        service.service_name: {account: dict(regions.items()) for account, regions in service.items()}
        for service in BackendDict._instances
    }
    document = {"format": _FORMAT, "moto": importlib.metadata.version("moto"), "backends": backends}
    try:
        return _dump(document)
    except (pickle.PicklingError, TypeError, AttributeError):
        document["backends"] = {name: accounts for name, accounts in backends.items() if _can_dump(name, accounts)}
        return _dump(document)


def _can_dump(service: str, accounts: Any) -> bool:
    try:
        _dump(accounts)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        _LOG.warning("the state of %s cannot be kept: %s", service, error)
        return False
    return True


def save(path: Path, state: bytes) -> None:
    """Replace the file at once: a killed daemon leaves the old state or the new one, never half of one."""
    write(path, state)


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
            next_step="Use the version that wrote it, or run `geusemaker local reset` to start afresh.",
        ) from error
    for service, accounts in saved["backends"].items():
        target = get_backend(service)
        for account, regions in accounts.items():
            for region, backend in regions.items():
                if service == "ec2":
                    moto_gaps.open_default_vpc(backend)  # one of before has no way out
                dict.__setitem__(target[account], region, backend)
    return True
