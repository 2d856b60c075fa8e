"""Image references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from geusemaker.models.image import ImageReference
from tests.unit.samples import DIGEST

HOSTS = st.sampled_from(["", "localhost/", "localhost:5000/", "registry.example.com/", "ghcr.io/", "A.Example:443/"])
COMPONENT = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
DIGESTS = st.none() | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


class Holder(BaseModel):
    """A model with an image in it."""

    image: ImageReference


@given(HOSTS, st.lists(COMPONENT, min_size=1, max_size=3), TAG, DIGESTS)
def test_a_reference_comes_back_as_it_was_written(host: str, path: list[str], tag: str, digest: str | None) -> None:
    text = f"{host}{'/'.join(path)}:{tag}" + (f"@{digest}" if digest else "")

    image = ImageReference.parse(text)

    assert str(image) == text and ImageReference.parse(str(image)) == image
    assert Holder.model_validate_json(Holder(image=image).model_dump_json()).image == image
    assert (image.tag, image.digest) == (tag, digest)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_value_error(text: str) -> None:
    try:
        image = ImageReference.parse(text)
    except ValueError:
        return
    assert ImageReference.parse(str(image)) == image


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":1",
        "n8n:",
        "N8N",
        "a//b:1",
        "a b",
        "a:1:2",
        "a@sha256:12",
        "a:" + "x" * 129,
        "a/" * 300,
        "-a:1",
        "a:.1",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not an image reference; write it as repository:tag"):
        ImageReference.parse(text)
    with pytest.raises(ValidationError):
        Holder.model_validate({"image": text})


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag"),
    [
        ("postgres", "docker.io", "library/postgres", "latest"),
        ("postgres:16.9", "docker.io", "library/postgres", "16.9"),
        ("n8nio/n8n:1", "docker.io", "n8nio/n8n", "1"),
        ("docker.io/postgres:1", "docker.io", "library/postgres", "1"),
        ("docker.io/n8nio/n8n:1", "docker.io", "n8nio/n8n", "1"),
        ("ghcr.io/a/b/c:1", "ghcr.io", "a/b/c", "1"),
        ("localhost/a:1", "localhost", "a", "1"),
        ("box:5000/a:1", "box:5000", "a", "1"),
        ("MyRegistry/a:1", "MyRegistry", "a", "1"),
    ],
)
def test_where_it_is(text: str, registry: str, path: str, tag: str) -> None:
    image = ImageReference.parse(text)
    assert (image.registry, image.path, image.tag) == (registry, path, tag)


def test_pinned() -> None:
    image = ImageReference.parse("n8nio/n8n:1")
    assert image.by_digest == image.tagged == "n8nio/n8n:1"
    pinned = image.pinned(DIGEST)
    assert (pinned.by_digest, str(pinned)) == (f"n8nio/n8n@{DIGEST}", f"n8nio/n8n:1@{DIGEST}")
