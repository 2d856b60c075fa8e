"""The JSON documents. Their field names are a contract that scripts rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geusemaker.errors import ConfirmationNeededError, EngineError, GeusemakerError, RefusedError

if TYPE_CHECKING:
    from geusemaker.models.inspection import Inspection
    from geusemaker.models.plan import Plan
    from geusemaker.models.version import Version
    from geusemaker.models.version_report import VersionReport


def failure_document(
    error: GeusemakerError, *, verb: str, deployment: str | None, seconds: float, plan: Plan | None
) -> dict[str, Any]:
    """The document of a verb that ended with an error: the fields of its result, and why there is none."""
    document: dict[str, Any] = {
        "success": False,
        "deployment": deployment,
        "version": None,
        "operation_id": plan.operation_id if plan else "",
        "changes": [],
        "health_status": {},
        "duration_seconds": round(seconds, 3),
        "error_message": error.message,
        "error_type": type(error).__name__,
        "state": error.state,
        "next_step": error.next_step,
        "exit_code": error.exit_code,
    }
    if verb == "rollback":
        document["changes_reverted"] = document.pop("changes")
        document["trigger"] = "manual"
        document["source_version"] = plan.source_version if plan else None
        document["services_from"] = plan.services_from if plan else {}
    if isinstance(error, EngineError):
        document["diagnostics"] = list(error.diagnostics)
    if plan is not None and isinstance(error, RefusedError | ConfirmationNeededError):
        document["plan"] = plan_document(plan)
        document["checks"] = document["plan"]["checks"]
    if isinstance(error, RefusedError) and error.checks:
        document["checks"] = [check.model_dump(mode="json") for check in error.checks]
    return document


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan, as shown before the question."""
    document: dict[str, Any] = plan.model_dump(mode="json")
    _hide_secrets(document["config"])
    document["stops_instance"] = plan.stops_instance
    return document


def _hide_secrets(config: dict[str, Any]) -> None:
    """Leave out the values of a config's variables that look like secrets."""
    from geusemaker.models.shown import HIDDEN, is_secret

    for service in config["services"].values():
        for name, value in service["environment"].items():
            if is_secret(name, value):
                service["environment"][name] = HIDDEN
        own = service.get("own") or {}
        for part in (own, own.get("probe") or {}):
            if any(is_secret(word, word) for word in part.get("command") or ()):
                part["command"] = [HIDDEN]


def inspection_document(inspection: Inspection) -> dict[str, Any]:
    """Everything known about a deployment; versions are flat, so that ``.versions[].number`` works."""
    document: dict[str, Any] = inspection.model_dump(mode="json", exclude={"versions"})
    document["versions"] = [version_document(version) for version in inspection.versions]
    return document


def report_document(report: VersionReport) -> dict[str, Any]:
    """Everything known about one version, which is as in the document of ``inspect``."""
    document: dict[str, Any] = report.model_dump(mode="json", exclude={"version"})
    return document | {"version": version_document(report.version)}


def version_document(version: Version) -> dict[str, Any]:
    """One version, its provenance and its config with ``images`` by service."""
    document: dict[str, Any] = version.provenance.model_dump(mode="json")
    document |= version.model_dump(mode="json", exclude={"provenance", "config"})
    document["config"] = version.config.model_dump(mode="json") | {"images": version.config.images}
    _hide_secrets(document["config"])
    return document
