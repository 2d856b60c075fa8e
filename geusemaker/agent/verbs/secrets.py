"""``authorize``, ``password`` and ``key``: keys that may log in, a new password for the database, a key for n8n."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text, write_atomic

ROTATED: Final = "geusemaker:"
"""What the comment of a key begins with that a rotation let in; the operation follows."""


def authorize(agent: Agent, document: Document) -> Json:
    """Let a key log in. With ``remove``, those keys may no more, nor what an earlier rotation let in."""
    operation, user, key = document.operation(), document.text("user"), document.text("key")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise AgentError("bad_input", "The login is no user's name.")
    gone = [_key_of(line) for line in document.items("remove")] if "remove" in document.values else None
    with agent.registered(operation, "authorize"):
        hold_lease(agent, operation)
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        home = agent.root / "home" / user
        file = home / ".ssh/authorized_keys"
        before, owner = read_text(file) or "", (home.stat().st_uid, home.stat().st_gid)
        text = authorized_keys(before, f"{' '.join(key.split()[:2])} {ROTATED}{operation}", gone)
        if text != before:
            write_atomic(file, text, 0o600, owner)
        # cloud-init lets the key pair's key in there as well, to say that one should log in as somebody else.
        roots = agent.root / "root/.ssh/authorized_keys"
        if gone is not None and (found := read_text(roots)) is not None:
            left = authorized_keys(found, "", gone)
            if left != found:
                write_atomic(roots, left, 0o600)
        return {"others": sum(_is_key(line) for line in text.splitlines()) - 1}


def _key_of(line: Any) -> str:
    """The key itself in a line as authorized_keys has them, without its type and comment.

    Raises:
        AgentError: bad_input
    """
    words = str(line).split()
    if len(words) < 2 or not re.fullmatch(r"[A-Za-z0-9+/]{40,}=*", words[1]):
        raise AgentError("bad_input", "A key has to be given as in authorized_keys.")
    return words[1]


def _is_key(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def authorized_keys(text: str, added: str, gone: Collection[str] | None) -> str:
    """The text of an authorized_keys file with a key added, unless it is there; empty: none. Others stay as they are.

    ``gone``: keys whose lines are left out, with all that rotations added but this one; None: none is.
    """
    own = _key_of(added) if added else ""
    lines = []
    for line in text.splitlines():
        words = line.split()
        may_go = gone is not None and _is_key(line) and own not in words
        if not may_go or not (any(key in words for key in gone or ()) or words[-1].startswith(ROTATED)):
            lines.append(line)
    if added and not any(own in line.split() for line in lines if _is_key(line)):
        lines.append(added)
    return "".join(f"{line}\n" for line in lines)


def password(agent: Agent, document: Document) -> Json:
    """Note that the database gets another password: from now on ``apply`` puts the one of the env file into it."""
    operation = document.operation()
    with agent.registered(operation, "password"):
        hold_lease(agent, operation)
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        agent.on_efs(lambda: agent.store.note_password(operation))
        return {"noted": operation}


def key(agent: Agent, document: Document) -> Json:
    """Note that n8n gets another encryption key: from now on ``apply`` puts the one of the env file into n8n's own."""
    operation = document.operation()
    with agent.registered(operation, "key"):
        hold_lease(agent, operation)
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        agent.on_efs(lambda: agent.store.note_key(operation))
        return {"noted": operation}
