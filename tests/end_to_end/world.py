"""A machine as an operator has it: the command line, a workspace and a local cloud of its own. Nothing is mocked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

PROGRAM = Path(sys.executable).parent / "geusemaker"


@dataclass(frozen=True)
class Answer:
    """What one command came to."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass
class World:
    """One machine. ``outputs`` keeps everything that was printed, for those who search it."""

    folder: Path
    home: Path
    cloud: Path
    extra: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """What each command is started through."""
    program: Path = PROGRAM
    """The geusemaker that is typed."""
    outputs: list[str] = field(default_factory=list)
    _environments: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path) -> World:
        """A machine with nothing on it."""
        return cls(folder=folder, home=folder / "workspace", cloud=folder / "cloud")

    def environment(self) -> dict[str, str]:
        """What its shell has in its environment."""
        unwanted = ("AWS_", "PULUMI_", "GEUSEMAKER_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        engine = {"GEUSEMAKER_PULUMI": os.environ["GEUSEMAKER_PULUMI"]} if "GEUSEMAKER_PULUMI" in os.environ else {}
        return {
            **inherited,
            **engine,
            "GEUSEMAKER_HOME": str(self.home),
            "GEUSEMAKER_LOCAL_DIR": str(self.cloud),
            **self.extra,
        }

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 300) -> Answer:
        """Type a command; its exit code must be ``code`` (None: any)."""
        done = subprocess.run(
            [*self.prefix, self.program, *settled_soon(arguments)],
            env=self.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        self.outputs += [done.stdout, done.stderr]
        assert code is None or done.returncode == code, (
            f"{arguments} ended {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        """Type a command with ``--output json`` and read its document."""
        return self.run(*arguments, "--output", "json", code=code).document

    def start(self, *arguments: str, log: str = "running.log") -> subprocess.Popen[str]:
        """Type a command and go on while it runs; its output goes to a file in ``folder``."""
        return self.spawn(*self.prefix, str(self.program), *settled_soon(arguments), log=log)

    def spawn(self, *command: str, log: str) -> subprocess.Popen[str]:
        """Run any program as its shell would and go on; its output goes to a file in ``folder``."""
        with (self.folder / log).open("w") as file:
            return subprocess.Popen(
                command,
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                text=True,
                # A test runner in the background may have Ctrl-C ignored, which a child would inherit.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def wait_for_line(self, text: str, timeout: float = 120.0) -> None:
        """Wait until the command that was started has printed ``text``."""
        log = self.folder / "running.log"
        wait_until(lambda: text in log.read_text(), timeout, lambda: f"no {text!r} in:\n{log.read_text()}")

    def inspect(self, name: str) -> dict[str, Any]:
        """The document of ``inspect``, but for the containers' ages, which are others at each look."""
        document = self.json("inspect", name, "--show-history")
        for service in document["services"].values():
            service.pop("age_seconds", None)
        return document

    def limit(self) -> None:
        """From now on nobody may do more in this machine's AWS than the policy allows that geusemaker prints."""
        self.cloud.mkdir(mode=0o700, exist_ok=True)
        (self.cloud / "policy.json").write_text(self.run("doctor", "--aws-policy").stdout)

    def aws(self, service: str) -> Any:
        """A boto3 client on this machine's local cloud, as a script of its owner's has it."""
        environment = self.json("local", "env")["environment"]
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    @contextlib.contextmanager
    def aws_refusing(self, action: str, **fault: Any) -> Iterator[None]:
        """While this lasts, the local cloud's AWS fails a call as ``fault`` says (docs/local-cloud.md)."""
        faults = self.cloud / "faults.json"
        faults.write_text(json.dumps({action: fault}))
        try:
            yield
        finally:
            faults.unlink()

    def http(self, name: str, service: str, path: str, document: Any = None, method: str = "") -> Any:
        """Talk to a running service over HTTP, with Qdrant's key where it has one."""
        address = self.inspect(name)["services"][service]["address"]
        request = urllib.request.Request(
            f"http://{address}{path}",
            data=json.dumps(document).encode() if document is not None else None,
            headers={"Content-Type": "application/json"},
            method=method or ("POST" if document is not None else "GET"),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            if (service, refused.code) != ("qdrant", 401):
                raise
        request.add_header("api-key", self.run("secrets", "show", name, "qdrant_key", "--reveal").stdout.strip())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def pulumi(self, name: str, *arguments: str, stdin: str | None = None) -> str:
        """Type a command of the Pulumi engine itself, as `geusemaker env` lets everybody; what it printed."""
        if name not in self._environments:
            self._environments[name] = self.json("env", name)["environment"]
        done = subprocess.run(
            [_engine(), *arguments, "--stack", name],
            cwd=self.home,
            env={**self.environment(), **self._environments[name]},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def instance_disk(self) -> Path:
        """The root folder of the one instance there is."""
        [root] = self.cloud.glob("instances/*/disk")
        return root

    def docker(self, *arguments: str) -> str:
        """Type a docker command on the one instance there is; what it printed."""
        root = self.instance_disk()
        loopback = json.loads((root / "etc/geusemaker-local.json").read_text())["loopback"]
        environment = {**os.environ, "GEUSEMAKER_INSTANCE_ROOT": str(root), "GEUSEMAKER_LOOPBACK": loopback}
        done = subprocess.run([root / "usr/bin/docker", *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def processes(self) -> set[int]:
        """What runs for this machine: its folder is in the command line or in the environment."""
        wanted = os.fsencode(self.folder) + b"/"
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended, or is somebody else's
                if wanted in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                    found.add(int(process.name))
        return found

    def second_machine(self) -> World:
        """Another machine, with an empty home: it has the backend's URL and the passphrase, and nothing else."""
        other = self.folder / "elsewhere"
        other.mkdir()
        return World(
            folder=other,
            home=other / "workspace",
            cloud=self.cloud,
            extra={
                "HOME": str(other),
                "GEUSEMAKER_PULUMI": _engine(),
                "PULUMI_BACKEND_URL": (self.home / ".state" / "backend").as_uri(),
                "PULUMI_CONFIG_PASSPHRASE": (self.home / ".state" / "passphrase").read_text(),
            },
        )


def _engine() -> str:
    from geusemaker.engine.binary import find_engine

    found = find_engine()
    assert found is not None, "no Pulumi engine: run `make setup`"
    return found.path


def settled_soon(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A deploy whose services need not stay healthy for long: the stories about that say how long themselves."""
    if arguments[:1] != ("deploy",) or "--settle-seconds" in arguments:
        return arguments
    return (*arguments, "--settle-seconds", "1")


def find_engine(pid: int, verb: str) -> int | None:
    """The Pulumi CLI that a process of ours runs, if it is at that verb."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid and verb.encode() in (status.parent / "cmdline").read_bytes().split(b"\0"):
                return int(status.parent.name)
    return None


def wait_until(condition: Callable[[], bool], timeout: float, problem: Callable[[], str]) -> None:
    """Wait for a condition, looking often."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, problem()
        time.sleep(0.05)
