"""Pulumi's official installer, in a process of its own.

`PulumiCommand.install` downloads without any time limit, so it cannot run in ours: where the network swallows packets
it would hang. This file is also that process's program: ``python installer.py FOLDER``.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

_SCRIPT_URL = "https://get.pulumi.com/install.sh"
_REACH_SECONDS = 3.0
_DOWNLOAD_SECONDS = 900.0
_REPORT_SECONDS = 10.0


class EngineInstallError(Exception):
    """The installer could not be reached or failed; the text says how, as the end of a sentence about it."""


def install(folder: Path, on_progress: Callable[[float], None]) -> None:
    """Install the CLI of the SDK's version as ``folder/bin/pulumi``; ``on_progress(seconds)`` is called meanwhile.

    Raises:
        EngineInstallError: not reachable (known after a few seconds), failed, or not done within 15 min.
    """
    from geusemaker.engine.processes import started, wait_until_ended

    with (
        tempfile.TemporaryFile() as errors,
        started(_command(folder), output=subprocess.PIPE, errors=errors) as process,
    ):
        assert process.stdout is not None
        with process.stdout:
            # Twice the time: name resolution has no limit of its own.
            ready, _, _ = select.select([process.stdout], [], [], 2 * _REACH_SECONDS)
            if not ready:
                raise EngineInstallError(f"cannot be reached ({_SCRIPT_URL} does not answer)")
            if process.stdout.readline():  # it is reached; nothing at all: the process ended
                on_progress(0.0)
                if not wait_until_ended(process, _DOWNLOAD_SECONDS, on_progress, _REPORT_SECONDS):
                    raise EngineInstallError(f"was not done within {_DOWNLOAD_SECONDS / 60:.0f} min")
        process.wait()
        if process.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise EngineInstallError(lines[-1] if lines else f"ended with exit code {process.returncode}")


def _command(folder: Path) -> list[str]:
    # -P: the folder of this file is no place to import from.
    return [sys.executable, "-P", __file__, str(folder)]


def _main(folder: str) -> int:
    try:
        with urllib.request.urlopen(_SCRIPT_URL, timeout=_REACH_SECONDS) as response:
            response.read(1)
    except OSError as error:
        print(f"cannot be reached ({getattr(error, 'reason', error)})", file=sys.stderr)
        return 1
    print("reached", flush=True)

    from pulumi.automation import PulumiCommand

    try:
        PulumiCommand.install(root=folder)
    except subprocess.CalledProcessError as error:
        lines = error.output.decode(errors="replace").strip().splitlines() or ["no output"]
        print(f"failed with exit code {error.returncode} ({lines[-1]})", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, a build may still work
        print(f"failed ({error})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
