"""The agent as it is shipped: a bundle of its sources. Pure."""

from __future__ import annotations

import base64
import bz2
import hashlib
import json
from functools import cache
from pathlib import Path


@cache
def session_agent() -> str:
    """The program that installs AWS's Session Manager agent on the instance, as text."""
    return (Path(__file__).parent / "session_agent.py").read_text(encoding="utf-8")


@cache
def agent_bundle() -> str:
    """A JSON object, path → text, sorted: the same sources are the same bundle on every machine."""
    package = Path(__file__).parent.parent
    files = (package / "agent").rglob("*.py")
    # By the protocol, those who ask read and write; the agent itself does without.
    shipped = (path for path in files if path.parent.name != "protocol")
    sources = {path.relative_to(package.parent).as_posix(): path.read_text(encoding="utf-8") for path in shipped}
    # Of the package around it only the name is shipped.
    return json.dumps({"geusemaker/__init__.py": "", **sources}, sort_keys=True, ensure_ascii=False)


@cache
def packed_agent() -> str:
    """The bundle as it is sent to the stdin of ``install_command``: one line without its end.

    Packed, because Pulumi keeps it in each state several times, and hands it round with each run. By bzip2, which has
    one implementation: the same agent has to give the same text on every machine, or it would look like a change.
    """
    return base64.b64encode(bz2.compress(agent_bundle().encode())).decode()


@cache
def agent_version() -> str:
    """The digest by which an installed agent is recognised as this one."""
    return hashlib.sha256(agent_bundle().encode()).hexdigest()[:16]
