"""The command lines that install and run the agent on the instance.

They go through the login's shell on the instance, and Pulumi keeps and prints them, so they never hold a secret:
whatever is secret goes into the agent's stdin.

On the instance one version is one folder, ``/opt/geusemaker/agents/DIGEST``, and the link ``/opt/geusemaker/agent``
leads to the one that runs. An agent of before is one file beside it, ``agent.py``: it stays for whoever still works
with a geusemaker of before, and nobody else touches it.
"""

from __future__ import annotations

import shlex
from typing import Final

from geusemaker.host.bundle import agent_version

# Set only on local instances, which live in a folder of their own; expanded by the login's shell, because sudo
# would drop the variable.
_ROOT: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}"
_HOME: Final = f'"{_ROOT}/opt/geusemaker"'
_LINK: Final = f'"{_ROOT}/opt/geusemaker/agent"'

# Imported, not run as a file, so that Python keeps the compiled form. Where the link leads is asked once: it may lead
# elsewhere before all is loaded.
_RUN: Final = (
    "import os, sys; sys.path.insert(0, os.path.realpath(sys.argv[1])); "
    "from geusemaker.agent.__main__ import main; sys.exit(main(sys.argv[2:]))"
)

# A connection that breaks half-way ends stdin early: the digest tells, and the agent there before stays. A file of a
# version is always the same, so one that is there may be replaced under an agent that runs. The version before stays as
# well: an agent that runs may have modules still to load.
_INSTALL: Final = f"""
import base64, bz2, hashlib, json, os, shutil, sys
home, wanted = sys.argv[1:3]
if sys.version_info < (3, 11):
    sys.exit("The instance's Python is %d.%d, and the agent needs 3.11: choose an --ami of Debian 13, of Ubuntu 24.04, "
        "or of a later one of these." % sys.version_info[:2])
try:
    bundle = bz2.decompress(base64.b64decode(sys.stdin.buffer.readline().strip(), validate=True))
except (OSError, ValueError):
    bundle = b""
digest = hashlib.sha256(bundle).hexdigest()[:16]
if digest != wanted:
    sys.exit("The agent arrived incomplete (%s instead of %s); nothing was changed." % (digest, wanted))
os.umask(0o022)
agents, link = os.path.join(home, "agents"), os.path.join(home, "agent")
for name, source in json.loads(bundle).items():
    path = os.path.join(agents, wanted, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = "%s.%d.new" % (path, os.getpid())
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(source)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
before = os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
if before != wanted:
    fresh = "%s.%d.new" % (link, os.getpid())
    if os.path.lexists(fresh):
        os.unlink(fresh)
    os.symlink("agents/" + wanted, fresh)
    os.replace(fresh, link)
    for name in os.listdir(agents):
        if name not in (before, wanted):
            shutil.rmtree(os.path.join(agents, name), ignore_errors=True)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", {_RUN!r}, link, "--version"])
"""


def agent_command(become: str, verb: str, *, expect: str = "") -> str:
    """The command that runs a verb of the agent.

    Args:
        become: what turns the login into root, for example ``sudo -n``; empty where there is nothing to become.
        verb: the agent's verb.
        expect: an ``agent_version()``; any other agent then refuses with the code ``outdated``.
    """
    options = f" --expect {shlex.quote(expect)}" if expect else ""
    root = f'--root "{_ROOT.replace(":-", ":-/")}"'
    return f"{_become(become)}python3 -I -S -c {shlex.quote(_RUN)} {_LINK} {root}{options} {shlex.quote(verb)}"


def install_command(become: str) -> str:
    """The command that takes the ``packed_agent`` on stdin and puts it in place, whole or not at all.

    It holds the agent's digest, so a new agent is a changed command, and a truncated one is refused. Further lines are
    allowed and change nothing.
    """
    return f"{_become(become)}python3 -I -c {shlex.quote(_INSTALL)} {_HOME} {agent_version()}"


def session_agent_command(become: str, region: str, suffix: str) -> str:
    """The command that takes the text of ``session_agent`` on stdin, and installs AWS's Session Manager agent."""
    return f"{_become(become)}python3 - {shlex.quote(region)} {shlex.quote(suffix)}"


def _become(become: str) -> str:
    return f"{become} " if become else ""
