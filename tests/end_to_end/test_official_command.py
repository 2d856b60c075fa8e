"""The official pulumi-command plugin in place of the stand-in: the engine starts it itself, as it does on AWS."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from geusemaker.engine.binary import find_engine
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

VARIABLE = "GEUSEMAKER_PULUMI_COMMAND_PLUGIN"
PLUGIN = "pulumi-resource-command"


def official_plugin() -> Path | str:
    """The plugin on this machine, or where it was looked for in vain."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given) if Path(given).is_file() else f"{VARIABLE}={given} is not a file"
    plugins = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins"
    found = sorted(plugins.glob(f"resource-command-v*/{PLUGIN}"))
    on_path = shutil.which(PLUGIN)
    if on_path is not None:
        return Path(on_path)
    return found[-1] if found else f"there is no {PLUGIN} in {plugins} or on PATH, and {VARIABLE} names none"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A machine whose engine gets the AWS stand-in attached, and the command plugin from its PATH."""
    plugin, engine = official_plugin(), find_engine()
    if isinstance(plugin, str):
        pytest.skip(
            f"NOT RUN with the official pulumi-command plugin: deploy, failing update, rollback. Why: {plugin}."
        )
    assert engine is not None, "no Pulumi engine: run `make setup`"
    folder = tmp_path_factory.mktemp("machine")
    programs = folder / "programs"
    programs.mkdir()
    _script(
        programs / PLUGIN,
        f"echo started >> {shlex.quote(str(folder / 'plugin.log'))}",
        f'exec {shlex.quote(str(plugin))} "$@"',
    )
    _script(
        folder / "pulumi",
        "PULUMI_DEBUG_PROVIDERS=${PULUMI_DEBUG_PROVIDERS%%,command:*}",
        f"PATH={shlex.quote(str(programs))}:$PATH",
        "export PULUMI_DEBUG_PROVIDERS PATH",
        f'exec {shlex.quote(engine.path)} "$@"',
    )
    machine = World.at(folder)
    machine.extra["GEUSEMAKER_PULUMI"] = str(folder / "pulumi")
    yield machine
    machine.run("local", "reset", "--yes")


def _script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def test_deploy_failing_update_and_rollback(world: World) -> None:
    deployed = world.json("deploy", "shop", "--target", "local", "--image", "n8n=n8nio/n8n:1.100.0", "--yes")
    assert deployed["success"] is True

    failed = world.json("update", "shop", "--image", "n8n=n8nio/n8n:1.101.0-crash", "--yes", code=3)
    assert failed["success"] is False
    restored = world.inspect("shop")
    assert (restored["status"], restored["rollbacks"][-1]["trigger"]) == ("healthy", "health_check_failed")

    assert world.json("update", "shop", "--instance-type", "t3.xlarge", "--yes")["success"] is True
    back = world.json("rollback", "shop", "--to-version", "1", "--yes")
    assert (back["success"], back["source_version"]) == (True, 1)
    after = world.inspect("shop")
    assert (after["status"], after["instance"]["type"]) == ("healthy", "t3.large")
    assert after["services"]["n8n"]["image"].startswith("n8nio/n8n:1.100.0")

    assert (world.folder / "plugin.log").exists(), "the engine never started the official plugin"
