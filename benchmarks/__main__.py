"""`make bench`: a change against a bare Automation script, the CLI's start against `pulumi version`, the agent's
against a bare Python's, how soon a crash is noticed and undone, memory, a rollback's plan after 2,000 updates against
one after 10, and downtime (see there).

Every ratio is of two commands run in turn (A B A B …) in this one run, so it holds when the machine's speed drifts.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import downtime
from benchmarks.long_history import age
from benchmarks.pairs import PAIRS, report
from geusemaker.engine.binary import find_engine
from geusemaker.host.bundle import agent_version, packed_agent
from geusemaker.host.commands import agent_command, install_command
from geusemaker.models.stack import LOCAL_SETTLE_SECONDS, SETTLE_SECONDS

NO_SETTLING = ("--settle-seconds", "0")
"""The settle time is a wait, the same for both sides: it is left out of the ratios and named beside them."""
PROGRAM = str(Path(sys.executable).parent / "geusemaker")


def timed(command: list[str], environment: dict[str, str], cwd: Path, code: int = 0) -> tuple[float, str]:
    """Wall seconds of a whole process that ends with ``code``, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    elapsed = time.perf_counter() - started
    if done.returncode != code:
        sys.exit(f"{command} ended {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed, done.stdout + done.stderr


def prefetch_seconds(progress: str) -> float:
    """How long the prefetch phase took, from the progress lines."""
    times = {
        state or "started": float(seconds)
        for seconds, state in re.findall(r"\[\s*([\d.]+)s\] prefetch:? ?(done)?", progress)[:1]
        + re.findall(r"\[\s*([\d.]+)s\] prefetch: (done)", progress)
    }
    return times.get("done", 0.0) - times.get("started", times.get("done", 0.0))


def main() -> None:
    engine = find_engine()
    if engine is None:
        sys.exit("No Pulumi engine: run `make setup` first.")
    with tempfile.TemporaryDirectory(prefix="geusemaker-bench-") as temporary:
        folder = Path(temporary)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PULUMI_"))}
        environment |= {
            "GEUSEMAKER_HOME": str(folder / "workspace"),
            "GEUSEMAKER_LOCAL_DIR": str(folder / "cloud"),
            "GEUSEMAKER_PULUMI": engine.path,
            "PYTHONPATH": str(Path.cwd()),
        }
        try:
            measure_agent(environment, folder)
            measure(environment, folder, engine.path)
            measure_history(environment, folder)
        finally:
            subprocess.run([PROGRAM, "local", "reset", "--yes"], env=environment, cwd=folder, check=True)
    downtime.main()


def against_pulumi_version(
    name: str, command: list[str], environment: dict[str, str], folder: Path, engine: str, goal: str
) -> None:
    """Time a command that only starts, in turn with the engine's shortest."""
    pairs = []
    for _ in range(PAIRS * 2):
        ours, _ = timed(command, environment, folder)
        theirs, _ = timed([engine, "version"], environment, folder)
        pairs.append((ours, theirs))
    report(f"{name} / pulumi version", pairs, goal)


def measure(environment: dict[str, str], folder: Path, engine: str) -> None:
    for typed in ("--version", "--help"):
        against_pulumi_version(f"geusemaker {typed}", [PROGRAM, typed], environment, folder, engine, "1.0")
    completes = {"_GEUSEMAKER_COMPLETE": "complete_bash", "COMP_WORDS": "geusemaker rollback ", "COMP_CWORD": "2"}
    timed([PROGRAM], environment | completes, folder)  # the first one works out what there is, and keeps it
    against_pulumi_version("completing a word", [PROGRAM], environment | completes, folder, engine, "0.35, and 0.1 s")

    for name in ("ours", "bare"):
        timed([PROGRAM, "deploy", name, "--service", "ollama", *NO_SETTLING, "--yes"], environment, folder)
    bare_environment = (
        environment
        | json.loads(
            subprocess.run(
                [PROGRAM, "env", "bare", "--output", "json"],
                env=environment,
                cwd=folder,
                capture_output=True,
                check=True,
            ).stdout
        )["environment"]
    )
    bare_environment["PATH"] = os.pathsep.join([str(Path(engine).parent), environment["PATH"]])
    bare = [sys.executable, "-m", "benchmarks.bare_script", "bare"]
    updates, rollbacks = [], []
    for number in range(PAIRS):
        image = f"ollama/ollama:0.33.{number}"
        ours, progress = timed([PROGRAM, "update", "ours", "--image", f"ollama={image}", "--yes"], environment, folder)
        theirs, _ = timed([*bare, image], bare_environment, folder)
        updates.append((ours - prefetch_seconds(progress), theirs))
        ours, progress = timed([PROGRAM, "rollback", "ours", "--yes"], environment, folder)
        theirs, _ = timed([*bare, "ollama/ollama:0.32.15"], bare_environment, folder)
        rollbacks.append((ours - prefetch_seconds(progress), theirs))
    print(
        f"The settle time, {SETTLE_SECONDS} s (local cloud: {LOCAL_SETTLE_SECONDS} s) a change, comes on top of both."
    )
    report("update / bare Automation script", updates, "at most 1.25")
    report("rollback / bare Automation script", rollbacks, "at most 1.10")

    measure_crash(environment, folder)

    status = json.loads(
        subprocess.run(
            [PROGRAM, "local", "status", "--output", "json"],
            env=environment,
            cwd=folder,
            capture_output=True,
            check=True,
        ).stdout
    )
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{status['pid']}/status").read_text())
    assert resident is not None
    print(f"local cloud daemon, two instances: {int(resident[1]) / 1024:.0f} MB resident (goal: under 250)")


def measure_agent(environment: dict[str, str], folder: Path) -> None:
    """What each verb of the agent costs before it does anything: one that ends at once, as nothing is mounted."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment = environment | {"GEUSEMAKER_INSTANCE_ROOT": str(folder / "instance"), "PATH": path}
    subprocess.run(
        ["sh", "-c", install_command("")],
        env=environment,
        input=packed_agent(),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    verb = ["sh", "-c", agent_command("", "lease", expect=agent_version())]
    timed(verb, environment, folder, code=1)  # Python keeps the compiled form
    pairs = []
    for _ in range(PAIRS * 2):
        ours, _ = timed(verb, environment, folder, code=1)
        theirs, _ = timed(["sh", "-c", "python3 -I -S -c pass"], environment, folder)
        pairs.append((ours, theirs))
    report("a verb of the agent / python3", pairs, "at most 5")


def measure_crash(environment: dict[str, str], folder: Path) -> None:
    """How soon a release that crashes is noticed, and its predecessor serves again; from the progress lines."""
    noticed, restored = [], []
    for number in range(PAIRS):
        image = f"ollama=ollama/ollama:0.34.{number}-crash"
        _, progress = timed([PROGRAM, "update", "ours", "--image", image, "--yes"], environment, folder, code=3)
        # The first `starting` is the release's that crashes; `healthy` is said of its predecessor only.
        started, failed, healthy = (
            float(re.findall(rf"\[\s*([\d.]+)s\] apply: {line}", progress)[0])
            for line in ("ollama starting", "failed", "ollama healthy")
        )
        noticed.append(failed - started)
        restored.append(healthy - failed)
    for name, seconds, goal in (
        ("a release that crashes: from its container's start to the failure", noticed, 5),
        ("a release that crashes: from the failure to its predecessor's health", restored, 20),
    ):
        print(f"{name}: median {statistics.median(seconds):.1f} s, max {max(seconds):.1f} (goal: {goal})", flush=True)


def measure_history(environment: dict[str, str], folder: Path) -> None:
    """What a rollback costs before it is confirmed, by how long the deployment's history is."""
    updates = {"short": 10, "long": 2000}
    for name, count in updates.items():
        timed([PROGRAM, "deploy", name, "--service", "qdrant", *NO_SETTLING, "--yes"], environment, folder)
        age(folder / "workspace", name, count - 1)
        # A real one on top: the engine's state and the tags are then of the newest entry, as they would be.
        timed([PROGRAM, "update", name, "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes"], environment, folder)
    pairs = []
    for _ in range(PAIRS):
        long, short = (
            timed([PROGRAM, "rollback", name, "--dry-run"], environment, folder)[0] for name in ("long", "short")
        )
        pairs.append((long, short))
    report("rollback --dry-run after 2,000 updates / after 10", pairs, "at most 1.2")


if __name__ == "__main__":
    main()
