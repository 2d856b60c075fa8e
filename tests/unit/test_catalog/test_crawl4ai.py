"""Crawl4AI: from which release on its token counts."""

from __future__ import annotations

import pytest

from geusemaker.catalog.crawl4ai import SERVICE
from geusemaker.models.image import ImageReference


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("0.8.6", "0.8.7", True),
        ("0.8.6", "latest", True),
        ("0.8.7", "0.9.5", False),
        ("0.7.0", "0.8.6", False),
        ("latest", "0.9.5", False),
    ],
)
def test_callers_are_told_that_they_need_the_token_from_now_on(before: str, after: str, said: bool) -> None:
    old, new = (ImageReference.parse(f"unclecode/crawl4ai:{tag}") for tag in (before, after))
    notice = SERVICE.image_notice(old, new)
    assert (notice is not None) is said
    assert notice is None or (notice.status, notice.about) == ("warn", "token")
