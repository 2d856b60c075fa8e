"""What a pipeline imports."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import geusemaker
from geusemaker import errors

PUBLIC = {
    "Workspace", "Deployment", "yes",
    "DeployRequest", "UpdateRequest", "RollbackRequest", "RestoreRecord", "RestoreRequest", "ChangeOptions",
    "OperationResult", "RollbackResult", "Inspection", "DeploymentInfo", "DeploymentSummary", "DoctorReport",
    "EngineInfo", "MarkResult", "RestoreResult", "CheckpointList", "Checkpoint", "RestorePlan",
    "RestPlan", "StoppedService",
    "Plan", "Event", "CheckResult", "ConfigChange", "ResourceOperation", "StackConfig", "Version", "RollbackRecord",
    *errors.__all__,
}  # fmt: skip


def test_the_names_are_just_these() -> None:
    assert set(geusemaker.__all__) == PUBLIC and geusemaker.__all__ == sorted(geusemaker.__all__)
    assert dir(geusemaker) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_is_what_its_module_defines_and_documented(name: str) -> None:
    found = getattr(geusemaker, name)
    assert found is getattr(import_module(found.__module__), name) and found.__doc__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = geusemaker.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, geusemaker; print([m for m in ('pulumi', 'pydantic', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
