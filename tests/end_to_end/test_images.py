"""Images are digests: a tag that moves changes nothing that is known, and what runs is compared with what was meant."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from geusemaker.local_cloud.registry import move_tag
from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow

TAG = "qdrant/qdrant:v1.20.1"


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """v1 of a tag, v2 of the same tag after it moved, v3 that leaves it alone, v4 back to v1."""
    seen: dict[str, Any] = {}
    services = ("--service", "qdrant", "--service", "crawl4ai")
    world.json("deploy", "box", *services, "--image", f"qdrant={TAG}", "--health-deadline", "30", "--yes")
    seen["v1"] = world.inspect("box")
    seen["moved to"] = move_tag(world.cloud / "registry", TAG)
    seen["update"] = world.json("update", "box", "--image", f"qdrant={TAG}", "--yes")
    seen["v2"] = world.inspect("box")
    move_tag(world.cloud / "registry", TAG)
    world.json("update", "box", "--image", "crawl4ai=unclecode/crawl4ai:0.9.6", "--yes")
    seen["v3"] = world.inspect("box")
    # Nothing of v1 is left on the instance: what comes back comes from the registry, by its digest.
    world.docker("image", "rm", digest_reference(seen["v1"]))
    assert digest_reference(seen["v1"]) not in images_on_disk(world)
    seen["rollback"] = world.json("rollback", "box", "--to-version", "1", "--yes")
    seen["v4"] = world.inspect("box")
    return seen


def digest(inspection: dict[str, Any], service: str = "qdrant") -> str:
    image: str = inspection["services"][service]["image"]
    return image.partition("@")[2]


def digest_reference(inspection: dict[str, Any]) -> str:
    return f"qdrant/qdrant@{digest(inspection)}"


def images_on_disk(world: World) -> list[str]:
    listed = world.docker("image", "ls", "--no-trunc", "--digests", "--format", "{{.Repository}}@{{.Digest}}")
    return listed.splitlines()


def swap_image(world: World, image: str) -> None:
    """Put another image in place of qdrant's, past geusemaker, as an administrator's hand would."""
    home = world.instance_disk() / "opt/geusemaker"
    project = json.loads((home / "compose.json").read_text())
    project["services"]["qdrant"]["image"] = image
    edited = world.folder / "edited.json"
    edited.write_text(json.dumps(project))
    where = ("-p", "geusemaker", "--project-directory", str(home), "-f", str(edited))
    world.docker("compose", *where, "up", "-d", "qdrant")


def find_agents(world: World, verb: str) -> list[int]:
    """The agent's processes on the world's instance that are at this verb."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().rstrip(b"\0").split(b"\0")
            if words[-1] == verb.encode() and any(bytes(world.cloud) in word for word in words):
                found.append(int(file.parent.name))
    return found


def stop_between_looks(world: World) -> list[int]:
    """Stop the gate where it asks Docker nothing: a list of containers and their details would be of two worlds."""
    stopped: list[int] = []

    def is_between() -> bool:
        stopped[:] = find_agents(world, "gate")
        for agent in stopped:
            os.kill(agent, signal.SIGSTOP)
        asks = any(set(children(agent)) - set(stopped) for agent in stopped)
        if asks:
            for agent in stopped:
                os.kill(agent, signal.SIGCONT)
        return bool(stopped) and not asks

    wait_until(is_between, 30, lambda: "there is no gate between two looks")
    return stopped


def children(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def test_an_update_to_the_same_tag_takes_what_it_names_now(told: dict[str, Any]) -> None:
    assert told["update"]["success"] is True
    assert digest(told["v2"]) == told["moved to"] != digest(told["v1"])
    assert told["v2"]["services"]["qdrant"]["image"] == f"{TAG}@{told['moved to']}"


def test_a_tag_that_moved_does_not_move_what_was_not_asked_for(told: dict[str, Any]) -> None:
    assert digest(told["v3"]) == digest(told["v2"])
    assert told["v3"]["services"]["qdrant"]["pid"] == told["v2"]["services"]["qdrant"]["pid"]


def test_a_rollback_brings_the_same_digest_back(world: World, told: dict[str, Any]) -> None:
    assert told["rollback"]["success"] is True
    assert told["v4"]["services"]["qdrant"]["image"] == f"{TAG}@{digest(told['v1'])}"
    assert digest_reference(told["v1"]) in images_on_disk(world)
    [container] = (line for line in world.docker("ps", "--format", "{{.Image}}").splitlines() if "qdrant" in line)
    assert container == digest_reference(told["v1"])


def test_another_image_than_the_target_s_fails_the_gate(world: World, told: dict[str, Any]) -> None:
    """Somebody's hand puts another image in place while the gate waits: healthy, but not what was asked for."""
    process = world.start("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2-slow", "--yes")
    world.wait_for_line("apply: gate runs")
    # Between the one container and the other there is none, which is a failure too: the gate is not to see that moment.
    waiting = stop_between_looks(world)
    swap_image(world, digest_reference(told["v1"]))
    for agent in waiting:
        os.kill(agent, signal.SIGCONT)
    assert process.wait(timeout=120) == 3
    log = (world.folder / "running.log").read_text()
    assert f"@{digest(told['v1'])} runs instead of qdrant/qdrant:v1.20.2-slow@sha256:" in log
    after = world.inspect("box")
    assert (after["status"], digest(after)) == ("healthy", digest(told["v1"]))
    assert [version["status"] for version in after["versions"]][-2:] == ["failed", "active"]


def test_another_image_than_the_active_one_s_is_drift(world: World, told: dict[str, Any]) -> None:
    swap_image(world, digest_reference(told["v2"]))
    drifted = world.inspect("box")
    assert drifted["status"] == "drifted" and told["moved to"] in drifted["summary"]
    assert world.json("recover", "box", "--yes")["success"] is True
    assert digest(world.inspect("box")) == digest(told["v1"])
