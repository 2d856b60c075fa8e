"""The agent: the one program that works on the instance. It is shipped over SSH and runs as root, next to the data.

    python3 -m geusemaker.agent [--root /] [--expect VERSION] VERB
        one JSON document on stdin, JSON lines on stdout, exit status 0 or 1
    python3 -m geusemaker.agent --version
        the digest of the bundle that it came in

It is for Python 3.11 to 3.13 with nothing but the standard library. Every path is taken below ``--root`` (``/`` on a
real machine); ``docker``, ``systemctl``, ``apt-get``, ``dpkg-query`` are found on PATH.

Lines it writes, each shorter than 16 KiB:

    {"event": "phase", "name": …, "state": "started"|"done", "message": …}
    {"event": "service", "service": "n8n", "state": …, "detail": …}
    {"event": "note", "message": …}     {"event": "log", "service": …, "time": …, "line": …}
    {"event": "alive", "at": {service: time}}  logs, while it follows: up to where each service's lines were told
    {"event": "part", "text": …}        a piece of the JSON text of an answer too long for one line
    {"event": "result", "ok": true, …}  the last line: the verb's answer (or "parts": how many pieces came before)
    {"event": "error", "code": …, "message": …, "detail": {…}}   the last line instead, with exit status 1;
        the gate's detail has "services": {"n8n": {"state": …, "reason": …, "healthy": …}, …}, and no other verb's has

Rules that every change to the agent has to keep:

* Mounted or nothing. No container is started unless the right file system is mounted and its sentinel is there, and
  with it the data volume, where the deployment has one.
* A lost NFS mount hangs whoever touches it. The mount table is read first, and the file system is touched only in a
  forked child with a deadline (``Agent.on_efs``).
* One operation at a time. The lease on the file system names it; verbs that change anything refuse every other one.
  A process registers itself *before* it looks at the lease, and a new lease is written *before* the old operation's
  processes are killed: so whatever passed the check under the old lease is seen, and killed.
* Interruptible everywhere: files appear by rename after fsync, and every verb can simply be run again.
* Everything has a deadline, and secrets appear in no argument list and in no line written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.deadlines import DEADLINES
from geusemaker.agent.document import Json, read_document
from geusemaker.agent.errors import AgentError, Interrupted
from geusemaker.agent.output import Reporter
from geusemaker.agent.verbs import VERBS, run_verb
from geusemaker.agent.version import agent_version


def perform(agent: Agent, verb: str, read: Callable[[], str]) -> int:
    """Run a verb with signals and deadline in place, and write its last line; returns the exit status."""
    deadline = DEADLINES[verb]

    def interrupt(number: int, frame: Any) -> None:
        for ignored in _SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        if number == signal.SIGALRM:
            raise Interrupted("deadline", f"{verb} was given up after {deadline:g} seconds.")
        raise Interrupted("cancelled", f"{verb} was told to end before it was done.")

    handlers = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    signal.setitimer(signal.ITIMER_REAL, deadline)
    try:
        agent.reporter.result(run_verb(verb, agent, read_document(read())))
        return 0
    except Interrupted as stop:
        agent.end_children()
        return _fail(agent, stop.code, stop.message, {})
    except AgentError as error:
        return _fail(agent, error.code, error.message, error.detail)
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}, line {where.tb_lineno}" if where else "nowhere"
        return _fail(agent, "internal", f"The agent failed: {type(error).__name__}: {error} ({place}).", {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


def _fail(agent: Agent, code: str, message: str, detail: Json) -> int:
    with contextlib.suppress(AgentError, OSError):
        agent.reporter.hide(agent.secrets())
    agent.reporter.emit("error", code=code, message=message, detail=detail)
    return 1


def _write_stdout(text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


USAGE: Final = "usage: python3 -m geusemaker.agent [--root FOLDER] [--expect VERSION] VERB | --version"


def main(arguments: Sequence[str]) -> int:
    """Run one verb as a program; returns the exit status (2: the arguments cannot be used)."""
    words, options = list(arguments), {"--root": "/", "--expect": ""}
    if words == ["--version"]:
        print(agent_version())
        return 0
    while len(words) > 2 and words[0] in options:
        options[words[0]] = words[1]
        del words[:2]
    if len(words) != 1 or words[0] not in VERBS:
        print(USAGE, "\nverbs:", *VERBS, file=sys.stderr)
        return 2
    reporter = Reporter(_write_stdout)
    if options["--expect"] and options["--expect"] != agent_version():
        reporter.emit("error", code="outdated", message="Another version of the agent is installed.", detail={})
        return 1
    os.umask(0o022)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # one group for everything it starts; a session leader has one already
    return perform(Agent(Path(options["--root"]).absolute(), reporter), words[0], sys.stdin.read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
