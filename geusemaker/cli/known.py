"""What completion knows of the deployments: what verbs that looked at them have left in the workspace.

Completing a word must neither ask AWS nor start the engine, so it reads one small file. It decides nothing: a name that
is gone is completed until somebody looks again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_MOST: Final = 200
"""Versions that are remembered of a deployment; the newest."""


def home() -> Path:
    """The workspace's folder, by the rules of ``engine.project.find_home``, without the time a YAML reader takes."""
    if given := os.environ.get("GEUSEMAKER_HOME"):
        return Path(given).expanduser()
    start = Path.cwd()
    for folder in (start, *start.parents):
        try:
            text = (folder / "Pulumi.yaml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if re.search(r"^name:\s*[\"']?geusemaker[\"']?\s*(#.*)?$", text, re.MULTILINE):
            return folder
    return Path.home() / ".geusemaker"


def read(workspace: Path) -> dict[str, dict[str, Any]]:
    """Deployment → what is known of it: ``versions`` (number → a few words), ``services``, ``checkpoints``."""
    try:
        found = json.loads(_file(workspace).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    known = {name: about for name, about in found.items() if isinstance(about, dict)} if isinstance(found, dict) else {}
    for file in workspace.glob("stacks/Pulumi.*.yaml"):
        known.setdefault(file.name.removeprefix("Pulumi.").removesuffix(".yaml"), {})
    return known


def remember(
    workspace: Path,
    deployment: str,
    *,
    versions: Mapping[int, str] | None = None,
    services: Iterable[str] | None = None,
    checkpoints: Iterable[str] | None = None,
) -> None:
    """Leave what was just seen of a deployment; None leaves what is known as it is."""
    if not (workspace / ".state").is_dir():
        return
    known = read(workspace)
    about = known.setdefault(deployment, {})
    before = json.dumps(known, sort_keys=True)
    if versions is not None:
        words = {int(number): text for number, text in about.get("versions", {}).items()} | dict(versions)
        about["versions"] = {str(number): words[number] for number in sorted(words)[-_MOST:]}
    if services is not None:
        about["services"] = sorted(services)
    if checkpoints is not None:
        about["checkpoints"] = list(checkpoints)
    if json.dumps(known, sort_keys=True) == before:
        return
    file = _file(workspace)
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a convenience: a full disk must not fail the verb that looked
        fresh.write_text(json.dumps(known), encoding="utf-8")
        fresh.replace(file)


def _file(workspace: Path) -> Path:
    return workspace / ".state" / "completion.json"
