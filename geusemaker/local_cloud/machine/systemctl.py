"""``systemctl`` of an instance: mount units, ``docker.service``, which runs the container engine, oneshot services, and
timers of them.

``default`` is what a booting machine does (start everything enabled), ``poweroff`` what one going down does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from geusemaker.local_cloud.machine.before import run_before
from geusemaker.local_cloud.machine.units import OF_THE_HOST, Unit, escape_path, full_name, seconds_of
from geusemaker.local_cloud.processes import is_same_process, start_time, wait_until_gone
from geusemaker.local_cloud.program import command

START_SECONDS = 60.0
# docker.service's TimeoutStopSec default is 90 s.
STOP_SECONDS = 90.0
WANTS = "multi-user.target.wants"


class Manager:
    """Starts and stops units; what it started is remembered in ``/run/systemd``, which a boot empties."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run/systemd"
        self.run.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One job at a time, as systemd runs them."""
        with (self.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def log(self, unit: str, text: str) -> None:
        with (self.root / "var/log/syslog").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} systemd: {unit}: {text.rstrip()}\n")

    # ---- state -----------------------------------------------------------------------------------------------

    def main_pid(self, name: str) -> int:
        try:
            record = json.loads((self.run / f"{name}.json").read_text())
        except FileNotFoundError:
            return 0
        return int(record["pid"]) if is_same_process(record["pid"], record["started"]) else 0

    def is_mounted(self, unit: Unit) -> bool:
        where = "/" + unit.get("Mount.Where").removeprefix(str(self.root)).strip("/")
        table = (self.root / "proc/self/mountinfo").read_text().splitlines()
        return any(line.split(" ")[4] == where for line in table if line)

    def state(self, unit: Unit) -> str:
        if unit.name in OF_THE_HOST:
            return "active"
        if unit.name.endswith(".mount"):
            active = unit.file is not None and self.is_mounted(unit)
        else:
            active = bool(self.main_pid(unit.name))
        if active:
            return "active"
        if unit.get("Service.Type") == "oneshot":
            return "inactive"
        # A service whose process went away without being stopped has failed.
        failed = (self.run / f"{unit.name}.failed").exists() or (self.run / f"{unit.name}.json").exists()
        return "failed" if failed else "inactive"

    # ---- jobs ------------------------------------------------------------------------------------------------

    def start(self, unit: Unit) -> int:
        if unit.file is None:
            return fail(f"Failed to start {unit.name}: Unit {unit.name} not found.", 5)
        if self.state(unit) == "active":
            return 0
        for mount in unit.required_mounts:
            if self.start(mount):
                self.log(unit.name, "Dependency failed.")
                return fail(f"A dependency job for {unit.name} failed. See 'journalctl -xe' for details.", 1)
        if unit.name.endswith(".mount"):
            problem = self._mount(unit)
        elif unit.name == "docker.service":
            problem = run_before(unit.settings.get("Service.ExecStartPre", ())) or self._start_docker(unit)
        elif unit.get("Service.Type") == "oneshot":
            problem = self._start_oneshot(unit)
        elif unit.name.endswith(".timer"):
            problem = self._start_timer(unit)
        elif unit.get("Service.Type") == "simple" and unit.get("Service.Restart") == "always":
            problem = self._start_simple(unit)
        else:
            problem = "an instance of the local cloud runs docker.service, oneshot services, timers, simple services"
        if problem:
            (self.run / f"{unit.name}.failed").touch()
            self.log(unit.name, f"Failed: {problem}")
            return fail(
                f"Job for {unit.name} failed.\n"
                f'See "systemctl status {unit.name}" and "journalctl -xeu {unit.name}" for details.',
                1,
            )
        (self.run / f"{unit.name}.failed").unlink(missing_ok=True)
        self.log(unit.name, "Started.")
        return 0

    def _mount(self, unit: Unit) -> str:
        where = unit.get("Mount.Where")
        expected = f"{escape_path(where.removeprefix(str(self.root)))}.mount"
        if expected != unit.name:
            return f"Where= setting doesn't match unit name. Refusing. ({expected})"
        (self.root / where.removeprefix(str(self.root)).strip("/")).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", unit.get("Mount.Type"), "-o", unit.get("Mount.Options"), unit.get("Mount.What"), where],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""

    def _start_docker(self, unit: Unit) -> str:
        daemon = self._spawn(unit, command("dockerd", "--root", str(self.root)), "docker.log")

        # Type=notify: started means that it answers. A path of its own would be too long for AF_UNIX.
        def answers() -> bool:
            try:
                os.chdir(self.root / "run")
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect("docker.sock")
            except OSError:
                return False
            return True

        wait_until(lambda: answers() or daemon.poll() is not None, START_SECONDS)
        if daemon.poll() is not None:
            (self.run / f"{unit.name}.json").unlink()
            return f"Main process exited, code=exited, status={daemon.returncode}"
        return "" if answers() else "start operation timed out"

    def _start_oneshot(self, unit: Unit) -> str:
        """Run it beside this job, because it may start units itself; again while it fails, if it is to be restarted."""
        again = unit.get("Service.RestartSec", "0.1") if unit.get("Service.Restart") == "on-failure" else ""
        return self._start_looped(unit, 'until "$@"; do [ "$pause" ] || exit 1; sleep "$pause"; done', again)

    def _start_simple(self, unit: Unit) -> str:
        """Run it, and start it again ``RestartSec`` after it has ended, however it did."""
        loop = 'while :; do "$@" </dev/null; sleep "$pause"; done'
        return self._start_looped(unit, loop, unit.get("Service.RestartSec", "0.1"))

    def _start_looped(self, unit: Unit, loop: str, pause: str) -> str:
        word, *arguments = shlex.split(unit.get("Service.ExecStart"))
        program = shutil.which(word)
        if program is None:
            return f"Unable to locate executable '{word}': No such file or directory"
        words = ["/bin/sh", "-c", f"pause=$1; shift; {loop}", unit.name, pause, program, *arguments]
        self._spawn(unit, words, "syslog")
        return ""

    def _start_timer(self, unit: Unit) -> str:
        """Start its service ``OnActiveSec`` after this, and then each ``OnUnitActiveSec`` (systemd.timer(5))."""
        times = [seconds_of(unit.get(f"Timer.{key}")) for key in ("OnActiveSec", "OnUnitActiveSec")]
        if None in times:
            return "an instance of the local cloud knows timers with OnActiveSec= and OnUnitActiveSec="
        service = unit.get("Timer.Unit", f"{unit.name.removesuffix('.timer')}.service")
        loop = 'sleep "$1"; while :; do systemctl start "$3"; sleep "$2"; done'
        self._spawn(unit, ["/bin/sh", "-c", loop, unit.name, *map(str, times), service], "syslog")
        return ""

    def _spawn(self, unit: Unit, words: list[str], log_name: str) -> subprocess.Popen[bytes]:
        """Start a service's main process, and remember it as that."""
        with (self.root / "var/log" / log_name).open("ab") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
                start_new_session=True,
            )
        record = {"pid": process.pid, "started": start_time(process.pid)}
        (self.run / f"{unit.name}.json").write_text(json.dumps(record))
        return process

    def stop(self, unit: Unit) -> int:
        if unit.file is None:
            return fail(f"Failed to stop {unit.name}: Unit {unit.name} not loaded.", 5)
        (self.run / f"{unit.name}.failed").unlink(missing_ok=True)
        if unit.name.endswith(".mount"):
            docker = Unit(self.root, "docker.service")
            if any(mount.name == unit.name for mount in docker.required_mounts) and self.stop(docker):
                return 1
            if self.state(unit) != "active":
                return 0
            done = subprocess.run(
                ["umount", unit.get("Mount.Where")], capture_output=True, text=True, timeout=STOP_SECONDS
            )
            self.log(unit.name, done.stderr or "Unmounted.")
            if done.returncode:
                return fail(f"Job for {unit.name} failed.\nSee 'journalctl -xe' for details.", 1)
            return 0
        pid = self.main_pid(unit.name)
        if pid:
            process = {pid: start_time(pid) or 0}
            # A shell that starts it again and again would leave behind what it waits for.
            looped = unit.name.endswith(".timer") or unit.get("Service.Restart") == "always"
            send(-pid if looped and unit.name != "docker.service" else pid, signal.SIGTERM)
            if wait_until_gone(process, STOP_SECONDS):
                self.log(unit.name, "State 'stop-sigterm' timed out. Killing.")
                send(pid, signal.SIGKILL)
                wait_until_gone(process, 10)
        (self.run / f"{unit.name}.json").unlink(missing_ok=True)
        self.log(unit.name, "Stopped.")
        return 0

    def enable(self, unit: Unit) -> int:
        if unit.file is None:
            return fail(f"Failed to enable unit: Unit {unit.name} does not exist", 1)
        if not (targets := unit.words("Install.WantedBy", "Install.RequiredBy")):
            sys.stderr.write("The unit files have no installation config and cannot be enabled.\n")
            return 0
        for target in targets:
            link = unit.folder / f"{target}.wants" / unit.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(unit.file)
                seen = "/" + str(link.relative_to(self.root))
                sys.stderr.write(f"Created symlink '{seen}' -> '/{unit.file.relative_to(self.root)}'.\n")
        return 0

    def disable(self, unit: Unit) -> int:
        if unit.file is None:
            return fail(f"Failed to disable unit: Unit {unit.name} does not exist", 1)
        for link in unit.folder.glob(f"*.wants/{unit.name}"):
            link.unlink()
            sys.stderr.write(f"Removed '/{link.relative_to(self.root)}'.\n")
        return 0

    def boot(self) -> int:
        """Start what is enabled. A unit that fails is logged and keeps no other one from starting."""
        folder = self.root / "etc/systemd/system"
        names = {link.name for link in folder.glob("*.wants/*")}
        for name in sorted(names, key=lambda name: (not name.endswith(".mount"), name)):
            self.start(Unit(self.root, name))
        return 0

    def power_off(self) -> int:
        code = self.stop(docker) if (docker := Unit(self.root, "docker.service")).file else 0
        for line in (self.root / "proc/self/mountinfo").read_text().splitlines():
            where = line.split(" ")[4]
            if where != "/":
                code |= subprocess.run(["umount", "-l", where], timeout=STOP_SECONDS).returncode
        return code

    def properties(self, unit: Unit) -> dict[str, str]:
        state = self.state(unit)
        mount = unit.name.endswith(".mount")
        active = "mounted" if mount else "waiting" if unit.name.endswith(".timer") else "running"
        sub = {"active": active, "inactive": "dead"}.get(state, "failed")
        values = {
            "Id": unit.name,
            "LoadState": "loaded" if unit.file else "not-found",
            "ActiveState": state,
            "SubState": sub,
            "UnitFileState": ("enabled" if unit.enabled else "disabled") if unit.file else "",
            "Result": "exit-code" if state == "failed" else "success",
        }
        if mount:
            values |= {"What": unit.get("Mount.What"), "Where": unit.get("Mount.Where")}
        else:
            values["MainPID"] = str(self.main_pid(unit.name))
        return values


