"""What the instance is told of who is to be told of it. Pure."""

from __future__ import annotations

from typing import Any

from geusemaker.models.secrets import Secrets
from geusemaker.models.site import Site


def watch_document(secrets: Secrets, site: Site | None) -> dict[str, Any] | None:
    """Where the instance tells what it sees between operations, and which domains it looks at; None: nobody is told."""
    if not secrets.addresses:
        return None
    return {"addresses": secrets.addresses, "domains": None if site is None else site.asked}
