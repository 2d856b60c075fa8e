"""The entry point of the command: completion first, which a shell waits for, then all else."""

from __future__ import annotations

import os


def main() -> None:
    """Answer a shell that completes a word, or run the command line."""
    if os.environ.get("_GEUSEMAKER_COMPLETE", "").startswith("complete_"):
        from geusemaker.cli.completion import answer

        if answer():
            return
    from geusemaker.cli.app import main as run

    run()
