"""A container's processes: ``service run FOLDER`` is its main one, ``service exec FOLDER COMMAND…`` another."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

from geusemaker.local_cloud.containers.services import stand_ins
from geusemaker.local_cloud.containers.services.container import Container, StartError, complain, log


def _run(container: Container) -> int:
    container.die_with_engine()
    stand_in = stand_ins.find(container.service)
    if stand_in is None:
        complain(f'exec: "{container.service}": executable file not found in $PATH')
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    container.fail_to_migrate()
    try:
        stand_in.run(container)
    except StartError as error:
        complain(str(error))
        return 1
    except PermissionError as error:
        complain(f"{error.filename}: {error.strerror}")
        return 1
    container.end_early()
    while True:
        signal.pause()


def _end(number: int, frame: object) -> NoReturn:
    # Requests under way are cut off, as the real programs do after their own short grace; data is written atomically.
    log("received signal, shutting down")
    os._exit(0)


def main(argv: list[str]) -> int:
    """Run one process of a container; its exit code."""
    verb, folder, *command = argv
    os.chdir(folder)
    container = Container(Path(folder))
    if verb == "run":
        return _run(container)
    from geusemaker.local_cloud.containers.services import programs  # a container's start does without

    return programs.run(container, command)
