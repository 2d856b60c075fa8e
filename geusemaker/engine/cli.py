"""The Pulumi CLI in a workspace: one command and what it printed, and its failures in an operator's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from pulumi.automation import LocalWorkspace
from pulumi.automation.errors import CommandError

from geusemaker.engine import locks
from geusemaker.engine.backend_files import deployments
from geusemaker.engine.command import EngineCommand
from geusemaker.engine.processes import runs_program
from geusemaker.engine.project import PROJECT
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import BackendDamagedError, DeploymentBusyError, EngineError, WorkspaceError

_BAD_PASSPHRASE = re.compile(
    r"incorrect passphrase|message authentication failed|passphrase must be set", re.IGNORECASE
)

_DAMAGED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"reading history file (?P<file>\S+): (?P<reason>.+)",
        r"(?P<reason>corrupt store: .*)",
        r"failed to load checkpoint: (?P<reason>.*(?:JSON|invalid character|EOF|unmarshal|unsupported).*)",
        r"(?P<reason>place \d+: .*(?:JSON|invalid character|EOF).*)",
        r"(?P<reason>snapshot integrity failure.*)",
        r"(?P<reason>failed to unmarshal stack tags.*)",
        # Of a lock, and of whatever else the backend keeps as JSON.
        r"error: (?:could not create stack: )?(?P<reason>(?:unexpected end of JSON input|invalid character .*))$",
    )
)
"""How the engine says that a file of the backend is there and cannot be read."""

_KILLED = re.compile(r"^\s*code: -(?P<signal>\d+)$", re.MULTILINE)
"""In the Automation API's text of a command that failed: a signal ended the engine."""


def workspace(
    settings: WorkspaceSettings, command: EngineCommand, program: Callable[[], None] | None = None
) -> LocalWorkspace:
    """The Automation API's workspace on ours."""
    return LocalWorkspace(
        work_dir=str(settings.home), program=program, env_vars=settings.environment(), pulumi_command=command
    )


def run_cli(settings: WorkspaceSettings, command: EngineCommand, *args: str) -> str:
    """Run one CLI command in the workspace and return what it printed.

    Raises:
        EngineError: it failed.
    """
    deployment = args[args.index("--stack") + 1] if "--stack" in args else ""
    try:
        return command.run(list(args), str(settings.home), settings.environment()).stdout
    except CommandError as error:
        raise translate(error, f"`pulumi {' '.join(args[:2])}` failed.", deployment, ()) from error


def list_stacks(settings: WorkspaceSettings, command: EngineCommand) -> dict[str, dict[str, Any]]:
    """The workspace's stacks: name → what Pulumi says of it (lastUpdate, resourceCount)."""
    stacks = json.loads(run_cli(settings, command, "stack", "ls", "--json", "--project", PROJECT))
    return {stack["name"].rsplit("/", 1)[-1]: stack for stack in stacks}


def stack_times(settings: WorkspaceSettings, command: EngineCommand) -> dict[str, str | None]:
    """The workspace's stacks: name → when it was updated last, as Pulumi says it.

    The engine reads every state for its list: where one cannot be read, a folder backend still tells the names.

    Raises:
        EngineError, WorkspaceError: the backend cannot be read.
    """
    folder = settings.backend_folder
    known: dict[str, str | None] = dict.fromkeys(deployments(folder)) if folder is not None else {}
    try:
        listed = list_stacks(settings, command)
    except BackendDamagedError:
        if folder is None:
            raise
        return known
    return known | {name: stack.get("lastUpdate") for name, stack in listed.items()}


def translate(
    error: CommandError, what: str, deployment: str, diagnostics: tuple[str, ...]
) -> EngineError | DeploymentBusyError | WorkspaceError:
    """The engine's failure in an operator's words."""
    text = str(error)
    if held := locks.read_refusal(text, lambda pid: runs_program(pid, "pulumi")):
        whose = (
            f"Another run of the engine holds {deployment}: {held.user} on {held.host} (process {held.pid}) since "
            f"{held.since}."
            if held.host
            else f"Another run of the engine holds {deployment}: the backend says that an update is in progress."
        )
        return DeploymentBusyError(
            whose,
            state="Nothing was changed by this one.",
            next_step=f"Wait for it; if that process is dead, run `geusemaker recover {deployment}`.",
            lock=held,
        )
    if _BAD_PASSPHRASE.search(text):
        return WorkspaceError(
            "The passphrase does not open the secrets of this backend.",
            state="Nothing was changed.",
            next_step="Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the one it was made with.",
        )
    if not diagnostics and (damaged := _damage(text, deployment)):
        return damaged
    if (killed := _KILLED.search(text)) and not diagnostics:
        return EngineError(f"{what} The engine was killed (signal {killed['signal']}).")
    lines = diagnostics or tuple(
        line.strip().removeprefix("error: ")
        for line in text.splitlines()
        if line.strip().startswith(("error:", "* ", "stderr: error:"))
    )
    # An SDK that the engine uses may have warned before; without any error, what was said is all there is.
    lines = lines or tuple(line.strip() for line in text.splitlines() if "stderr:" in line)
    detail = lines[0].splitlines()[0].removeprefix("stderr: ").removeprefix("error: ") if lines else ""
    if detail.endswith("errors occurred:"):  # and each on a line of its own
        detail = " ".join([detail, "; ".join(line.removeprefix("* ") for line in lines if line.startswith("* "))])
    return EngineError(f"{what} {detail}".strip(), diagnostics=lines)


def _damage(text: str, deployment: str) -> BackendDamagedError | None:
    """What the engine said of a file of the backend that it cannot read; None where it said nothing of the kind."""
    lines = [line.strip() for line in text.splitlines()]
    found = next((match for pattern in _DAMAGED for line in lines if (match := pattern.search(line))), None)
    if found is None:
        return None
    parts = found.groupdict()
    file, reason = parts.get("file") or "", str(parts["reason"]).strip()
    return BackendDamagedError(
        f"{f'{file} in' if file else 'A file of'} the Pulumi backend cannot be read ({reason}).",
        file=file,
        reason=reason,
        state="Nothing was changed.",
        next_step=f"`{' '.join(['geusemaker doctor', deployment]).strip()}` tells which file it is, and the command "
        "that brings the newest good copy back.",
    )
