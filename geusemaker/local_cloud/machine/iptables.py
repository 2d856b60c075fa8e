"""``iptables`` of an instance: rules are kept, and seen by nobody. Like the kernel's, they are gone at the next boot.

What containers reach is not decided by it here: those of a process instance open no connections to where it leads.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_VERBS = {
    "-N": "new", "--new-chain": "new", "-C": "check", "--check": "check", "-I": "insert", "--insert": "insert",
    "-D": "delete", "--delete": "delete", "-S": "list", "--list-rules": "list",
}  # fmt: skip
_NO_CHAIN = "iptables: No chain/target/match by that name."
_NO_RULE = "iptables: Bad rule (does a matching rule exist in that chain?)."


def main(arguments: list[str]) -> int:
    words = [word for word in arguments if word not in ("-w", "--wait")]
    verb = _VERBS.get(words[0]) if words else None
    if verb is None or len(words) < 2:
        return _fail("iptables: the local cloud knows --new-chain, --check, --insert, --delete and --list-rules", 2)
    file = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"]) / "run/iptables.json"
    chains: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
    name, rule = words[1], " ".join(words[2:])
    if verb == "new":
        if name in chains:
            return _fail("iptables: Chain already exists.")
        chains[name] = []
    elif name not in chains:
        return _fail(_NO_CHAIN)
    elif verb == "list":
        print(f"-N {name}", *(f"-A {name} {one}" for one in chains[name]), sep="\n")
        return 0
    elif verb == "insert":
        chains[name].insert(0, rule)
    elif rule not in chains[name]:
        return _fail(_NO_RULE)
    elif verb == "delete":
        chains[name].remove(rule)
    file.write_text(json.dumps(chains))
    return 0


def _fail(text: str, code: int = 1) -> int:
    sys.stderr.write(f"{text}\n")
    return code
