"""The facts about a deployment that are kept as the stack's tags: what cannot be read is not taken for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import BackendDamagedError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.history import StackTags


@pytest.fixture
def tagged(tmp_path: Path) -> StackEngine:
    """A stack whose engine says what it says of a file of tags that it cannot read."""
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\necho null\n")
    program.chmod(0o755)
    settings = WorkspaceSettings(tmp_path / "home")
    settings.prepare()
    return StackEngine(settings, EngineInfo(path=str(program), version="3.259.0", source="path"), "prod")


@pytest.mark.parametrize(
    "content",
    ["", '{"a', "[]", "null", '{"geusemaker:marks": "{}"}', '{"version": 2, "tags": {}}']
    + [f'{{"version": 1, "tags": {tags}}}' for tags in ('{"geusemaker:marks": 5}', "[1]", '"{}"')],
)
def test_tags_that_cannot_be_read_are_not_taken_for_none(
    tagged: StackEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    folder = WorkspaceSettings(tmp_path / "home").backend_folder
    assert folder is not None
    stacks = folder / ".pulumi" / "stacks" / "geusemaker"
    stacks.mkdir(parents=True)
    (stacks / "prod.json").write_text('{"checkpoint": {}}')
    file = stacks / "prod.pulumi-tags"
    file.write_text(content)
    with pytest.raises(BackendDamagedError, match="which versions are bad") as damaged:
        tagged.tags()
    assert damaged.value.file == str(file) and "doctor prod --repair" in damaged.value.next_step


def test_of_another_backend_no_command_is_named_that_cannot_mend_it(
    tagged: StackEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    with pytest.raises(BackendDamagedError) as damaged:
        tagged.tags()
    assert "from a backup" in damaged.value.next_step and "doctor" not in damaged.value.next_step
    monkeypatch.setenv("PULUMI_BACKEND_URL", "https://api.pulumi.com")
    assert tagged.tags() == StackTags(), "it has no such file"
