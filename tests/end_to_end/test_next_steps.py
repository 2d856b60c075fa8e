"""Every command that geusemaker tells somebody to type, typed: in a clean shell, with nobody at the terminal.

What only looks answers. What would change something shows what, and refuses to do it without a yes; so all can be typed
at one deployment, which is as before afterwards.
"""

from __future__ import annotations

import operator
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from geusemaker.cli.commands import env
from geusemaker.engine.binary import find_engine
from tests.end_to_end.world import PROGRAM, Answer, World
from tests.next_steps import CHECKPOINT, collect

pytestmark = pytest.mark.slow

TYPED: Final = collect()
SECONDS: Final = 60
"""Longer than any of them may take; most take two or three."""

LOOKS, ASKED, CANNOT, NOT_HERE = 0, 1, 2, 5
OUTCOMES: Final = {
    # Verb, and the option that makes another case of it → exit codes of README's table that are right for it here,
    # where nobody can be asked, nothing is broken, and the deployment is on a local cloud of processes.
    **{
        verb: {LOOKS}
        for verb in ("status", "inspect", "history", "checkpoints", "logs", "info", "env", "list", "export")
    },
    "diff -f stack.yaml": {LOOKS},
    "update -f stack.yaml": {ASKED},
    "logs prod caddy": {CANNOT},  # it is there where there is a domain
    **{verb: {LOOKS} for verb in ("help", "version")},
    **{verb: {LOOKS} for verb in ("local start", "local status", "local env", "local stop", "pin", "unpin", "mark")},
    **{verb: {LOOKS} for verb in ("ssh", "exec", "open", "tunnel")},
    "logs --follow": {LOOKS},
    "--help": {LOOKS},
    "--version": {LOOKS},
    "recover": {LOOKS},
    "recover --every": {LOOKS},
    "diff": {LOOKS, NOT_HERE},
    "doctor": {LOOKS},
    "doctor --repair": {LOOKS},
    "local reset": {ASKED},
    "local interrupt": {ASKED},  # there is no spot instance
    "update": {ASKED},
    "update --label": {LOOKS},  # runs nothing, so it asks nothing
    "--dry-run": {LOOKS},
    "rollback": {ASKED},
    "rollback --with-data": {ASKED, NOT_HERE},  # no n8n has migrated its data here
    "rehearse": {NOT_HERE},  # what is to be tried runs already
    "restore": {ASKED},
    "restore --backup": {ASKED, NOT_HERE},  # there is one only once all else was typed
    "backup": {LOOKS},  # changes nothing, so it asks nothing
    "backup --list": {LOOKS},
    "backup --every": {LOOKS},
    "stop": {ASKED},
    "start": {ASKED},
    "destroy": {ASKED},
    "destroy --confirm-name": {LOOKS},
    "deploy": {ASKED},
    "deploy --target aws": {ASKED},
    "deploy --local-runtime": {ASKED},
    "update --secret-env": {ASKED, CANNOT, NOT_HERE},
    "secrets list": {LOOKS},
    "secrets show": {CANNOT},
    "secrets show --reveal": {LOOKS, CANNOT},
    "secrets set": {CANNOT},
    "secrets set --delete": {ASKED, CANNOT},
    "secrets import": {ASKED, CANNOT},
    "secrets rotate": {ASKED},
    "secrets rotate-passphrase": {ASKED},
}
AT_ONCE: Final = (
    "pin",
    "unpin",
    "mark",
    "update --label",
    "backup",
    "backup --every",
    "local stop",
    "local start",
    "destroy --confirm-name",
)
"""What does what it says without a question: typed in this order, when all else has been."""


STAYS: Final = ("open", "tunnel", "logs --follow", "recover --every")
"""What goes on until Ctrl-C, which is pressed here after a while."""
UNTIL_CTRL_C: Final = "timeout --foreground --preserve-status --signal INT 15 "
"""In the foreground it is pressed once; else ``timeout`` tells the command, and then all of its group."""


