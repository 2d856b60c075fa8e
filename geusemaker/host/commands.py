"""The command lines that install and run the agent on the instance.

They go through the login's shell on the instance, and Pulumi keeps and prints them, so they never hold a secret:
whatever is secret goes into the agent's stdin.
"""

from __future__ import annotations

import base64
import bz2
import shlex
from functools import cache
from pathlib import Path
from typing import Final

from geusemaker.host.agent import source_version

# Set only on local instances, which live in a folder of their own; expanded by the login's shell, because sudo
# would drop the variable.
_ROOT: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}"
_HOME: Final = f'"{_ROOT}/opt/geusemaker"'

# Importing it, instead of running the file, lets Python keep the compiled form: 60 ms less for each command.
_RUN: Final = "import sys; sys.path.insert(0, sys.argv[1]); import agent; sys.exit(agent.main(sys.argv[2:]))"

# A connection that breaks half-way ends stdin early: the digest tells, and the file there before stays.
_INSTALL: Final = """
import base64, bz2, hashlib, os, sys
home, wanted = sys.argv[1:3]
try:
    source = bz2.decompress(base64.b64decode(sys.stdin.buffer.readline().strip(), validate=True))
except (OSError, ValueError):
    source = b""
digest = hashlib.sha256(source).hexdigest()[:16]
if digest != wanted:
    sys.exit("The agent arrived incomplete (%s instead of %s); nothing was changed." % (digest, wanted))
os.makedirs(home, mode=0o755, exist_ok=True)
path = os.path.join(home, "agent.py")
fresh = "%s.%d.new" % (path, os.getpid())
with open(fresh, "wb") as file:
    file.write(source)
    os.fchmod(file.fileno(), 0o755)
    file.flush()
    os.fsync(file.fileno())
os.replace(fresh, path)
os.execv(sys.executable, [sys.executable, "-I", path, "--version"])
"""


@cache
def agent_source() -> str:
    """The agent: one file of Python."""
    return (Path(__file__).parent / "agent.py").read_text(encoding="utf-8")


@cache
def packed_agent() -> str:
    """The agent as it is sent to the stdin of :func:`install_command`: one line without its end.

    Packed, because Pulumi keeps it in each state several times, and hands it round with each run. By bzip2, which has
    one implementation: the same agent has to give the same text on every machine, or it would look like a change.
    """
    return base64.b64encode(bz2.compress(agent_source().encode())).decode()


@cache
def agent_version() -> str:
    """The digest by which an installed agent is recognised as this one."""
    return source_version(agent_source())


def agent_command(become: str, verb: str, *, expect: str = "") -> str:
    """The command that runs a verb of the agent.

    Args:
        become: what turns the login into root, for example ``sudo -n``; empty where there is nothing to become.
        verb: the agent's verb.
        expect: an ``agent_version()``; any other agent then refuses with the code ``outdated``.
    """
    options = f" --expect {shlex.quote(expect)}" if expect else ""
    root = f'--root "{_ROOT.replace(":-", ":-/")}"'
    return f"{_become(become)}python3 -I -S -c {shlex.quote(_RUN)} {_HOME} {root}{options} {shlex.quote(verb)}"


def install_command(become: str) -> str:
    """The command that takes the :func:`packed_agent` on stdin and puts it in place, whole or not at all.

    It holds the agent's digest, so a new agent is a changed command, and a truncated one is refused. Further lines are
    allowed and change nothing.
    """
    return f"{_become(become)}python3 -I -c {shlex.quote(_INSTALL)} {_HOME} {agent_version()}"


def _become(become: str) -> str:
    return f"{become} " if become else ""
