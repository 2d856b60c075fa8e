"""Reaching a deployment: its services through a tunnel, its instance, a container, what is written as it is written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.end_to_end.world import PROGRAM, World, wait_until


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    """n8n and its database."""
    done = world.run("deploy", "shop", "--service", "n8n", "--service", "postgresql", "--yes")
    assert "next: `geusemaker open shop` shows n8n in your browser." in done.stdout
    return world


def interrupted(running: subprocess.Popen[str]) -> int:
    running.send_signal(signal.SIGINT)
    return running.wait(60)


def logged(world: World, log: str, text: str) -> str:
    """What a program that goes on has printed, once this is in it."""
    file = world.folder / log
    wait_until(lambda: text in file.read_text(), 90, lambda: f"no {text!r} in:\n{file.read_text()}")
    return file.read_text()


def get(address: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:
        found: dict[str, str] = json.loads(answer.read())
    return found


def test_through_the_tunnel_a_request_reaches_n8n_until_ctrl_c(deployed: World) -> None:
    running = deployed.start("tunnel", "shop", "--output", "json", log="tunnel.log")
    document = json.loads(logged(deployed, "tunnel.log", "\n}"))
    assert set(document["addresses"]) == {"n8n", "postgresql"} and document["silent"] == []
    assert get(document["addresses"]["n8n"]) == {"status": "ok"}
    assert interrupted(running) == 0
    with pytest.raises(OSError):
        get(document["addresses"]["n8n"])


def test_open_tells_the_address_where_there_is_no_browser(deployed: World) -> None:
    running = deployed.start("open", "shop", "--no-browser", log="open.log")
    told = logged(deployed, "open.log", " in a browser here.")
    address = told.rpartition("Open ")[2].partition(" ")[0]
    assert get(address) == {"status": "ok"} and interrupted(running) == 0


def test_a_pipeline_reaches_it_by_the_library(deployed: World) -> None:
    script = (
        "import urllib.request\n"
        "from geusemaker import Workspace\n"
        "shop = Workspace.find().deployment('shop')\n"
        "with shop.tunnel('n8n') as addresses:\n"
        "    print(urllib.request.urlopen(addresses['n8n'] + '/healthz').status)\n"
        "print(shop.exec('postgres', ['psql', '-U', 'geusemaker', '-d', 'n8n', '-Atc', 'SELECT 6*7']).stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=deployed.environment(),
        cwd=deployed.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["200", "42"], done.stderr


def test_a_command_on_the_instance_is_as_one_here(deployed: World) -> None:
    done = deployed.run("ssh", "shop", "--", "echo $USER; echo oops >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("admin\n", "oops\n")
    piped = subprocess.run(
        [PROGRAM, "ssh", "shop", "--", "cat"],
        env=deployed.environment(),
        cwd=deployed.folder,
        input=b"bytes\0\xff",
        capture_output=True,
        timeout=120,
    )
    assert (piped.returncode, piped.stdout) == (0, b"bytes\0\xff"), piped.stderr


def test_a_program_in_a_container_has_its_environment(deployed: World) -> None:
    printed = deployed.run("exec", "shop", "n8n", "--", "printenv", "DB_TYPE")
    assert (printed.stdout, printed.stderr) == ("postgresdb\n", "")
    assert "executable file not found" in deployed.run("exec", "shop", "n8n", "--", "nothing", code=127).stderr


def test_followed_logs_go_on_over_a_restart(deployed: World) -> None:
    running = deployed.start("logs", "shop", "n8n", "--follow", "--lines", "1", "--output", "json", log="logs.log")
    logged(deployed, "logs.log", '"service": "n8n"')
    deployed.docker("restart", "geusemaker-n8n-1")
    logged(deployed, "logs.log", "n8n: its container was started")
    ready = "Editor is now accessible"
    logged(deployed, "logs.log", ready)
    assert interrupted(running) == 0
    found = deployed.json("logs", "shop", "--since", "10m", "--grep", ready.upper())
    assert len(found["lines"]) >= 2 and all(line["time"].endswith("+00:00") for line in found["lines"])
    assert deployed.run("logs", "shop", "--grep", "no such text").stdout == ""


def test_what_is_not_there_is_refused(deployed: World) -> None:
    for verb in (("tunnel", "shop", "qdrant"), ("open", "shop", "postgresql")):
        assert "next: " in deployed.run(*verb, code=2).stderr, verb
    assert "has no service 'qdrant'" in deployed.run("exec", "shop", "qdrant", "--", "env", code=2).stderr
    assert "There is no deployment chop" in deployed.run("ssh", "chop", code=1).stderr


def test_an_instance_that_does_not_run_is_told(deployed: World) -> None:
    ec2 = deployed.aws("ec2")
    [reservation] = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])[
        "Reservations"
    ]
    ec2.stop_instances(InstanceIds=[reservation["Instances"][0]["InstanceId"]])
    away = deployed.run("ssh", "shop", "--", "true", code=255)
    assert "The instance of shop does not run" in away.stderr and "`geusemaker status shop`" in away.stderr
    assert deployed.run("tunnel", "shop", code=1).stdout == ""
