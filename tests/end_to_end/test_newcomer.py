"""A newcomer at a terminal: from nothing to n8n in the browser, Redis and a worker by a file, a mistake, and back.

What is typed is what a screen, or a page of the documentation, said before: a text that no longer says it fails here.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.world import PROGRAM, World, settled_soon

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "getting-started.md"
EXAMPLE = ROOT / "examples" / "n8n-queue.yaml"

COLUMNS = 80
SECONDS = 300
"""Longer than any of these commands may take."""
CTRL_C = b"\x03"
BROWSER = """#!/bin/sh
# A browser: it gets the page, and keeps what it shows.
exec "{python}" -c 'import sys, urllib.request
open(sys.argv[2], "wb").write(urllib.request.urlopen(sys.argv[1], timeout=20).read())' "$1" "{page}"
"""


@dataclass
class Screen:
    """What one command came to at the terminal."""

    command: str
    code: int
    text: str

    def __contains__(self, words: str) -> bool:
        return words in " ".join(self.text.split())


@dataclass
class Newcomer:
    """Somebody who reads, at a terminal of 80 columns, and types only what they have read."""

    world: World
    read: list[str] = field(default_factory=list)
    """All that stood on the screens and pages so far."""

    def reads(self, page: Path) -> None:
        """Look at a page of the documentation."""
        self.read.append(page.read_text())

    def told(self, command: str) -> str:
        """The command as it was printed; what stands before it or after it says that it is to be typed.

        The name of a deployment in an example is taken for one's own.
        """
        printed = "|".join(re.escape(command.replace("demo", name)) for name in ("demo", "prod"))
        typed = rf"`(?:{printed})`|^(?:next: |undo: |\$ |\s+)?(?:{printed})(?:\s+#.*|\s*)$"
        assert any(re.search(typed, text, re.MULTILINE) for text in self.read), f"nothing said to type `{command}`"
        return command

    def types(self, command: str, *answers: tuple[str, bytes], code: int = 0, said: str = "") -> Screen:
        """Type what was read.

        Args:
            command: what was printed; ``> FILE`` is the shell's.
            answers: what the screen says, and the keys that are pressed at that, in this order.
            code: what it has to end with.
            said: how it was printed, where that has a word in capitals for what is to be filled in.
        """
        self.told(said or command)
        words, _, target = command.removeprefix("geusemaker").partition(" > ")
        arguments = settled_soon(tuple(words.split()))
        if target:
            (self.world.folder / target).write_text(self.world.run(*arguments, code=code).stdout)
            return Screen(command, code, "")
        screen = self._at_the_terminal([str(PROGRAM), *arguments], command, list(answers))
        self.read.append(screen.text)
        self.world.outputs.append(screen.text)
        assert screen.code == code, f"`{command}` ended {screen.code}\n{screen.text}"
        return screen

    def _at_the_terminal(self, arguments: list[str], command: str, answers: list[tuple[str, bytes]]) -> Screen:
        terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        environment = {**self.world.environment(), "TERM": "xterm-256color"}
        for unwanted in ("COLUMNS", "LINES", "NO_COLOR", "CI"):
            environment.pop(unwanted, None)
        process = subprocess.Popen(
            arguments,
            env=environment,
            cwd=self.world.folder,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        shown, seen, deadline = b"", 0, time.monotonic() + SECONDS
        try:
            while True:
                assert time.monotonic() < deadline, f"`{command}` does not end; it printed\n{_plain(shown)}"
                if not select.select([terminal], [], [], 1.0)[0]:
                    continue
                try:
                    part = os.read(terminal, 65536)
                except OSError:  # a terminal whose other end nobody has open any more
                    break
                if not part:
                    break
                shown += part
                if answers and answers[0][0] in _plain(shown[seen:]):
                    seen = len(shown)
                    os.write(terminal, answers.pop(0)[1])
            code = process.wait(timeout=SECONDS)
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        text = _plain(shown)
        assert not answers, f"`{command}` never said {answers[0][0]!r}\n{text}"
        return Screen(command, code, text)


def _plain(shown: bytes) -> str:
    """What stood on the screen, without colours and the movements of a live display."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", shown.decode(errors="replace"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


YES = ("[y/N]", b"y\n")


def with_queue(stack: str, example: str) -> str:
    """The exported file with the example's Redis and worker, and n8n's two variables of it."""
    entries = example[example.index("  redis:\n") :]
    variables = [
        line for line in example.splitlines() if re.match(r"\s+(EXECUTIONS_MODE|QUEUE_BULL_REDIS_HOST):", line)
    ]
    n8n = re.search(r"^  n8n:\n(?:    .*\n)*?    environment:\n", stack, re.MULTILINE)
    settings = re.search(r"^settings:", stack, re.MULTILINE)
    assert n8n and settings, stack
    added = "".join(f"{line}\n" for line in variables[:2])
    return stack[: n8n.end()] + added + stack[n8n.end() : settings.start()] + entries + "\n" + stack[settings.start() :]


@pytest.fixture(scope="module")
def screens(world: World) -> dict[str, Screen]:
    """The story, screen by screen."""
    page = world.folder / "page"
    browser = world.folder / "browser"
    browser.write_text(BROWSER.format(python=sys.executable, page=page))
    browser.chmod(0o755)
    world.extra["BROWSER"] = str(browser)
    newcomer, seen = Newcomer(world), {}
    stack = world.folder / "stack.yaml"

    newcomer.reads(ROOT / "README.md")
    seen["doctor"] = newcomer.types("geusemaker doctor")
    newcomer.read.append("`geusemaker`")  # what it is called, README said
    seen["bare"] = newcomer.types("geusemaker", code=2)
    seen["help"] = newcomer.types("geusemaker help deploy", said="geusemaker help VERB")
    seen["deploy"] = newcomer.types("geusemaker deploy demo", YES)
    seen["open"] = newcomer.types("geusemaker open demo", ("until you press Ctrl-C", b""), ("browser", CTRL_C))
    seen["page"] = Screen("", 0, page.read_text())

    newcomer.reads(GUIDE)
    newcomer.types("geusemaker export demo > stack.yaml")
    exported = stack.read_text()
    stack.write_text(with_queue(exported, EXAMPLE.read_text()))
    newcomer.read.append(exported)
    seen["diff"] = newcomer.types("geusemaker diff demo -f stack.yaml", code=7)
    seen["update"] = newcomer.types("geusemaker update demo -f stack.yaml", YES)

    stack.write_text(stack.read_text().replace("image: redis:7.4.11\n", "image: redis:7.4.11-crash\n"))
    seen["crash"] = newcomer.types("geusemaker update demo -f stack.yaml", YES, code=3)
    seen["history"] = newcomer.types("geusemaker history demo")
    seen["again"] = newcomer.types("geusemaker diff demo -f stack.yaml", code=7)
    seen["back"] = newcomer.types("geusemaker rollback demo", YES)
    seen["undo"] = Screen(newcomer.told("geusemaker rollback demo v4"), 0, "")
    return seen


def test_the_help_leads_to_a_deployment(screens: dict[str, Screen]) -> None:
    assert "deploy" in screens["bare"] and "open" in screens["bare"]
    assert "demo is deployed: v1 is active and healthy" in screens["deploy"]


def test_the_page_of_n8n_is_in_the_browser_through_the_tunnel(screens: dict[str, Screen]) -> None:
    assert re.search(r"n8n  http://localhost:\d+$", screens["open"].text, re.MULTILINE)
    assert "It opens in your browser." in screens["open"] and "The tunnel is closed." in screens["open"]
    assert "n8n 2." in screens["page"] and "The editor would be here." in screens["page"]


def test_the_diff_says_what_the_file_adds_and_the_update_does_it(screens: dict[str, Screen]) -> None:
    for name in ("diff", "update"):
        assert "redis.image (none) → redis:7.4.11" in screens[name]
        assert "n8n.env.EXECUTIONS_MODE (none) → queue" in screens[name]
        assert "worker.command (none) → worker" in screens[name]
    assert re.search(r"^    redis +healthy$", screens["update"].text, re.MULTILINE)
    assert re.search(r"^    worker +healthy$", screens["update"].text, re.MULTILINE)


def test_the_log_of_what_broke_stands_on_the_screen(screens: dict[str, Screen]) -> None:
    crash = screens["crash"]
    assert "the last lines of redis's log:" in crash and "Error: it crashes, as its tag wants" in crash
    assert "The previous version is back and healthy: v4 is active, with the config of v2." in crash
    assert [line for line in crash.text.splitlines() if line.startswith("the last lines of")] == [
        "the last lines of redis's log:"
    ], "what did not fail is not to be read through"


def test_the_history_tells_it_in_order(screens: dict[str, Screen]) -> None:
    lines = screens["history"].text.splitlines()
    assert any(re.match(r"↩ v1 .*deploy:", line) for line in lines)
    assert any(re.match(r"  v2 .*\+redis, \+worker", line) for line in lines)
    assert any(re.match(r"  v3 .*failed .*redis 7\.4\.11 → 7\.4\.11-crash", line) for line in lines)
    assert any(re.match(r"● v4 .*back to v2 by itself", line) for line in lines)


def test_a_plain_rollback_goes_to_before_the_file(screens: dict[str, Screen]) -> None:
    back = screens["back"]
    assert "demo is rolled back: v5 is active and healthy, with the config of v1" in back
    assert "own/redis" in back, "the data of what is taken out stays, and it is said where"
    assert not re.search(r"^    worker +healthy$", back.text, re.MULTILINE)


def test_no_line_is_longer_than_the_terminal(screens: dict[str, Screen]) -> None:
    for name in ("deploy", "update", "crash", "history", "back"):
        for line in screens[name].text.splitlines():
            verbatim = line.startswith(("evidence: ", "undo: ", "next: "))
            assert len(line) <= COLUMNS or verbatim, f"{name}: {line}"
