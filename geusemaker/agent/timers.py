"""Timers of systemd that have the agent run one of its verbs again and again."""

from __future__ import annotations

from typing import NamedTuple

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text, write_atomic


class Timer(NamedTuple):
    """A timer, and the service that it starts."""

    verb: str
    """The agent's, which is run without a document."""
    does: str
    """What the service is, in a few words."""
    code: str
    """Of the error when systemd refuses."""
    first: int
    """Seconds from its start, which is also each boot's, to the first run."""
    every: int
    """Seconds from one run to the next."""

    @property
    def timer(self) -> str:
        return f"geusemaker-{self.verb}.timer"

    @property
    def service(self) -> str:
        return f"geusemaker-{self.verb}.service"

    @property
    def launcher(self) -> str:
        return f"{self.verb}.py"


def put_timer(agent: Agent, timer: Timer) -> None:
    """Have it run from now on, and after each boot; nothing is done where it is as it should be.

    Raises:
        AgentError: of the timer's code
    """
    files = {
        agent.home / timer.launcher: launcher(),
        agent.units / timer.service: _service_unit(agent, timer),
        agent.units / timer.timer: _timer_unit(timer),
    }
    if any(read_text(path) != text for path, text in files.items()):
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text)
        _systemctl(agent, timer, "daemon-reload")
        _systemctl(agent, timer, "enable", timer.timer)
        _systemctl(agent, timer, "restart", timer.timer)


def end_timer(agent: Agent, timer: Timer) -> None:
    """Have it run no more; nothing is done where there is none.

    Raises:
        AgentError: of the timer's code
    """
    if (agent.units / timer.timer).exists():
        _systemctl(agent, timer, "disable", "--now", timer.timer)
        for unit in (timer.timer, timer.service):
            (agent.units / unit).unlink(missing_ok=True)
        _systemctl(agent, timer, "daemon-reload")
    (agent.home / timer.launcher).unlink(missing_ok=True)


def launcher() -> str:
    """A program that runs the agent's verb named at the end of its arguments."""
    # The agent of whatever version is installed: where the link leads is asked at each look.
    return (
        "# written by geusemaker\n"
        "import os\nimport sys\n\n"
        "sys.path.insert(0, os.path.realpath(sys.argv[1]))\n"
        "from geusemaker.agent.__main__ import main\n\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )


def _systemctl(agent: Agent, timer: Timer, *arguments: str) -> None:
    finished = agent.run(("systemctl", *arguments), 60, timer.code)
    if finished.code != 0:
        raise AgentError(timer.code, f"systemctl {' '.join(arguments)} failed: {finished.reason()}")


def _service_unit(agent: Agent, timer: Timer) -> str:
    words = f'"{agent.home / timer.launcher}" "{agent.home / "agent"}" --root "{agent.root}" {timer.verb}'
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker: {timer.does}\n\n"
        f"[Service]\nType=oneshot\nExecStart=python3 -I -S {words}\n"
    )


def _timer_unit(timer: Timer) -> str:
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker: {timer.does}, again and again\n\n"
        f"[Timer]\nOnActiveSec={timer.first}\nOnUnitActiveSec={timer.every}\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
