"""Which system the instance runs, what Docker is called there, and when its first boot is over."""

from __future__ import annotations

import shlex
import time
from typing import Final, NamedTuple

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, read_text
from geusemaker.agent.packages import installed_packages

FIRST_BOOT_SECONDS: Final = 300.0
_NEWS: Final = 15.0

_DOCKER: Final = {
    # docker.io is the daemon alone in Debian 13, and docker-compose the Compose v2 plugin: packages.debian.org/trixie
    "debian": ("docker.io", "docker-cli", "docker-compose"),
    "ubuntu": ("docker.io", "docker-compose-v2"),  # packages.ubuntu.com/noble
}
_LEAST: Final = {"debian": (13,), "ubuntu": (24, 4)}
"""The first releases with a Python for the agent (3.11) and Compose v2 among their packages."""
_DOCKERS_OWN: Final = ("docker-ce", "docker-ce-cli", "docker-compose-plugin")
"""Docker's own packages, as AWS's Deep Learning AMIs have them; Debian's and Ubuntu's would replace them."""


class System(NamedTuple):
    """The system, by os-release(5)."""

    id: str
    release: tuple[int, ...]
    name: str

    @property
    def is_known(self) -> bool:
        return self.id in _LEAST and self.release >= _LEAST[self.id]


def find_system(agent: Agent) -> System:
    values = {}
    for line in (read_text(agent.root / "etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        values[key] = "".join(shlex.split(value)[:1])
    numbers = values.get("VERSION_ID", "").split(".")
    release = tuple(int(number) for number in numbers if number.isdecimal())
    return System(values.get("ID", ""), release, values.get("PRETTY_NAME") or "an unknown system")


def docker_packages(agent: Agent, system: System) -> tuple[str, ...]:
    """The packages that are Docker and Compose here.

    Raises:
        AgentError: unsupported_system
    """
    if not system.is_known:
        raise AgentError(
            "unsupported_system",
            f"The instance runs {system.name}, which geusemaker does not set up: it has to be Debian 13, Ubuntu 24.04, "
            "or a later one of these. Choose another --ami.",
        )
    return _DOCKERS_OWN if installed_packages(agent, _DOCKERS_OWN[:1]) else _DOCKER[system.id]


def await_first_boot(agent: Agent, patience: float = FIRST_BOOT_SECONDS) -> None:
    """Wait until cloud-init, which sets up package sources and may itself install, has come to an end.

    ``/run/cloud-init/enabled`` is written at boots at which it runs, ``result.json`` at its end:
    https://cloudinit.readthedocs.io/en/latest/explanation/return_codes.html

    Raises:
        AgentError: first_boot
    """
    folder = agent.root / "run/cloud-init"
    ended = folder / "result.json"
    if not (folder / "enabled").exists():
        return
    began, told = time.monotonic(), -_NEWS
    while not ended.exists():
        passed = time.monotonic() - began
        if passed >= patience:
            raise AgentError(
                "first_boot",
                f"The instance's first boot did not come to an end within {patience:g} seconds: cloud-init is "
                f"{_stage(agent)}. `cloud-init status --long` on the instance tells more.",
            )
        if time.monotonic() - told >= _NEWS:
            told = time.monotonic()
            agent.reporter.phase(
                "boot", "started", f"Waiting for the instance's first boot: cloud-init is {_stage(agent)}"
            )
        time.sleep(0.5)
    errors = (read_leniently(ended).get("v1") or {}).get("errors") or []
    if errors:
        agent.reporter.note(f"cloud-init had errors at the first boot: {'; '.join(map(str, errors))[:400]}")


def _stage(agent: Agent) -> str:
    stage = (read_leniently(agent.root / "run/cloud-init/status.json").get("v1") or {}).get("stage")
    return f"at {stage}" if stage else "at its beginning"
