"""Labels by which images and containers are told apart."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "io.geusemaker.local.service"
"""On an image of the local registry: which service it is."""
TAG: Final = "io.geusemaker.local.tag"
"""On an image of the local registry: the tag it was issued for; its ending says how the service misbehaves."""

# Those of github.com/docker/compose (pkg/api/labels.go).
PROJECT: Final = "com.docker.compose.project"
NETWORK: Final = "com.docker.compose.network"
COMPOSE_SERVICE: Final = "com.docker.compose.service"
CONFIG_HASH: Final = "com.docker.compose.config-hash"
IMAGE: Final = "com.docker.compose.image"
NUMBER: Final = "com.docker.compose.container-number"
ONE_OFF: Final = "com.docker.compose.oneoff"
CONFIG_FILES: Final = "com.docker.compose.project.config_files"
WORKING_DIR: Final = "com.docker.compose.project.working_dir"
VERSION: Final = "com.docker.compose.version"