@dataclass(frozen=True)
class Typed:
    """What was typed, and what came of it."""

    command: str
    answer: Answer
    seconds: float


def verb_of(command: str) -> str:
    """The key in OUTCOMES."""
    words = shlex.split(command)
    if command in OUTCOMES:
        return command
    if "--help" in words:
        return "--help"
    if "--dry-run" in words:
        return "--dry-run"
    verb = " ".join(words[:2]) if words[0] in ("local", "secrets") else words[0]
    for case in (
        "--follow",
        "--every",
        "--label",
        "--delete",
        "--with-data",
        "--repair",
        "--confirm-name",
        "-f stack.yaml",
        "--target aws",
        "--local-runtime",
        "--secret-env",
        "--reveal",
        "--backup",
        "--list",
    ):
        if f"{case} " in f"{command} ":
            return f"{verb} {case}"
    return verb


def as_typed_here(command: str, checkpoints: dict[str, str], folder: Path) -> str:
    """The command with what is to be filled in: the deployment, a checkpoint and a file that there are.

    The examples' ``--yes`` is left out, as for everything else, but for what ends the deployment.
    """
    words = [word for word in shlex.split(command) if word != "--yes" or "--confirm-name" in command]
    words = [
        {
            "demo": "prod",
            "FILE": str(folder / "file"),
            "ID": "latest",
            "/run/secrets/new": str(folder / "file"),
            "stack.yaml": str(folder / "stack.yaml"),
        }.get(w, w)
        for w in words
    ]
    words = [word.replace("=@FILE", f"=@{folder / 'file'}") for word in words]
    made_up = re.compile(rf"(v\d+)/(?:OPERATION|{re.escape(CHECKPOINT.partition('/')[2])})")
    return shlex.join(made_up.sub(lambda found: checkpoints[found[1]], word) for word in words)


def type_in_a_clean_shell(world: World, line: str, *programs: Path) -> Typed:
    """As somebody types it who has just logged in: nothing in the environment but what every shell has.

    Args:
        world: whose machine it is.
        line: what is typed.
        programs: folders on PATH besides the usual ones and that of geusemaker.
    """
    variables = {
        "HOME": os.environ["HOME"],
        "PATH": ":".join(map(str, (*programs, PROGRAM.parent, "/usr/local/bin", "/usr/bin", "/bin"))),
        "TERM": "xterm-256color",
        "GEUSEMAKER_HOME": str(world.home),
        "GEUSEMAKER_LOCAL_DIR": str(world.cloud),
        **{name: os.environ[name] for name in ("GEUSEMAKER_PULUMI",) if name in os.environ},
    }
    started = time.monotonic()
    done = subprocess.run(
        ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), "/bin/sh", "-c", line],
        cwd=world.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Typed(line, Answer(done.returncode, done.stdout, done.stderr), time.monotonic() - started)


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    """Three versions of everything there is, with a checkpoint of each that was left."""
    world.run("deploy", "prod", "--yes", "--image", "n8n=n8nio/n8n:2.42.6", "--image", "qdrant=qdrant/qdrant:v1.20.0")
    world.http("prod", "qdrant", "/collections/docs", {"vectors": {"size": 1, "distance": "Dot"}}, method="PUT")
    world.run("update", "prod", "--yes", "--image", "n8n=n8nio/n8n:2.43.0")
    world.run("update", "prod", "--yes", "--image", "n8n=n8nio/n8n:2.43.1", "--image", "qdrant=qdrant/qdrant:v1.20.1")
    (world.folder / "file").write_text("what is to be in a file\n")
    (world.folder / "stack.yaml").write_text(world.run("export", "prod").stdout)
    return world


def test_what_info_prints_works_in_a_clean_shell(deployed: World) -> None:
    info = deployed.json("info", "prod")
    told = type_in_a_clean_shell(deployed, f"{info['ssh_command']} -- hostname")
    assert told.answer.code == 0 and told.answer.stdout.strip(), told
    assert info["credentials"], "there are generated secrets"
    for line in info["credentials"].values():
        shown = type_in_a_clean_shell(deployed, f"{line} --reveal")  # nobody sits at a terminal here
        assert shown.answer.code == 0 and len(shown.answer.stdout.strip()) >= 16, line


