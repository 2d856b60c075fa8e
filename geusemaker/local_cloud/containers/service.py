"""A container's main process, or a program that ``docker exec`` runs in it (see ``services.run``)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def _main() -> int:
    # Run as a file, without site-packages: the packages above must not be imported for real (they need third-party
    # packages), so empty ones stand in that only know where the siblings are.
    folder, name = Path(__file__).resolve().parent, "geusemaker.local_cloud.containers"
    while name:
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
        folder, name = folder.parent, name.rpartition(".")[0]
    from geusemaker.local_cloud.containers.services.run import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_main())
