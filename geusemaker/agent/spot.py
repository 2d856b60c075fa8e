"""The unit on a spot instance that waits for EC2's notice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.timers import launcher

NOTICE_UNIT: Final = "geusemaker-notice.service"
_LAUNCHER: Final = "notice.py"


def notice_files(agent: Agent) -> dict[Path, str]:
    """The unit and what it starts, by path."""
    return {agent.home / _LAUNCHER: launcher(), agent.units / NOTICE_UNIT: _unit(agent)}


def _unit(agent: Agent) -> str:
    # After Docker, so that where the instance shuts down this ends before Docker does, and stops nothing in its way.
    words = f'"{agent.home / _LAUNCHER}" "{agent.home / "agent"}" --root "{agent.root}" notice'
    return (
        "# written by geusemaker\n"
        "[Unit]\nDescription=geusemaker: stops services in order before EC2 takes the instance back\n"
        "Wants=network-online.target\nAfter=network-online.target docker.service\nStartLimitIntervalSec=0\n\n"
        f"[Service]\nType=simple\nExecStart=python3 -I -S {words}\nStandardInput=null\nRestart=always\nRestartSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
