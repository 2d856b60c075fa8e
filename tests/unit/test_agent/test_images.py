"""References of images."""

from __future__ import annotations

import pytest

from geusemaker.agent.images import Image


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("postgres:16@sha256:ab", "postgres@sha256:ab"),
        ("docker.io/library/postgres@sha256:ab", "postgres@sha256:ab"),
        ("docker.io/n8nio/n8n:1.2", "n8nio/n8n:1.2"),
        ("registry.example.com:5000/team/app@sha256:ab", "registry.example.com:5000/team/app@sha256:ab"),
        ("registry.example.com:5000/team/app", "registry.example.com:5000/team/app:latest"),
    ],
)
def test_images_are_compared_in_dockers_short_form(text: str, short: str) -> None:
    assert Image.parse(text).by_digest == short


def test_an_image_is_recognised_by_digest_and_repository() -> None:
    inspected = {"RepoDigests": ["postgres@sha256:ab"], "RepoTags": ["postgres:16"]}
    assert Image.parse("docker.io/library/postgres:17@sha256:ab").is_among(inspected)
    assert Image.parse("postgres:16").is_among(inspected)
    assert not Image.parse("postgres:16@sha256:cd").is_among(inspected)
    assert not Image.parse("other@sha256:ab").is_among(inspected)
    assert not Image.parse("postgres:16").is_among({"RepoTags": None})
