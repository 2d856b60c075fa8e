"""The one place where the command line gets at the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geusemaker import Workspace


def open_workspace() -> Workspace:
    """The workspace this shell is in. Tests replace this function.

    Raises:
        WorkspaceError: there is one, and it cannot be used.
    """
    from geusemaker import Workspace

    return Workspace.find()
