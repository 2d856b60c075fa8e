"""How long a service is away, on real containers: a rollback against `docker compose up -d` by hand, a resize against
stopping, modifying and starting the instance by hand.

    python -m benchmarks.downtime

It is part of `make bench`. It needs a Docker daemon, or root and ``dockerd``, as the tests on Docker do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.pairs import PAIRS, report
from geusemaker.local_cloud.docker.command import DockerError
from tests.end_to_end.containers import Containers, containers_in
from tests.end_to_end.world import wait_until

CHANGED: Final = ("11235", "/health")
UNCHANGED: Final = ("11434", "/api/version")
PROBE_SECONDS: Final = 0.02
SMALL, LARGE = "t3.large", "t3.xlarge"
_PROBE = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
_COMPOSE = "docker compose -p geusemaker --project-directory /opt/geusemaker -f /opt/geusemaker/by-hand.json"


@dataclass
class Watch:
    """What the probe on the instance told: service → (moment, whether it answered), whenever that changed."""

    changes: dict[str, list[tuple[float, bool]]] = field(default_factory=lambda: {CHANGED[0]: [], UNCHANGED[0]: []})
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Service → how often it was asked, and how often in vain, by the probe that runs or was the last to."""
    reading: Future[None] | None = None
    """What reads the probe's lines, in a thread of its own; it ends when the measurement does."""

    def read(self, line: str) -> bool:
        """Take a line of the probe; False: it is none."""
        match line.split():
            case [port, "asked", asked, "failed", failed] if port in self.changes:
                self.asked[port] = int(asked), int(failed)
            case [port, "up" | "down" as state, moment] if port in self.changes:
                self.changes[port].append((float(moment), state == "up"))
            case _:
                return False
        return True

    def is_up(self) -> bool:
        """Whether both answer now.

        Raises:
            Exception: nobody looks any more: what ended the thread that reads the probe.
        """
        if self.reading is not None and self.reading.done():
            self.reading.result()
            raise RuntimeError("nobody reads the probe any more")
        return all(changes and changes[-1][1] for changes in self.changes.values())

    def away(self, port: str, since: float) -> float:
        """Seconds from the first moment without an answer to that from which on it answered."""
        later = [(moment, up) for moment, up in self.changes[port] if moment >= since]
        downs, ups = [moment for moment, up in later if not up], [moment for moment, up in later if up]
        return ups[-1] - downs[0] if downs else 0.0


