"""What a service itself lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geusemaker.agent.agent import Agent
from geusemaker.agent.exchange import exchange, http_complete, http_request, judge_http


def listed(
    agent: Agent, running: bool, port: int, path: str, keys: Sequence[str], headers: Mapping[str, str] | None = None
) -> tuple[list[str] | None, str]:
    """(names that the service itself lists, where they come from); None: only the disk can tell."""
    items, source = told(agent, running, port, path, keys, headers)
    if items is None:
        return None, source
    try:
        return sorted(str(item["name"]) for item in items), source
    except (KeyError, TypeError) as error:
        return None, f"disk: the service's list cannot be read ({type(error).__name__})"


def told(
    agent: Agent, running: bool, port: int, path: str, keys: Sequence[str], headers: Mapping[str, str] | None = None
) -> tuple[list[Any] | None, str]:
    """(the items that the service itself lists, where they come from); None: it cannot be asked."""
    if not running:
        return None, "disk: the service is not running"
    request = (agent.address, port, http_request(path, agent.address, port, headers), http_complete)
    answer = exchange({"": request}, 10, limit=32 << 20)[""]
    healthy, seen = judge_http(answer)
    if not healthy:
        return None, f"disk: the service answered {seen}"
    try:
        value = json.loads(answer.data.partition(b"\r\n\r\n")[2])
        for key in keys:
            value = value[key]
        return list(value or []), "service"
    except (ValueError, KeyError, TypeError) as error:
        return None, f"disk: the service's list cannot be read ({type(error).__name__})"