def test_plain_pulumi_works_as_the_example_says(deployed: World) -> None:
    engine = find_engine()
    assert engine is not None
    line = env.EXAMPLES[0].replace("~/.geusemaker", str(deployed.home))
    found = type_in_a_clean_shell(deployed, line, Path(engine.path).parent)
    assert found.answer.code == 0 and "Current stack is prod" in found.answer.stdout, found


def form_of(command: str) -> tuple[str, ...]:
    """What two commands have in common that differ in names and values alone."""
    words = shlex.split(command)
    options = sorted({word.partition("=")[0] for word in words if word.startswith("-")})
    return verb_of(command), *options, str(sum(not word.startswith("-") for word in words))


def of_each_form() -> list[Any]:
    """One command of each form; `make soak` types the others as well."""
    firsts = {form_of(command): command for command in sorted(TYPED, reverse=True)}
    return [
        pytest.param(command, marks=[] if firsts[form_of(command)] == command else [pytest.mark.soak])
        for command in sorted(TYPED)
    ]


@pytest.fixture(scope="module")
def typed(deployed: World, request: pytest.FixtureRequest) -> dict[str, Typed]:
    """Collected command, of those that are tested → what came of it."""
    tested = {item.callspec.params.get("collected") for item in request.session.items if hasattr(item, "callspec")}
    found = deployed.json("checkpoints", "prod")["checkpoints"]
    checkpoints = {f"v{one['version']}": one["checkpoint"] for one in found}
    before = look(deployed)

    commands = {
        line: f"{UNTIL_CTRL_C if verb_of(line) in STAYS else ''}"
        f"geusemaker {as_typed_here(line, checkpoints, deployed.folder)}"
        for line in TYPED
        if line in tested
    }
    answers: dict[str, Typed] = {}

    def type_all(pool: ThreadPoolExecutor, wanted: Callable[[str], bool]) -> None:
        todo = dict.fromkeys(command for collected, command in commands.items() if wanted(verb_of(collected)))
        answers.update(zip(todo, pool.map(lambda command: type_in_a_clean_shell(deployed, command), todo), strict=True))

    with ThreadPoolExecutor(2) as two:
        type_all(two, lambda verb: verb not in AT_ONCE)
    assert look(deployed) == before, "nobody said yes, and something was changed"
    for verb in AT_ONCE:
        with ThreadPoolExecutor(1) as one:
            type_all(one, partial(operator.eq, verb))
    for slow in sorted(answers.values(), key=lambda found: -found.seconds):
        print(f"{slow.seconds:5.1f} s  {slow.command}")
    return {collected: answers[command] for collected, command in commands.items()}


def look(world: World) -> dict[str, Any]:
    return world.inspect("prod")


@pytest.mark.parametrize("collected", of_each_form())
def test_what_is_printed_works_as_it_is_typed(typed: dict[str, Typed], collected: str) -> None:
    found = typed[collected]
    told = f"{TYPED[collected]}: `{found.command}` ended {found.answer.code}"
    everything = found.answer.stdout + found.answer.stderr
    faults = re.search(r"Traceback|Something unforeseen|Usage:|: not found$", found.answer.stderr, re.MULTILINE)
    assert not faults, f"{told}\n{everything}"
    assert found.answer.code in OUTCOMES[verb_of(collected)], f"{told}\n{everything}"
    if found.answer.code:
        assert re.search(r"^(?:next|state): ", found.answer.stderr, re.MULTILINE), f"{told}\n{everything}"
    asks = "--local-runtime" not in found.command and verb_of(collected) != "local interrupt"
    if found.answer.code == ASKED and asks:
        assert "asks before it acts" in everything or "--confirm-name" in everything, f"{told}\n{everything}"
