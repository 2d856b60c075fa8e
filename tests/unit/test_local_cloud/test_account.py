from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.account import FORMER, adopt_account, own_account
from geusemaker.local_cloud.paths import CloudPaths


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "000000000000")


def test_two_new_clouds_are_two_accounts_for_good(tmp_path: Path) -> None:
    clouds = [CloudPaths(tmp_path / name) for name in ("one", "two")]
    for paths in clouds:
        paths.root.mkdir()
    first, second = (adopt_account(paths) for paths in clouds)
    assert first != second and len(first) == len(second) == 12 and (first + second).isdecimal()
    assert own_account() == second
    assert adopt_account(clouds[0]) == first == own_account(), "the same at each start"


def test_a_cloud_of_before_stays_what_it_was(tmp_path: Path) -> None:
    paths = CloudPaths(tmp_path)
    paths.aws_state.write_bytes(b"moto's")
    assert adopt_account(paths) == FORMER == "123456789012"
    paths.aws_state.unlink()
    assert adopt_account(paths) == FORMER


@pytest.mark.parametrize("content", ["", "12345", "1234567890123", "12345678901x"])
def test_an_id_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    paths = CloudPaths(tmp_path)
    paths.account.write_text(content)
    with pytest.raises(LocalCloudError, match="twelve digits"):
        adopt_account(paths)
