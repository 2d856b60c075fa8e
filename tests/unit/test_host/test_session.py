"""Commands on the instance, against the local cloud's SSH server; with a terminal: in a process that has one."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import asyncssh
import pytest

from geusemaker.errors import HostError
from geusemaker.host.session import Command, run
from tests.unit.test_host.conftest import Sshd

# The command line's part in a process of its own: its descriptors are what is joined.
_ATTACH = """
import json, sys
from geusemaker.host.connection import Login
from geusemaker.host.session import Command, attach
login, command = json.loads(sys.argv[1])
sys.exit(attach(Login(**login), Command(**command)))
"""


def attaching(sshd: Sshd, command: Command) -> list[str]:
    return [sys.executable, "-c", _ATTACH, json.dumps([asdict(sshd.login), command._asdict()])]


def code_of(sshd: Sshd, command: Command) -> str:
    with pytest.raises(HostError) as caught:
        run(sshd.login, command)
    return caught.value.code


def test_output_errors_and_exit_code_come_back(sshd: Sshd) -> None:
    assert run(sshd.login, Command("echo out; echo err >&2; exit 7")) == (7, b"out\n", b"err\n")
    assert run(sshd.login, Command("cat"), b"a\0\xff") == (0, b"a\0\xff", b"")
    assert run(sshd.login, Command("kill -TERM $$")).code == 128 + signal.SIGTERM


def test_an_instance_that_is_another_one_or_away_is_told(sshd: Sshd) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(HostError) as caught:
        run(sshd.with_key(other), Command("true"))
    assert caught.value.code == "auth_failed"
    sshd.close()
    assert code_of(sshd, Command("true")) == "unreachable"


def test_a_connection_that_is_lost_in_the_middle_is_no_exit_code(sshd: Sshd) -> None:
    (sshd.home / "stop").touch()
    running = subprocess.Popen(
        attaching(sshd, Command("echo here; while [ -e stop ]; do sleep 0.1; done")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert running.stdout is not None and running.stderr is not None
    assert running.stdout.readline() == b"here\n"
    sshd.close()
    assert b"the connection was lost while a command was running" in running.communicate(timeout=60)[1]
    (sshd.home / "stop").unlink()


def test_a_program_in_a_container_gets_its_words_as_they_are(sshd: Sshd) -> None:
    sshd.container("n8n")
    assert run(sshd.login, Command(service="n8n", words=("printf", "%s|", "a b", "$HOME"))).out == b"a b|$HOME|"
    assert (sshd.home / "asked").read_text() == "exec -i id-of-n8n printf %s| a b $HOME\n"


def test_a_service_without_a_running_container_and_a_docker_that_refuses_are_told_apart(sshd: Sshd) -> None:
    assert code_of(sshd, Command(service="n8n", words=("true",))) == "not_running"
    (sshd.home / "broken").touch()
    assert code_of(sshd, Command(service="n8n", words=("true",))) == "docker_failed"


def test_attached_without_a_terminal_it_is_a_pipe(sshd: Sshd, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"from a file\0")
    with given.open("rb") as file:
        done = subprocess.run(
            attaching(sshd, Command("cat; tty >&2; exit 3")), stdin=file, capture_output=True, timeout=60
        )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"from a file\0", b"not a tty\n")


@pytest.mark.parametrize("given", [None, b"typed\n"])
def test_a_program_in_a_container_says_what_it_says_and_nobody_else_does(sshd: Sshd, given: bytes | None) -> None:
    sshd.container("n8n")
    done = subprocess.run(
        attaching(sshd, Command(service="n8n", words=("cat",))),
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, given or b"", b"")


def test_a_reader_that_goes_away_ends_it(sshd: Sshd) -> None:
    command = " ".join(
        [*("'" + word.replace("'", "'\\''") + "'" for word in attaching(sshd, Command("yes"))), "| head -1"]
    )
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, b"y\n", b"")


@contextmanager
def typing(sshd: Sshd, command: Command) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A process with a terminal of its own, and the end of it that somebody types at."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        attaching(sshd, command), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        yield controller, process
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def read_until(controller: int, text: str) -> str:
    shown, end = "", time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < end and select.select([controller], [], [], 60)[0], shown
        shown += os.read(controller, 4096).decode()
    return shown


def test_a_terminal_here_is_a_terminal_there_and_ctrl_c_is_typed(sshd: Sshd) -> None:
    line = "tty; trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    with typing(sshd, Command(line)) as (controller, process):
        assert "/dev/pts/" in read_until(controller, "ready")
        os.write(controller, b"\x03")
        read_until(controller, "caught")
        assert process.wait(60) == 9


def test_a_login_shell_takes_what_is_typed(sshd: Sshd) -> None:
    with typing(sshd, Command()) as (controller, process):
        os.write(controller, b"echo $((40+2)); exit 4\n")
        read_until(controller, "42")
        assert process.wait(60) == 4
