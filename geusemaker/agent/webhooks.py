"""Telling a webhook something: by the instance between operations, and by an operator's machine of an operation."""

from __future__ import annotations

import json
from typing import Final

from geusemaker.agent.document import Json

ADDRESS_SECONDS: Final = 15.0
"""So long an address may take."""


def post(address: str, record: Json) -> str:
    """Send the record to a webhook; why that failed, or empty."""
    import urllib.request

    headers = {"Content-Type": "application/json", "User-Agent": "geusemaker"}
    try:
        request = urllib.request.Request(address, json.dumps(record).encode(), headers)
        with urllib.request.urlopen(request, timeout=ADDRESS_SECONDS):
            return ""
    except Exception as error:  # an address that is none fails in many ways, and the next one is told all the same
        return f"did not take it ({getattr(error, 'code', None) or type(error).__name__})"


def named(address: str) -> str:
    """An address without what is secret of it: of a webhook all behind its host."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = parts.hostname if parts.scheme in ("http", "https") else ""
    except ValueError:
        return "an address"
    return f"{parts.scheme}://{host}/…" if host else f"{parts.scheme}://…"
