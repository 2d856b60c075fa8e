"""``docker network``: what the agent calls and an operator types."""

from __future__ import annotations

from pathlib import Path

from geusemaker.local_cloud.containers.api import Client
from geusemaker.local_cloud.containers.options import UsageError, parse


def main(root: Path, argv: list[str]) -> int:
    """Run ``docker network …``."""
    if argv[:1] == ["ls"]:
        options, _ = parse(argv[1:], {"-q": "quiet", "--quiet": "quiet", "--format": "format="}, "docker network ls")
        for network in Client(root).call("network_list"):
            print(network["Id"][:12] if options.get("quiet") else network["Name"])
        return 0
    if argv[:1] == ["prune"]:
        flags = {"-f": "force", "--force": "force", "--filter": "filter[]"}
        options, _ = parse(argv[1:], flags, "docker network prune")
        filters = [entry.removeprefix("label=") for entry in options.get("filter", []) if entry.startswith("label=")]
        if not options.get("force") or len(filters) != 1:
            raise UsageError("the local cloud's docker network prune needs --force and one --filter label=KEY=VALUE")
        gone = Client(root).call("network_prune", label=filters[0])
        if gone:
            print("Deleted Networks:", *gone, sep="\n")
        return 0
    raise UsageError(f"docker: 'network {' '.join(argv[:1])}' is not a docker command.\nSee 'docker network --help'.")
