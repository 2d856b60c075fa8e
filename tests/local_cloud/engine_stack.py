"""A small harness around the Automation API: inline programs on the real engine with attached providers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulumi import automation as auto

from geusemaker.engine.command import EngineCommand
from geusemaker.models.doctor import EngineInfo


class EngineStack:
    """One stack in a folder of its own, run by a given engine with given providers attached.

    ``providers`` maps a provider's name to its port.
    """

    def __init__(self, folder: Path, engine: EngineInfo, providers: dict[str, int], name: str = "test") -> None:
        self._program: Callable[[], None] = lambda: None
        backend = folder / "backend"
        backend.mkdir(parents=True, exist_ok=True)
        self.stack = auto.create_or_select_stack(
            stack_name=name,
            project_name="test",
            program=lambda: self._program(),
            opts=auto.LocalWorkspaceOptions(
                work_dir=str(folder),
                pulumi_home=str(folder / "home"),
                pulumi_command=EngineCommand(engine),
                project_settings=auto.ProjectSettings(name="test", runtime="python"),
                env_vars={
                    "PULUMI_BACKEND_URL": backend.as_uri(),
                    "PULUMI_CONFIG_PASSPHRASE": "test",
                    "PULUMI_SKIP_UPDATE_CHECK": "true",
                    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                    "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in providers.items()),
                },
            ),
        )

    def up(self, program: Callable[[], None], **options: Any) -> Run:
        """Apply a program."""
        return self._run(program, self.stack.up, **options)

    def preview(self, program: Callable[[], None], **options: Any) -> Run:
        """Preview a program."""
        return self._run(program, self.stack.preview, **options)

    def refresh(self) -> Run:
        """Read every resource again."""
        return self._run(self._program, self.stack.refresh)

    def destroy(self) -> Run:
        """Delete everything."""
        return self._run(self._program, self.stack.destroy)

    def state(self) -> list[dict[str, Any]]:
        """The resources of the exported state."""
        deployment = self.stack.export_stack().deployment or {}
        return list(deployment.get("resources", []))

    def resource(self, name: str) -> dict[str, Any]:
        """One resource of the exported state, by its logical name."""
        return next(item for item in self.state() if item["urn"].endswith(f"::{name}"))

    def close(self) -> None:
        """Collect what failed runs left behind.

        The SDK abandons coroutines there, which complain when they are collected. Were that to happen while pytest
        parses source, Python 3.11 would fail with a SystemError (fixed in 3.11.8).
        """
        hook = sys.unraisablehook
        sys.unraisablehook = lambda _: None
        try:
            gc.collect()
        finally:
            sys.unraisablehook = hook

    def _run(self, program: Callable[[], None], verb: Callable[..., Any], **options: Any) -> Run:
        self._program = program
        run = Run()
        run.result = verb(on_event=run.events.append, on_output=run.output.append, **options)
        return run


class Run:
    """What one run said while it went on."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.output: list[str] = []
        self.result: Any = None

    def operations(self) -> dict[str, str]:
        """Logical name → operation, without what stays the same."""
        found: dict[str, str] = {}
        for event in self.events:
            metadata = event.resource_pre_event and event.resource_pre_event.metadata
            if metadata and metadata.op.value != "same" and "pulumi:" not in metadata.urn.split("::")[2]:
                found.setdefault(metadata.urn.rsplit("::", 1)[-1], metadata.op.value)
        return found

    def detailed_diff(self, name: str) -> dict[str, str]:
        """Path → kind of difference of one resource."""
        for event in self.events:
            metadata = event.resource_pre_event and event.resource_pre_event.metadata
            if metadata and metadata.urn.endswith(f"::{name}") and metadata.detailed_diff:
                return {path: diff.diff_kind.value for path, diff in metadata.detailed_diff.items()}
        return {}

    def messages(self) -> list[str]:
        """Diagnostics other than debugging ones, without colour."""
        found = [event.diagnostic_event for event in self.events if event.diagnostic_event]
        return [item.message for item in found if item.severity != "debug"]
