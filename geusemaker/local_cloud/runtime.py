"""What the instances of a local cloud are: processes, or containers of a Docker daemon. Cheap to import."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import ValidationError

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.models.base import Model

RuntimeKind = Literal["process", "docker"]


class Runtime(Model):
    """One runtime for all instances of a local cloud, remembered in its folder."""

    kind: RuntimeKind = "process"
    docker_host: str | None = None
    """As in ``DOCKER_HOST``, which was set when the runtime was chosen."""

    @classmethod
    def chosen(cls, kind: RuntimeKind) -> Runtime:
        """The runtime that is asked for now."""
        return cls(kind=kind, docker_host=(os.environ.get("DOCKER_HOST") or None) if kind == "docker" else None)

    @classmethod
    def read(cls, paths: CloudPaths) -> Runtime:
        """The folder's runtime; processes unless something else was chosen.

        Raises:
            LocalCloudError: its record cannot be read.
        """
        try:
            return cls.model_validate_json(paths.runtime.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except (OSError, ValidationError) as error:
            raise LocalCloudError(f"{paths.runtime} cannot be read: {error}.") from error

    def write(self, paths: CloudPaths) -> None:
        """Remember it."""
        paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(paths.runtime, self.model_dump_json(indent=1))
