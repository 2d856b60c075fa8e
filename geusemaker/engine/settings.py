"""Where a workspace keeps things, and the environment every run of the engine gets.

Nothing here imports Pulumi: it is read before any command, ``--help`` of a verb included.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from geusemaker.engine.files import make_whole
from geusemaker.engine.project import PROJECT, make_project, project_name
from geusemaker.errors import WorkspaceError


@dataclass(frozen=True)
class WorkspaceSettings:
    """One workspace: its folder, and the state it keeps there.

    ``target_environment`` is what a target adds for the engine and for AWS clients (the local cloud's addresses).
    """

    home: Path
    target_environment: dict[str, str] = field(default_factory=dict)

    @property
    def stacks(self) -> Path:
        """The folder of the stacks' config files."""
        return self.home / "stacks"

    @property
    def state(self) -> Path:
        """The folder of everything that is not to be committed: backend, passphrase, journal, evidence."""
        return self.home / ".state"

    @property
    def passphrase_file(self) -> Path:
        """The generated passphrase, used where Pulumi's own variables are not set."""
        return self.state / "passphrase"

    @property
    def pending_passphrase(self) -> Path:
        """The one that a change of the passphrase is about to put in place of ``passphrase_file``."""
        return self.passphrase_file.with_name("passphrase.new")

    @property
    def backend_url(self) -> str:
        """Where Pulumi keeps stacks: ``PULUMI_BACKEND_URL``, else a folder in the workspace."""
        return os.environ.get("PULUMI_BACKEND_URL") or (self.state / "backend").as_uri()

    @property
    def backend_folder(self) -> Path | None:
        """The folder of a ``file://`` backend; None where the backend is something else."""
        if not self.backend_url.startswith("file://"):
            return None
        return Path(unquote(self.backend_url.removeprefix("file://").partition("?")[0])).expanduser()

    @property
    def engine_backend_url(self) -> str:
        """``backend_url`` as the engine is to have it.

        In a folder the engine writes a ``.attrs`` file beside each file, and that, unlike all else, not in one step: an
        engine killed right then leaves an empty one, and ``failed to load checkpoint: EOF`` for ever after. Nothing
        needs those files, and ``metadata=skip`` leaves them out (gocloud.dev/blob/fileblob).
        """
        url = self.backend_url
        if not url.startswith("file://") or "metadata=" in url:
            return url
        return f"{url}{'&' if '?' in url else '?'}metadata=skip"

    def stack_file(self, deployment: str) -> Path:
        """The config file of a deployment's stack."""
        return self.stacks / f"Pulumi.{deployment}.yaml"

    @property
    def may_have_deployments(self) -> bool:
        """Whether there is a workspace here, or a backend that others work with."""
        return (self.home / "Pulumi.yaml").exists() or bool(os.environ.get("PULUMI_BACKEND_URL"))

    def prepare(self) -> None:
        """Make the workspace's folders and its Pulumi.yaml where they are missing.

        Raises:
            WorkspaceError: its Pulumi.yaml is unusable, or the folder cannot be written.
        """
        self.check_project()
        file = self.home / "Pulumi.yaml"
        try:
            self.stacks.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(mode=0o700, exist_ok=True)
            if not os.environ.get("PULUMI_BACKEND_URL"):
                (self.state / "backend").mkdir(mode=0o700, exist_ok=True)
            make_project(file)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.home} cannot be written: {error.strerror}.",
                next_step="Point GEUSEMAKER_HOME at a folder you can write.",
            ) from error

    def check(self) -> bool:
        """Look at the workspace: is its project ours, does its program exist, can its folders be written.

        Raises:
            WorkspaceError: one of that is not so; where nothing was deployed yet there is nothing to look at.
        """
        self.check_project()
        for folder in (self.home, self.stacks, self.state):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise WorkspaceError(
                    f"{folder} cannot be written by this user.",
                    next_step="Give it back to its owner, or point GEUSEMAKER_HOME at a folder you can write.",
                )
        if (self.home / "Pulumi.yaml").exists():
            self.prepare()
        return True

    def check_project(self) -> None:
        """Raise WorkspaceError where there is a Pulumi.yaml that is not usable for us."""
        file = self.home / "Pulumi.yaml"
        if file.exists() and project_name(file) != PROJECT:
            raise WorkspaceError(
                f"{file} belongs to another Pulumi project.",
                state="Nothing was changed.",
                next_step="Point GEUSEMAKER_HOME at a folder of its own.",
            )

    @property
    def has_passphrase(self) -> bool:
        """Whether secrets can be read: by Pulumi's variables or by the generated file."""
        return self.is_given_passphrase or self.passphrase_file.exists()

    @property
    def is_given_passphrase(self) -> bool:
        """Whether the passphrase comes from Pulumi's variables, and not from the workspace's own file."""
        return any(name in os.environ for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"))

    @property
    def uses_passphrase(self) -> bool:
        """Whether secrets are encrypted with a passphrase; Pulumi Cloud has keys of its own."""
        return not self.backend_url.startswith(("https://", "http://"))

    def create_passphrase(self) -> None:
        """Generate the passphrase file (0600). Only for a backend without any deployment.

        Of two first deploys at once the first one's holds for both.
        """
        make_whole(self.passphrase_file, secrets.token_urlsafe(32), 0o600)

    def check_passphrase(self) -> bool:
        """Raise WorkspaceError when there is nothing to read secrets of existing deployments with."""
        if not self.uses_passphrase or self.has_passphrase:
            return True
        raise WorkspaceError(
            f"The passphrase of the backend {self.backend_url} is missing: {self.passphrase_file} does not exist.",
            state="Nothing was changed.",
            next_step="Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE, or put the file back.",
        )

    def environment(self) -> dict[str, str]:
        """The variables with which ``pulumi`` works on this workspace, no secret among them."""
        variables = {
            "PULUMI_BACKEND_URL": self.engine_backend_url,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            **self.target_environment,
        }
        if self.uses_passphrase and not self.is_given_passphrase:
            variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self.passphrase_file)
        return variables


@dataclass(frozen=True)
class RehearsalSettings(WorkspaceSettings):
    """A workspace and a backend for a while, in which another one's stack is tried, under the same passphrase."""

    of: WorkspaceSettings | None = None

    @property
    def backend_url(self) -> str:
        """A folder beside the copied project, whatever the other one's backend is."""
        return (self.home / "backend").as_uri()

    @property
    def passphrase_file(self) -> Path:
        """The other one's."""
        assert self.of is not None
        return self.of.passphrase_file

    def make(self) -> None:
        """Make the folders, and the project as the other one has it."""
        assert self.of is not None
        for folder in (self.stacks, self.state, self.home / "backend"):
            folder.mkdir(mode=0o700)
        shutil.copyfile(self.of.home / "Pulumi.yaml", self.home / "Pulumi.yaml")
