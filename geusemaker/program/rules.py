"""Which rules the security groups have, as data: the program makes them, and a plan looks for them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from geusemaker.models.stack import Target

NFS_PORT: Final = 2049
EVERYWHERE: Final = "0.0.0.0/0"

Group = Literal["instance", "storage"]
"""Which of the deployment's two groups, by its name in the program."""


@dataclass(frozen=True)
class Rule:
    """One rule of one group: one peer, and one port or all of them."""

    group: Group
    purpose: str
    """What it is for; AWS keeps it as the rule's description."""
    port: int | None
    """The TCP port; None: every port of every protocol."""
    cidr: str = ""
    """Who is let in, or where to; empty: the instance's group."""
    outward: bool = False
    """Whether it lets out rather than in."""


def rules(target: Target) -> dict[str, Rule]:
    """The rules by their names in the program.

    A name says what the rule lets in, so that another address is another rule: it is there before the old one goes.
    """
    let_in = () if target.through_aws else target.ssh_cidrs
    found = {f"ssh-{_named(cidr)}": Rule("instance", "SSH", target.ssh_port, cidr) for cidr in let_in}
    for port in target.site.ports if target.site is not None else ():
        found[f"web-{port}"] = Rule("instance", "HTTP and HTTPS", port, EVERYWHERE)
    found["out"] = Rule("instance", "everything outward", None, EVERYWHERE, outward=True)
    found["nfs"] = Rule("storage", "NFS from the instance", NFS_PORT)
    return found


def _named(cidr: str) -> str:
    return cidr.replace("/", "-").replace(":", ".")
