"""A browser that somebody sees, if there is one."""

from __future__ import annotations

import os
import sys


def show(url: str) -> bool:
    """Open a page in the user's browser; False where there is none to see it in, as on a server."""
    if sys.platform == "linux" and not any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        return False  # what would be found is a browser for the terminal, which is needed for the tunnel
    import webbrowser

    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
