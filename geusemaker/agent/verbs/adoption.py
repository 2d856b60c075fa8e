"""``adoption``: what mounted data tells to whoever takes it up."""

from __future__ import annotations

import contextlib
import json

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.files import read_text


def adoption(agent: Agent, document: Document) -> Json:
    """What mounted data tells to whoever takes it up: whose it is, who served it, and n8n's key, the one secret told.

    The key is for the caller alone, who has logged in for it: it is in no event, and nothing else answers with it.
    """

    def look() -> Json:
        store = agent.store
        text = read_text(agent.efs / "n8n" / "config")
        key = None
        if text is not None:
            with contextlib.suppress(ValueError, AttributeError):
                key = json.loads(text).get("encryptionKey")
        folder = agent.efs / "n8n"
        return {
            "sentinel": store.sentinel(),
            "lease": store.lease(),
            "n8n_key": key if isinstance(key, str) and key else None,
            "n8n_was_here": (folder.is_dir() and any(folder.iterdir())) or store.database_version() is not None,
        }

    found: Json = agent.on_efs(look)
    return found
