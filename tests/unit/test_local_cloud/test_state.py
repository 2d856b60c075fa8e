from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from pickle import loads
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud import state


class _Special(defaultdict[str, list[int]]):
    """Like moto's: a default dictionary whose constructor takes something else."""

    def __init__(self, owner: str) -> None:
        super().__init__(list)
        self.owner = owner


def test_default_dictionaries_of_any_make_survive() -> None:
    special = _Special("me")
    special["a"].append(1)
    nested: Any = defaultdict(lambda: defaultdict(dict))
    nested["x"]["y"]["z"] = 1
    found_special, found_nested = loads(state._dump([special, nested]))
    assert (found_special, found_special.owner, type(found_special)) == ({"a": [1]}, "me", _Special)
    assert found_special["new"] == []
    assert found_nested == {"x": {"y": {"z": 1}}}
    assert found_nested["new"]["deep"] == {}


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_private_keys_survive(key: Any) -> None:
    assert loads(state._dump(key)).private_numbers() == key.private_numbers()


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    assert state.restore(tmp_path / "none") is False


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x05}."])
def test_a_state_that_cannot_be_read_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "aws.pickle").write_bytes(content)
    with pytest.raises(LocalCloudError, match="cannot be read"):
        state.restore(tmp_path / "aws.pickle")
