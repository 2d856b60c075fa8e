"""What no container may reach, whatever runs in it: the instance's metadata service and the file system's server.

Crawl4AI opens any page that it is told to, and n8n asks any address. That the metadata service wants a token, whose
answer lives for one hop, keeps the role's credentials from containers (EC2 User Guide, "Configure the Instance Metadata
Service options"); user data is behind the same token. That it cannot be reached at all holds as well where somebody
raises that limit. EFS takes whoever comes from the instance, and with it would be had the files of PostgreSQL and n8n's
key; containers have their folders mounted, and no business with NFS themselves.

The rules are in DOCKER-USER, which Docker leaves alone and passes through first (docs.docker.com/engine/network/
packet-filtering-firewalls, "Add iptables policies before Docker's rules"). It is made before Docker is: so the first
container finds them, at each boot. What the instance itself sends does not pass there.
"""

from __future__ import annotations

import shlex
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError

_CHAIN: Final = "DOCKER-USER"
_LINK_LOCAL: Final = "169.254.0.0/16"
RULES: Final = (
    # But for names: Amazon's resolver may be asked at an address of these as well (169.254.169.253).
    f"--destination {_LINK_LOCAL} --protocol tcp ! --destination-port 53 --jump REJECT --reject-with tcp-reset",
    f"--destination {_LINK_LOCAL} --protocol udp ! --destination-port 53 --jump REJECT",
    # To other containers it may be spoken: br- is what Docker calls the networks that it makes.
    "! --out-interface br-+ --protocol tcp --destination-port 2049 --jump REJECT --reject-with tcp-reset",
)


def before_docker() -> str:
    """The lines of a drop-in that have Docker start behind the walls, or not at all."""
    lines = [f"ExecStartPre=-iptables --wait --new-chain {_CHAIN}"]
    for rule in RULES:
        there, put = (f"iptables --wait --{verb} {_CHAIN} {rule}" for verb in ("check", "insert"))
        lines.append(f"ExecStartPre=/bin/sh -c {shlex.quote(f'{there} 2>/dev/null || {put}')}")
    return "[Service]\n" + "".join(f"{line}\n" for line in lines)


def put_up_walls(agent: Agent) -> None:
    """Put the walls up now, where Docker runs already.

    Raises:
        AgentError: mount_failed
    """
    agent.run(("iptables", "--wait", "--new-chain", _CHAIN), 60, "mount_failed")  # it may be there
    for rule in RULES:
        words = rule.split()
        if agent.run(("iptables", "--wait", "--check", _CHAIN, *words), 60, "mount_failed").code == 0:
            continue
        done = agent.run(("iptables", "--wait", "--insert", _CHAIN, *words), 60, "mount_failed")
        if done.code != 0:
            raise AgentError(
                "mount_failed", f"Containers cannot be kept from the metadata service by iptables: {done.reason()}"
            )