@contextmanager
def watching(containers: Containers) -> Iterator[Watch]:
    """Run the probe on the instance, again whenever the instance has started."""
    watch, ended = Watch(), threading.Event()
    running: list[subprocess.Popen[str]] = []

    def probe() -> None:
        instance = containers.inspect()["Id"]
        command = ["docker", "exec", "-i", instance, "python3", "-uIS", "-c", _PROBE, str(PROBE_SECONDS)]
        while not ended.is_set():  # it ends, too, when the instance is stopped
            errors.seek(0)
            errors.truncate()
            strange: list[str] = []
            with subprocess.Popen(
                [*command, *CHANGED, *UNCHANGED],
                env=containers.world.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process:
                running[:] = [process]
                assert process.stdout is not None
                strange += (line for line in process.stdout if not watch.read(line))
            # Docker writes to the same output that it cannot execute anything in an instance that is just stopping.
            if (strange and not process.returncode) or "Traceback" in complaints():
                raise RuntimeError(f"not what the probe says: {strange} {complaints()}")
            ended.wait(PROBE_SECONDS)

    def complaints() -> str:
        errors.seek(0)
        return errors.read().decode(errors="replace")

    def problem() -> str:
        return f"the services do not answer: {watch.changes} {complaints()}"

    errors = tempfile.TemporaryFile()  # noqa: SIM115
    with ThreadPoolExecutor(1) as pool:
        watch.reading = pool.submit(probe)
        try:
            wait_until(watch.is_up, 30, problem)
            yield watch
        finally:
            ended.set()
            for process in running:
                assert process.stdin is not None
                process.stdin.close()
    watch.reading.result()


def away(watch: Watch, act: Callable[[], Any], port: str = CHANGED[0]) -> float:
    """How long a service was away because of what is done."""
    since = time.monotonic()
    act()
    wait_until(lambda: watch.is_up() and watch.away(port, since) > 0, 60, lambda: f"nothing went away: {watch.changes}")
    return watch.away(port, since)


def compose_file(containers: Containers) -> str:
    return containers.on_instance("cat", "/opt/geusemaker/compose.json")


def put_compose_file(containers: Containers, document: str) -> None:
    put = "cat > /opt/geusemaker/by-hand.json"
    containers.docker.run("exec", "-i", containers.inspect()["Id"], "sh", "-c", put, stdin=document.encode())


def by_hand(containers: Containers, document: str) -> None:
    """Make a compose file real as somebody at the instance would."""
    put_compose_file(containers, document)
    containers.on_instance("sh", "-c", f"{_COMPOSE} up -d")


def careful_resize_by_hand(containers: Containers, ec2: Any, instance_type: str, document: str) -> None:
    """Resize as somebody would who lets no service be cut off, and gives the containers the new type's limits."""
    put_compose_file(containers, document)
    containers.on_instance("sh", "-c", f"{_COMPOSE} stop")
    resize_by_hand(containers, ec2, instance_type)

    def is_up() -> bool:
        try:
            containers.on_instance("sh", "-c", f"{_COMPOSE} up -d")
        except DockerError:
            return False  # the instance's Docker has not started yet
        return True

    wait_until(is_up, 120, lambda: "Docker does not start")


def resize_by_hand(containers: Containers, ec2: Any, instance_type: str) -> None:
    """Stop, modify and start the instance as somebody with AWS's API would."""

    def instance() -> dict[str, Any]:
        found: dict[str, Any] = ec2.describe_instances()["Reservations"][0]["Instances"][0]
        return found

    def in_state(state: str) -> None:
        wait_until(lambda: instance()["State"]["Name"] == state, 120, lambda: f"not {state}: {instance()['State']}")

    ids = [instance()["InstanceId"]]
    ec2.stop_instances(InstanceIds=ids)
    in_state("stopped")
    ec2.modify_instance_attribute(InstanceId=ids[0], InstanceType={"Value": instance_type})
    ec2.start_instances(InstanceIds=ids)
    in_state("running")


def measure(containers: Containers) -> None:
    """Everything, on a machine that has nothing deployed."""
    containers.build_instance_image()
    containers.images.push_crawl4ai("0.6.0", "0.7.0")
    containers.images.push_ollama("0.9.6")
    run = containers.world.run
    run(
        "deploy", "demo", "--yes", "--service", "crawl4ai", "--service", "ollama", "--instance-type", SMALL,
        "--image", "crawl4ai=unclecode/crawl4ai:0.6.0", "--image", "ollama=ollama/ollama:0.9.6",
    )  # fmt: skip
    older = compose_file(containers)
    run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.7.0")
    newer = compose_file(containers)
    rollbacks = []
    with watching(containers) as watch:
        for _ in range((PAIRS + 1) // 2):
            # There and back by hand in between, so that what runs is what the deployment's history says.
            for version, here, there in (("1", older, newer), ("2", newer, older)):
                ours = away(watch, partial(run, "rollback", "demo", "--to-version", version, "--yes"))
                theirs = away(watch, partial(by_hand, containers, there))
                away(watch, partial(by_hand, containers, here))
                rollbacks.append((ours, theirs))
    report("image rollback, service away / docker compose up -d by hand", rollbacks, "at most 1.10")
    asked, failed = watch.asked[UNCHANGED[0]]
    print(f"  requests to the service that was not changed: {failed} of {asked} failed (goal: 0)", flush=True)

    ec2, resizes, bare = containers.world.aws("ec2"), [], []
    documents = {SMALL: newer}
    with watching(containers) as watch:
        for _ in range((PAIRS + 1) // 2):
            for here, there in ((LARGE, SMALL), (SMALL, LARGE)):
                ours = away(watch, partial(run, "update", "demo", "--yes", "--instance-type", here))
                documents[here] = compose_file(containers)
                booted = away(watch, partial(resize_by_hand, containers, ec2, there))
                careful = partial(careful_resize_by_hand, containers, ec2, here, documents[here])
                resizes.append((ours, away(watch, careful)))
                bare.append((ours, booted))
    report("resize, services away / compose stop, stop, modify, start, compose up by hand", resizes, "at most 1.10")
    report("resize, services away / stop, modify, start by hand (the containers as before)", bare, "at most 1.10")


def main() -> None:
    """Measure, or say why that cannot be done here."""
    with tempfile.TemporaryDirectory(prefix="geusemaker-downtime-") as folder:
        try:
            with containers_in(Path(folder)) as containers:
                measure(containers)
        except pytest.skip.Exception as why:
            print(f"DOWNTIME IS NOT MEASURED: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
