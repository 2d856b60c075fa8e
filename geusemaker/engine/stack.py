"""One deployment's Pulumi stack, driven through the Automation API, and how it is put right after a kill.

Its other rooms: ``ledger`` (history and tags), ``config`` (the config file), ``run`` (runs of the program),
``stored_secrets`` (other secrets, another key). Each builds on the one before; this is what the others work with.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pulumi.automation.errors import CommandError

from geusemaker.engine import adoption, cli, locks, provider_settings
from geusemaker.engine.events import ApplyWatcher
from geusemaker.engine.keys import write_private
from geusemaker.engine.processes import end_plugins, engines_of, runs_program
from geusemaker.engine.project import PROJECT
from geusemaker.engine.settings import RehearsalSettings
from geusemaker.engine.stored_secrets import StoredSecrets
from geusemaker.errors import DeploymentBusyError, EngineError
from geusemaker.models import resource_types
from geusemaker.models.history import LockOwner
from geusemaker.models.ownership import STACK_TAG, Sought


class StackEngine(StoredSecrets):
    """The Pulumi stack of one deployment: its history, tags, config file, previews and updates, and its repair."""

    def lock_owner(self) -> LockOwner | None:
        """Who holds Pulumi's lock on the stack; None when nobody does. Of several, the one that may not be removed.

        A folder is looked at. Of other stores the engine is asked, by an attempt to make the stack once more: it takes
        the lock first, and refuses then, because the stack is there. Pulumi Cloud tells that an update runs, not whose.

        Raises:
            BackendDamagedError: a lock cannot be read.
            EngineError: the backend cannot be asked.
        """
        backend = self._settings.backend_folder
        if backend is not None:
            return locks.foremost(locks.read_folder(backend, self.deployment, self._runs_engine))
        if not self._settings.uses_passphrase:
            stack = cli.list_stacks(self._settings, self._command).get(self.deployment, {})
            return locks.unnamed(self._lives_here()) if stack.get("updateInProgress") else None
        try:
            self._run("stack", "init", "--no-select", "--stack", self.deployment)
        except DeploymentBusyError as error:
            owner: LockOwner | None = error.lock
            return owner
        except EngineError as error:
            if "already exists" in str(error):
                return None
            raise
        self._run("stack", "rm", "--yes", "--stack", self.deployment)  # it was not there, and is not now
        return None

    def _runs_engine(self, pid: int) -> bool:
        return runs_program(pid, "pulumi", Path(self._command.command).name)

    def _lives_here(self) -> bool:
        return bool(engines_of(self.deployment, "pulumi", Path(self._command.command).name))

    def remove_lock(self, owner: LockOwner) -> None:
        """Delete Pulumi's locks. Only for owners that are proven dead: the engine does not look."""
        if owner.host == this_host() and owner.pid:
            end_plugins(owner.pid)
        self._run("cancel", "--yes", "--stack", self.deployment)

    def stack_id(self) -> str:
        """The id that what is in the state, or was about to be made, carries; empty where there is none."""
        deployment = self._export().get("deployment") or {}
        pending = [operation["resource"] for operation in deployment.get("pending_operations") or []]
        for resource in [*(deployment.get("resources") or []), *pending]:
            tags = (resource.get("inputs") or {}).get("tags")
            if isinstance(tags, dict) and tags.get(STACK_TAG):
                return str(tags[STACK_TAG])
        return ""

    def pending_creates(self) -> dict[str, Sought]:
        """What a killed engine was about to create, by URN."""
        operations = (self._export().get("deployment") or {}).get("pending_operations") or []
        return {
            operation["resource"]["urn"]: Sought.of_pending(operation["resource"], self.deployment)
            for operation in operations
            if operation["type"] == "creating"
        }

    def missing_data(self, *, has_volume: bool) -> dict[str, str]:
        """What holds the data and is not in the state, for example after a `pulumi state delete`: URN → type.

        ``has_volume``: whether the deployment has a data volume beside its file system.
        """
        known = {resource["type"] for resource in self.resources().values()}
        prefix = f"urn:pulumi:{self.deployment}::{PROJECT}"
        wanted = [*adoption.DATA_TYPES, *([resource_types.DATA_VOLUME] if has_volume else [])]
        return {f"{prefix}::{type}::data": type for type in wanted if type not in known}

    def clear_pending(self, adopt: dict[str, str], candidate: Path | None = None) -> None:
        """Settle what a killed engine left half-done: read every resource again.

        Args:
            adopt: URN → id of resources that turned out to exist, pending creations or missing from the state; other
                pending creations are dropped.
            candidate: the config file of a first deploy, which becomes the stack's own where that has no secrets yet.

        Raises:
            DeploymentBusyError: another run of the engine holds the stack; ``lock`` says whose.
            EngineError: the refresh failed.
        """
        if candidate is not None and not self.has_secrets():
            write_private(self._settings.stack_file(self.deployment), candidate.read_text(encoding="utf-8"))
        self.require_current()
        self.load_secrets()  # a run that cannot decrypt them fails, and stands in the history that all restore from
        if adopt:
            # `refresh --import-pending-creates` would be the engine's own way: it was seen to drop them (3.259).
            state = self._export()
            adoption.adopt(state["deployment"], adopt, self._aws_provider() if candidate is not None else None)
            self._import(state)
        watcher = ApplyWatcher(lambda event: None)
        try:
            self._stack().refresh(on_event=watcher.watch, color="never", clear_pending_creates=True, show_secrets=False)
        except CommandError as error:
            raise self._translate(error, "Reading the resources again failed.", watcher.diagnostics) from error
        if adopt:
            state = self._export()
            if adoption.keep_generated(state["deployment"], adopt):
                self._import(state)

    def _aws_provider(self) -> dict[str, str]:
        """What the engine's own AWS provider is made of, as the config file and the SDK tell it."""
        config = self._plain(provider_settings.kept(self._stack_document()["config"]))
        settings = {key.partition(":")[2]: value for key, value in config.items() if key.startswith("aws:")}
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
        return {"region": "", **texts, "version": metadata.version("pulumi_aws")}

    def identity_settings(self) -> dict[str, Any]:
        """The stack's settings of the AWS provider that say whose credentials count, decrypted; empty: it has none.

        Raises:
            InvalidInputError: one of them is none that the provider knows.
            EngineError, WorkspaceError: they cannot be read.
        """
        if not self._settings.stack_file(self.deployment).exists() and not (self.exists() and self.history(1)):
            return {}
        return provider_settings.identity_settings(self._plain(self._stack_document()["config"]))

    def _plain(self, config: dict[str, Any]) -> dict[str, Any]:
        """Of a stack's config the providers' settings, decrypted where one is encrypted."""
        if not provider_settings.encrypted(config):
            return provider_settings.kept(config)
        text = self._run("config", "--show-secrets", "--json", "--stack", self.deployment)
        return provider_settings.kept(provider_settings.read_decrypted(text))

    @contextmanager
    def rehearse(self, adopt: dict[str, str], candidate: Path | None = None) -> Iterator[StackEngine]:
        """This stack as ``clear_pending(adopt, candidate)`` would leave it, for a preview: in a backend for that alone.

        Nothing is written where the stack is: neither its state, nor its history, nor its config file.

        Raises:
            EngineError, WorkspaceError: as ``clear_pending``.
        """
        with tempfile.TemporaryDirectory(dir=self._settings.state, prefix="rehearsal-") as folder:
            settings = RehearsalSettings(Path(folder), self._settings.target_environment, self._settings)
            settings.make()
            twin = StackEngine(settings, self._command.info, self.deployment)
            twin.create()
            # The copy of the config file comes after that: making a stack may write a salt of its own.
            own = settings.stack_file(self.deployment)
            if candidate is not None and not self.has_secrets():
                write_private(own, candidate.read_text(encoding="utf-8"))
            else:
                write_private(own, yaml.safe_dump(self._stack_document(), width=10**6))
            twin._import(self._export())
            twin.clear_pending(adopt, candidate)
            yield twin

    def import_state(self, state: dict[str, Any]) -> None:
        """Put a state, as ``stack export`` prints one, in the place of the stack's.

        Raises:
            DeploymentBusyError: a run of the engine holds the stack.
            EngineError, WorkspaceError: the engine does not accept it.
        """
        self._import(state, "Bringing the state back failed.")

    def _import(self, state: dict[str, Any], what: str = "Adopting what there is failed.") -> None:
        try:
            self._command.run(
                ["stack", "import", "--stack", self.deployment],
                str(self._settings.home),
                self._environment,
                stdin=json.dumps(state),
            )
        except CommandError as error:
            raise self._translate(error, what, []) from error


def this_host() -> str:
    """The name under which an operation's owner is remembered."""
    return socket.gethostname()
