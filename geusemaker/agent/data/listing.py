"""What a service itself lists."""

from __future__ import annotations

import json
from collections.abc import Sequence

from geusemaker.agent.agent import Agent
from geusemaker.agent.exchange import exchange, http_complete, http_request, judge_http


def listed(agent: Agent, running: bool, port: int, path: str, keys: Sequence[str]) -> tuple[list[str] | None, str]:
    """(names that the service itself lists, where they come from); None: only the disk can tell."""
    if not running:
        return None, "disk: the service is not running"
    request = (agent.address, port, http_request(path, agent.address, port), http_complete)
    answer = exchange({"": request}, 10, limit=32 << 20)[""]
    healthy, seen = judge_http(answer)
    if not healthy:
        return None, f"disk: the service answered {seen}"
    try:
        value = json.loads(answer.data.partition(b"\r\n\r\n")[2])
        for key in keys:
            value = value[key]
        return sorted(str(item["name"]) for item in value or []), "service"
    except (ValueError, KeyError, TypeError) as error:
        return None, f"disk: the service's list cannot be read ({type(error).__name__})"
