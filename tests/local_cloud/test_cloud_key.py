"""A deployment whose secrets are encrypted with a cloud's key, in a bucket: the real engine on moto's S3 and KMS."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import WorkspaceError
from geusemaker.models.doctor import EngineInfo
from geusemaker.wiring import Wiring
from geusemaker.workspace import Workspace
from tests.local_cloud.test_backends import SECRETS, bucket, put_state, settings, store_secrets

__all__ = ["bucket", "settings"]  # fixtures


@pytest.fixture
def kept(
    settings: WorkspaceSettings,
    pulumi_command: EngineInfo,
    bucket: str,
    moto_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> StackEngine:
    """A stack in a bucket, with secrets under the workspace's passphrase."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", moto_endpoint)
    monkeypatch.setenv("GEUSEMAKER_PULUMI", pulumi_command.path)
    made = StackEngine(settings, pulumi_command, "prod")
    made.create()
    store_secrets(made)
    put_state(made, "geusemaker-prod")
    return made


def test_a_machine_with_nothing_but_the_backend_needs_no_passphrase_for_a_clouds_key(
    kept: StackEngine, settings: WorkspaceSettings, moto_endpoint: str, tmp_path: Path
) -> None:
    fresh = WorkspaceSettings(tmp_path / "fresh")
    fresh.prepare()
    engine = StackEngine(fresh, EngineInfo(path=kept._command.command, version="3.259.0", source="cache"), "prod")
    assert kept.needs_passphrase() and engine.needs_passphrase()
    with pytest.raises(WorkspaceError, match=r"passphrase of the backend .* is missing"):
        Wiring("prod", fresh).require_passphrase(engine)
    [refused] = [one for one in Workspace(fresh.home).doctor().checks if one.name == "passphrase"]
    assert refused.status == "fail" and "is missing" in refused.detail

    kms = boto3.client("kms", endpoint_url=moto_endpoint, region_name="us-east-1")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kept.change_key(f"awskms://{key}?region=us-east-1", "")
    assert not engine.needs_passphrase()
    Wiring("prod", fresh).require_passphrase(engine)
    Wiring("prod", fresh).create_passphrase(engine)
    assert not fresh.has_passphrase, "none is asked for, and none is made"
    kept.record_config()
    assert not fresh.stack_file("prod").exists(), "it comes from the backend"
    assert engine.load_secrets() == SECRETS
    [opened] = [one for one in Workspace(fresh.home).doctor().checks if one.name == "passphrase"]
    assert (opened.status, opened.detail) == ("pass", "it opens the secrets of prod")
