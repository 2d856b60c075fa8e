"""n8n's encryption key, in the file that n8n keeps it in beside the one it is given."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text, write_atomic


def key_fingerprint(agent: Agent) -> str:
    """What tells n8n's encryption key from another one, and gives none of it away; empty: n8n is given none."""
    import hashlib

    key = agent.env_file_of("n8n").get("N8N_ENCRYPTION_KEY", "")
    return hashlib.sha256(f"n8n encryption key {key}".encode()).hexdigest()[:16] if key else ""


def put_key(efs: Path, environment: Any) -> None:
    """Put the key that n8n is started with into its own file (touches EFS): it does not start with two that differ.

    n8n's sources, packages/core/src/instance-settings: what else is in the file stays, and without a file n8n makes one
    of the key that it is given.

    Raises:
        AgentError: bad_input
    """
    value = (environment or {}).get("N8N_ENCRYPTION_KEY") if isinstance(environment, dict) else None
    if not isinstance(value, str) or not value:
        raise AgentError("bad_input", "n8n's key is to be changed, and its environment has none.")
    file = efs / "n8n" / "config"
    text = read_text(file)
    if text is None:
        return
    kept: Any = None
    with contextlib.suppress(ValueError):
        kept = json.loads(text)
    settings: Json = kept if isinstance(kept, dict) else {}
    if settings.get("encryptionKey") != value:
        found = file.stat()
        owner = found.st_uid, found.st_gid
        write_atomic(file, json.dumps({**settings, "encryptionKey": value}, indent=1), 0o600, owner)
