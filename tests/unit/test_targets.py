"""What a target adds, as far as it can be told without a cloud."""

from __future__ import annotations

import pytest

from geusemaker.targets import OSV, advisories_address, open_target


@pytest.mark.parametrize(
    ("given", "on_aws", "on_the_local_cloud"),
    [
        (None, OSV, ""),
        ("", OSV, ""),
        ("off", "", ""),
        (" http://127.0.0.1:8 ", "http://127.0.0.1:8", "http://127.0.0.1:8"),
    ],
)
def test_where_published_holes_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: str | None, on_aws: str, on_the_local_cloud: str
) -> None:
    """The local cloud asks nobody outside, unless somebody says whom."""
    if given is None:
        monkeypatch.delenv("GEUSEMAKER_ADVISORIES")
    else:
        monkeypatch.setenv("GEUSEMAKER_ADVISORIES", given)
    assert advisories_address(OSV) == on_aws == open_target("aws", lambda text: None).advisories
    assert advisories_address("") == on_the_local_cloud
    if given is None:
        assert open_target(None, lambda text: None).advisories == "", "nothing is asked of any target"
