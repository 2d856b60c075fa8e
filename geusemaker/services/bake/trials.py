"""The operator's own tests of a version: a command of this machine, an address, a function. One after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from geusemaker.catalog import SERVICE_ALIASES
from geusemaker.errors import InvalidInputError
from geusemaker.models.bake import FailedTest
from geusemaker.models.stack import StackConfig
from geusemaker.services.reach.ports import ports_of

TRIAL_SECONDS: Final = 60.0
"""A test that takes longer has failed: whoever looks on is to say something soon."""
_ANSWER_SECONDS: Final = 10.0
_LINES: Final = 10
_WIDTH: Final = 400
_OUTPUT: Final = 64 * 1024
"""Bytes at the end of a command's output that are looked at."""
_GRACE_SECONDS: Final = 2.0

Verify = Callable[[Mapping[str, str]], object]
"""A test in Python: it gets service → its address here, and has failed when it raises, or returns False."""


class Place(NamedTuple):
    """Where the version that is tested is reached from here."""

    deployment: str
    version: int
    addresses: Mapping[str, str]
    """Service → its local address, as a tunnel has it."""

    @property
    def environment(self) -> dict[str, str]:
        """What a command learns of it."""
        told = {f"GEUSEMAKER_ADDRESS_{_upper(name)}": address for name, address in self.addresses.items()}
        return {"GEUSEMAKER_DEPLOYMENT": self.deployment, "GEUSEMAKER_VERSION": str(self.version), **told}


class Trial(Protocol):
    """One test."""

    @property
    def name(self) -> str: ...
    def run(self, place: Place) -> FailedTest | None: ...
    def stop(self) -> None: ...


class Command:
    """A line for the shell of this machine."""

    def __init__(self, line: str) -> None:
        self.name = line
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self, place: Place) -> FailedTest | None:
        """Run it; it has failed with any exit code but 0."""
        with tempfile.TemporaryFile() as output:
            try:
                self._process = process = subprocess.Popen(
                    self.name,
                    shell=True,
                    env={**os.environ, **place.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                return FailedTest(test=self.name, message=f"the shell cannot run it: {error}")
            if self._stopped:
                self.stop()
            try:
                code = process.wait(TRIAL_SECONDS)
            except subprocess.TimeoutExpired:
                self.stop()
                message = f"it did not end within {TRIAL_SECONDS:g} s"
                return FailedTest(test=self.name, message=message, lines=_last_lines(output))
            if code == 0:
                return None
            how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
            return FailedTest(test=self.name, exit_code=code, message=how, lines=_last_lines(output))

    def stop(self) -> None:
        """End it, and what it started."""
        self._stopped = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
                return


class Address:
    """An address that has to answer below 400: a whole one, or a service's path through the tunnel."""

    def __init__(self, text: str, config: StackConfig) -> None:
        """Take it.

        Raises:
            InvalidInputError: it is neither.
        """
        self.name = text
        self._service, self._path = "", ""
        if urlsplit(text).scheme in ("http", "https") and urlsplit(text).hostname:
            return
        name, _, path = text.partition("/")
        service, ports = SERVICE_ALIASES.get(name, name), ports_of(config)
        if "://" in text or service not in ports or not ports[service].http:
            known = ", ".join(name for name, port in ports.items() if port.http) or "none"
            raise InvalidInputError(
                f"{text} is no address that can be asked: neither http://… or https://… nor SERVICE/PATH of a service "
                f"that speaks HTTP ({known}).",
                next_step="Write it as --test-url n8n/healthz, or --test-url https://n8n.example.com/healthz.",
            )
        self._service, self._path = service, path

    def run(self, place: Place) -> FailedTest | None:
        """Ask it."""
        url = f"{place.addresses[self._service]}/{self._path}" if self._service else self.name
        # What goes through the tunnel is on this machine, and through no proxy.
        proxies = [urllib.request.ProxyHandler({})] if self._service else []
        try:
            asked = urllib.request.Request(url, headers={"User-Agent": "geusemaker"})
            with urllib.request.build_opener(*proxies).open(asked, timeout=_ANSWER_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return FailedTest(test=self.name, message=f"HTTP {error.code}")
        except (OSError, ValueError) as error:  # URLError is an OSError, an HTTPException a line that is none
            reason = getattr(error, "reason", None) or error
            return FailedTest(test=self.name, message=f"no answer: {reason}")
        except Exception as error:
            return FailedTest(test=self.name, message=f"no answer that is HTTP: {type(error).__name__}")

    def stop(self) -> None:
        """Nothing: it ends by itself, within seconds."""


class Call:
    """A function of the caller's."""

    def __init__(self, verify: Verify) -> None:
        self.name = getattr(verify, "__name__", type(verify).__name__)
        self._verify = verify

    def run(self, place: Place) -> FailedTest | None:
        """Call it."""
        try:
            said = self._verify(place.addresses)
        except Exception as error:  # whatever it raises is its way of saying no
            text = f"{type(error).__name__}: {error}".rstrip(": ")
            return FailedTest(test=self.name, message="it raised", lines=text.splitlines()[-_LINES:])
        return FailedTest(test=self.name, message="it returned False") if said is False else None

    def stop(self) -> None:
        """Nothing: no function can be ended from outside."""


class Rounds:
    """All tests, round after round in a thread of their own: whoever looks on goes on looking meanwhile.

    Args:
        trials: the tests.
        place: where they find the version.
        redact: takes secrets out.
    """

    def __init__(self, trials: Sequence[Trial], place: Place, redact: Callable[[Any], Any]) -> None:
        self._trials = trials
        self._place = place
        self._redact = redact
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.passed = 0
        """So many rounds passed."""
        self.failed: FailedTest | None = None
        """The test that failed; there is no round after it."""

    @property
    def are_needed(self) -> bool:
        """Whether there are tests of which not all have passed once, and none has failed."""
        return bool(self._trials) and not self.passed and self.failed is None

    def begin(self, pause: float) -> None:
        """Begin with the first round; after each there is a pause of so many seconds."""
        if self._trials:
            self._thread = threading.Thread(target=self._go_on, args=(pause,), name="geusemaker-tests", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for so long at most, and no longer than until there is something to tell."""
        if self._thread is not None and self.are_needed:
            self._thread.join(seconds)

    def end(self) -> None:
        """End what is under way."""
        self._over.set()
        for trial in self._trials:
            trial.stop()
        if self._thread is not None:
            self._thread.join(2 * _GRACE_SECONDS)

    def _go_on(self, pause: float) -> None:
        while not self._over.is_set():
            for trial in self._trials:
                failed = trial.run(self._place)
                if self._over.is_set():
                    return  # it was ended from here, which is no failure
                if failed is not None:
                    self.failed = FailedTest.model_validate(self._redact(failed.model_dump()))
                    return
            self.passed += 1
            self._over.wait(pause)


def trials_of(
    commands: Sequence[str], addresses: Sequence[str], verify: Verify | None, config: StackConfig
) -> tuple[Trial, ...]:
    """The tests of what was asked for.

    Raises:
        InvalidInputError: one of them cannot be one.
    """
    if any(not line.strip() for line in commands):
        raise InvalidInputError("A --test without a command tests nothing.", next_step="Give it a line for the shell.")
    told = [Call(verify)] if verify is not None else []
    return (*(Command(line) for line in commands), *(Address(text, config) for text in addresses), *told)


def _last_lines(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _OUTPUT))
    lines = [line.rstrip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    return [line[:_WIDTH] for line in lines[-_LINES:]]


def _upper(service: str) -> str:
    return service.upper().replace("-", "_")
