"""The keys and tags of a stack: what is in its config file and what beside it, and how both are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from geusemaker.engine.project import PROJECT
from geusemaker.errors import WorkspaceError
from geusemaker.models.history import HistoryEntry
from geusemaker.models.stack import Target
from geusemaker.models.version import Provenance

DEPLOYMENT_KEY: Final = f"{PROJECT}:deployment"
VERSION_KEY: Final = f"{PROJECT}:version"
TARGET_KEY: Final = f"{PROJECT}:target"
SECRETS_KEY: Final = f"{PROJECT}:secrets"
"""The key of a stack's config file under which its secrets are, encrypted."""
ROTATION_KEY: Final = f"{PROJECT}:rotation"
"""The operation that made the secrets, where that was no first deploy. Not a secret: it tells old ones from new."""
RETRIES_KEY: Final = "aws:maxRetries"
ATTEMPTS: Final = 5
"""How often the provider makes a call that AWS does not answer well: 25 times by default, which for an instance that
there is no capacity for is most of an hour, in silence and with all services down. With five it is seconds. The
provider's ``max_retries`` counts attempts, and 0 is as good as none (seen with terraform-provider-aws 5.100.0)."""
INTENT_TAG: Final = f"{PROJECT}:operation"
MARKS_TAG: Final = f"{PROJECT}:marks"
VERDICTS_TAG: Final = f"{PROJECT}:verdicts"
STOPPED_TAG: Final = f"{PROJECT}:stopped"
NOTE_TAG: Final = f"{PROJECT}:note-"
LABEL_TAG: Final = f"{PROJECT}:label-"
"""The beginning of a label's tag, whose name has 40 characters at most (services.labels)."""


def attempts(own: Any) -> int:
    """How often the provider makes a call, where a config file says ``own``: an operator's lower value wins. Pure."""
    try:
        wanted = int(own)
    except (TypeError, ValueError):
        return ATTEMPTS
    return min(wanted, ATTEMPTS) if wanted > 0 else ATTEMPTS


def read_target(file: Path) -> Target | None:
    """Where a deployment is, from its stack's config file; None where the file does not say: the history does as well.

    Raises:
        WorkspaceError: it says so in a way that this geusemaker cannot read. Anything taken instead might be
            another world.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        stored = document["config"][TARGET_KEY]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    try:
        return Target.model_validate_json(stored)
    except ValidationError as error:
        raise unreadable_target(file.name.removeprefix("Pulumi.").removesuffix(".yaml"), str(file)) from error


def unreadable_target(name: str, place: str) -> WorkspaceError:
    """Where a deployment is, is written down in a way that this geusemaker cannot read."""
    return WorkspaceError(
        f"Where {name} is (local cloud or AWS, region, account) cannot be read from {place}.",
        state="Nothing was looked at, and nothing was changed.",
        next_step="It was written by another version of geusemaker, or by hand: use that version, or upgrade this one.",
    )


def read_entry(entry: dict[str, Any]) -> HistoryEntry:
    """An entry of the history, as the CLI prints it."""
    config = {key: value.get("value") for key, value in (entry.get("config") or {}).items()}
    return HistoryEntry.read(
        kind=entry["kind"],
        result=entry["result"],
        started_at=entry["startTime"],
        ended_at=entry.get("endTime"),
        deployment=config.get(DEPLOYMENT_KEY),
        provenance=config.get(VERSION_KEY),
        target=config.get(TARGET_KEY),
        rotation=config.get(ROTATION_KEY),
    )


def with_provenance(text: str, provenance: Provenance) -> str:
    """The text of a stack's config file with another version's provenance, and all else as it was. Pure."""
    document = yaml.safe_load(text)
    document["config"][VERSION_KEY] = provenance.model_dump_json()
    return document_text(document)


def document_text(document: dict[str, Any]) -> str:
    """A stack's config file as text, each value on one line. Pure."""
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10**6)
    return text


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
