"""As which version OSV knows an image."""

from __future__ import annotations

import pytest

from geusemaker.catalog import SERVICES
from geusemaker.models.image import ImageReference


@pytest.mark.parametrize(
    ("service", "image", "version"),
    [
        ("n8n", "n8nio/n8n:1.100.1", "1.100.1"),
        ("n8n", "n8nio/n8n:1.100.1-exp.0", ""),
        ("n8n", "n8nio/n8n:latest", ""),
        ("postgresql", "postgres:16.9", "16.9.0"),
        ("postgresql", "postgres:16.16-alpine3.24", "16.16.0"),
        ("postgresql", "postgres:16", ""),
        ("postgresql", "postgres:19beta1", ""),
        ("qdrant", "qdrant/qdrant:v1.14.1-unprivileged", "v1.14.1"),
        ("qdrant", "qdrant/qdrant:v1.14", ""),
        ("ollama", "ollama/ollama:0.9.6-rocm", "0.9.6"),
        ("ollama", "ollama/ollama:0.33.0-rc2", ""),
        ("crawl4ai", "unclecode/crawl4ai:0.7.0", "0.7.0"),
        ("caddy", "caddy:2.11.9-alpine", "2.11.9"),
    ],
)
def test_the_version_of_an_image(service: str, image: str, version: str) -> None:
    package = SERVICES[service].package
    assert package is not None and package.version(ImageReference.parse(image)) == version


@pytest.mark.parametrize("service", SERVICES)
def test_each_default_image_has_a_version(service: str) -> None:
    known = SERVICES[service]
    assert known.package is not None and known.package.version(ImageReference.parse(known.image))
