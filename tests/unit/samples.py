"""Configs, versions and states to test decisions with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from geusemaker.engine.standing import archive, judge
from geusemaker.models.history import Intent
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import NEWEST_RENDERING, RollbackSettings, ServiceConfig, StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Provenance, Version

NIGHT = datetime(2025, 1, 21, 2, 3, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32


def config(n8n: str = "1.100.1", instance_type: str = "t3.large", retention: int = 5, **more: Any) -> StackConfig:
    """A config of n8n and PostgreSQL, digests resolved."""
    services = {
        "postgresql": ServiceConfig(image=ImageReference.parse(f"postgres:16.9@{DIGEST}")),
        "n8n": ServiceConfig(image=ImageReference.parse(f"n8nio/n8n:{n8n}@{DIGEST}")),
    }
    values: dict[str, Any] = {
        "instance_type": instance_type,
        "ami": "ami-1",
        "services": services,
        "rendering": NEWEST_RENDERING,
        "rollback": RollbackSettings(retention=retention),
    }
    return StackConfig(**(values | more))


def target(**more: Any) -> Target:
    """Where a deployment is: on a local cloud, and nothing else said."""
    values: dict[str, Any] = {"kind": "local", "region": "us-east-1"}
    return Target(**(values | more))


def provenance(number: int, kind: str = "update", **more: Any) -> Provenance:
    """Where version ``number`` comes from."""
    values: dict[str, Any] = {
        "number": number,
        "operation_id": f"op-{number}",
        "kind": kind,
        "actor": "ann",
        "created_at": NIGHT,
    }
    return Provenance(**(values | more))


def version(number: int, *, source: int | None = None, kind: str = "update", **more: Any) -> Version:
    """A healthy version, each with a config of its own unless one is given."""
    values: dict[str, Any] = {"config": config(n8n=f"1.{number}.0"), "status": "superseded", "healthy": True}
    return Version(provenance=provenance(number, kind, source_version=source), **(values | more))


def failed(number: int, **more: Any) -> Version:
    """A version that never became healthy."""
    return version(number, status="failed", healthy=False, **more)


def state(*versions: Version, **more: Any) -> DeploymentState:
    """A state of these versions, oldest first; the newest healthy one is active, retention applied."""
    newest = max((found.number for found in versions if found.healthy), default=None)
    marked = [found.model_copy(update={"status": "active"}) if found.number == newest else found for found in versions]
    values: dict[str, Any] = {"name": "prod", "versions": tuple(archive(judge(marked))), "target": target()}
    return DeploymentState(**(values | more))


def intent(operation_id: str = "op-9", number: int = 9, outcome: str = "", **more: Any) -> Intent:
    """An update's intent, of process 7 on box."""
    values: dict[str, Any] = {
        "operation_id": operation_id,
        "kind": "update",
        "number": number,
        "actor": "ann",
        "host": "box",
        "pid": 7,
        "started_at": NIGHT,
        "outcome": outcome,
    }
    return Intent(**(values | more))
