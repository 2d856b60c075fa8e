from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.models.reference import Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "familiar", "full"),
    [
        ("postgres", "postgres:latest", "docker.io/library/postgres:latest"),
        ("postgres:16.9", "postgres:16.9", "docker.io/library/postgres:16.9"),
        ("docker.io/n8nio/n8n:1", "n8nio/n8n:1", "docker.io/n8nio/n8n:1"),
        ("docker.io/library/postgres:16", "postgres:16", "docker.io/library/postgres:16"),
        # Docker ignores a tag beside a digest.
        (f"n8nio/n8n:1.91.0@{DIGEST}", f"n8nio/n8n@{DIGEST}", f"docker.io/n8nio/n8n@{DIGEST}"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"),
    ],
)
def test_references_are_shown_as_docker_shows_them(text: str, familiar: str, full: str) -> None:
    reference = Reference.parse(text)
    assert (reference.familiar, reference.full) == (familiar, full)


@pytest.mark.parametrize("text", ["", "n8nio/N8N:1", "UPPER", "a b", "n8n:", "n8n@sha256:12", "a//b", ":1", "n8n:-x"])
def test_what_is_no_reference_is_refused_in_docker_s_words(text: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        Reference.parse(text)


@given(st.text(max_size=60))
def test_anything_is_either_refused_or_read_the_same_again(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ValueError:
        return
    assert Reference.parse(reference.full).full == reference.full