def fail(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def main(arguments: list[str]) -> int:
    words: list[str] = []
    wanted: list[str] = []
    quiet = now = value_only = False
    rest = iter(arguments)
    for word in rest:
        if word in ("-q", "--quiet"):
            quiet = True
        elif word == "--now":
            now = True
        elif word == "--value":
            value_only = True
        elif word in ("-p", "--property"):
            wanted += next(rest, "").split(",")
        elif word.startswith(("--property=", "-p")):
            wanted += word.removeprefix("--property=").removeprefix("-p").split(",")
        elif not word.startswith("-"):
            words.append(word)
    if not words:
        return fail("systemctl: give a verb", 1)
    verb = words[0]
    manager = Manager(Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"]))
    units = [Unit(manager.root, full_name(name)) for name in words[1:]]

    if verb == "daemon-reload":
        return 0
    if verb in ("default", "poweroff"):
        with manager.locked():
            return manager.boot() if verb == "default" else manager.power_off()
    if verb not in _VERBS:
        return fail(f"Unknown command verb '{verb}'.", 1)
    if not units:
        return fail("Too few arguments.", 1)
    if verb in ("is-active", "is-enabled"):
        return _tell(manager, verb, units, quiet)
    if verb in ("show", "status"):
        for unit in units:
            values = manager.properties(unit)
            for key in wanted or values:
                print(values.get(key, "") if value_only else f"{key}={values.get(key, '')}")
            if verb == "status":
                log = (manager.root / "var/log/syslog").read_text().splitlines()
                print("\n".join([line for line in log if f"systemd: {unit.name}: " in line][-5:]))
        return 0
    code = 0
    with manager.locked():
        for unit in units:
            if unit.name in OF_THE_HOST:
                continue
            if verb in ("restart", "try-restart"):
                if verb == "restart" or manager.state(unit) == "active":
                    code = code or manager.stop(unit) or manager.start(unit)
                continue
            if verb == "reset-failed":
                (manager.run / f"{unit.name}.failed").unlink(missing_ok=True)
                continue
            act = {"start": manager.start, "stop": manager.stop, "enable": manager.enable, "disable": manager.disable}
            code = code or act[verb](unit)
            if now and not code and verb in ("enable", "disable"):
                code = manager.start(unit) if verb == "enable" else manager.stop(unit)
    return code


_VERBS = frozenset(
    {"disable", "enable", "is-active", "is-enabled", "reset-failed", "restart", "show", "start", "status", "stop"}
    | {"try-restart"}
)


def _tell(manager: Manager, verb: str, units: list[Unit], quiet: bool) -> int:
    good = False
    for unit in units:
        if verb == "is-enabled":
            if unit.file is None:
                if not quiet:
                    print("not-found")
                continue
            answer = "enabled" if unit.enabled else "disabled"
            good |= unit.enabled
        else:
            answer = manager.state(unit)
            good |= answer == "active"
        if not quiet:
            print(answer)
    if good:
        return 0
    # systemctl(1): 3 is "not active", 4 "no such unit", 1 "not enabled".
    if verb == "is-active":
        return 4 if all(unit.file is None for unit in units) else 3
    return 4 if verb == "is-enabled" and all(unit.file is None for unit in units) else 1
