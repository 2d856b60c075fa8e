"""Where a workspace keeps things."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest
import yaml

from geusemaker.engine.project import find_home
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import WorkspaceError

VARIABLES = ("GEUSEMAKER_HOME", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> WorkspaceSettings:
    """A prepared workspace."""
    prepared = WorkspaceSettings(tmp_path / "home")
    prepared.prepare()
    return prepared


def test_home_is_what_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEUSEMAKER_HOME", str(tmp_path / "x" / ".." / "y"))
    assert find_home(tmp_path) == tmp_path / "y"


def test_home_is_the_nearest_project_of_ours_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "ours" / "theirs" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "ours" / "Pulumi.yaml").write_text("name: geusemaker\n")
    (tmp_path / "ours" / "theirs" / "Pulumi.yaml").write_text("name: website\n")
    assert find_home(deep) == tmp_path / "ours"

    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    assert find_home(tmp_path) == tmp_path / "me" / ".geusemaker"


@pytest.mark.parametrize("content", ["{", "just text", "runtime: python", "name: [1]", "name: \0", "- a"])
def test_a_damaged_project_file_is_named_with_a_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(content)
    with pytest.raises(WorkspaceError) as refused:
        find_home(tmp_path)
    assert str(tmp_path / "Pulumi.yaml") in str(refused.value) and "GEUSEMAKER_HOME" in refused.value.next_step
    with pytest.raises(WorkspaceError):
        WorkspaceSettings(tmp_path).prepare()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(WorkspaceError, match="cannot be read as YAML"):
        find_home(tmp_path)


def test_another_project_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: website\n")
    with pytest.raises(WorkspaceError, match="another Pulumi project"):
        WorkspaceSettings(tmp_path).prepare()
    assert not (tmp_path / "stacks").exists()


def test_prepare_makes_a_workspace_and_leaves_one_alone(settings: WorkspaceSettings) -> None:
    project = yaml.safe_load((settings.home / "Pulumi.yaml").read_text())
    assert project["name"] == "geusemaker" and project["stackConfigDir"] == "stacks"
    assert (Path(project["main"]) / "stack.py").exists()
    assert stat.S_IMODE(settings.state.stat().st_mode) == 0o700 and settings.stacks.is_dir()

    before = (settings.home / "Pulumi.yaml").stat()
    settings.prepare()
    assert (settings.home / "Pulumi.yaml").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    "text",
    [
        "# mine\nname: geusemaker\nmain: /gone/python3.10/geusemaker/program\nbackend:\n  url: x\n",
        "name: geusemaker\nmain: >-\n  /gone/geusemaker/\n  program\nbackend:\n  url: x # mine\n",
        "name: geusemaker\nbackend:\n  url: x # mine\n",
        "{name: geusemaker, main: /gone, backend: {url: x}} # mine\n",
        "name: geusemaker\nmain: elsewhere\nbackend:\n  url: x # mine\n",
        "name: geusemaker\n'main': elsewhere\nbackend:\n  url: x # mine\n",
    ],
)
def test_a_project_of_another_installation_is_healed_and_keeps_what_is_the_users(tmp_path: Path, text: str) -> None:
    file = tmp_path / "Pulumi.yaml"
    file.write_text(text)
    file.chmod(0o640)
    WorkspaceSettings(tmp_path).prepare()
    project = yaml.safe_load(file.read_text())
    assert (Path(project["main"]) / "stack.py").is_file() and Path(project["main"]).is_absolute()
    assert project["backend"] == {"url": "x"} and project["name"] == "geusemaker"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "mine" in file.read_text() or text.startswith("{") or "'main'" in text, "comments stay where lines do"


def test_a_program_that_the_user_named_relative_to_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "geusemaker" / "program").mkdir(parents=True)
    (tmp_path / "geusemaker" / "program" / "stack.py").touch()
    text = "name: geusemaker\nmain: geusemaker/program\n"
    (tmp_path / "Pulumi.yaml").write_text(text)
    WorkspaceSettings(tmp_path).prepare()
    assert (tmp_path / "Pulumi.yaml").read_text() == text


def test_a_project_that_cannot_be_healed_says_so_only_where_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("geusemaker.engine.project.replace_whole", refuse)
    (tmp_path / "other").mkdir()
    (tmp_path / "Pulumi.yaml").write_text(f"name: geusemaker\nmain: {tmp_path / 'other'}\n")
    WorkspaceSettings(tmp_path).prepare()
    (tmp_path / "other").rmdir()
    with pytest.raises(WorkspaceError, match="cannot be written: Permission denied"):
        WorkspaceSettings(tmp_path).prepare()


def test_a_project_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # the disk is full after 20 bytes
    try:
        with pytest.raises(WorkspaceError, match="cannot be written"):
            WorkspaceSettings(tmp_path).prepare()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == []
    WorkspaceSettings(tmp_path).prepare()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["Pulumi.yaml"]


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        WorkspaceSettings(tmp_path / "file").prepare()


def test_the_backend_is_a_folder_unless_told_otherwise(
    settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.backend_url == (settings.state / "backend").as_uri() and (settings.state / "backend").is_dir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", "")
    assert settings.backend_url.startswith("file://"), "an empty variable is none"
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert settings.backend_url == "s3://bucket" and settings.uses_passphrase


@pytest.mark.parametrize(
    ("given", "engine", "folder"),
    [
        ("file:///a%20b", "file:///a%20b?metadata=skip", Path("/a b")),
        ("file://~/a?no_tmp_dir=false", "file://~/a?no_tmp_dir=false&metadata=skip", Path.home() / "a"),
        ("file:///a?metadata=skip", "file:///a?metadata=skip", Path("/a")),
        ("s3://bucket?region=eu-central-1", "s3://bucket?region=eu-central-1", None),
    ],
)
def test_the_engine_writes_nothing_into_a_folder_that_a_kill_leaves_half_done(
    settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch, given: str, engine: str, folder: Path | None
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", given)
    assert (settings.environment()["PULUMI_BACKEND_URL"], settings.backend_folder) == (engine, folder)


def test_pulumi_cloud_needs_no_passphrase(settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "https://api.pulumi.com")
    assert not settings.uses_passphrase
    settings.check_passphrase()
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in settings.environment()


def test_no_backend_folder_beside_another_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    WorkspaceSettings(tmp_path).prepare()
    assert not (tmp_path / ".state" / "backend").exists()


def test_the_passphrase_is_generated_once_and_private(settings: WorkspaceSettings) -> None:
    with pytest.raises(WorkspaceError, match=r"passphrase of the backend .* is missing"):
        settings.check_passphrase()
    settings.create_passphrase()

    assert stat.S_IMODE(settings.passphrase_file.stat().st_mode) == 0o600
    assert len(settings.passphrase_file.read_text()) >= 32
    settings.check_passphrase()
    # Two first deploys at once both find that there is none, and both make one.
    first = settings.passphrase_file.read_text()
    settings.create_passphrase()
    assert settings.passphrase_file.read_text() == first
    assert [file.name for file in settings.state.iterdir() if "passphrase" in file.name] == ["passphrase"]


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_pulumis_own_variables_are_honoured(
    settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert settings.environment()["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(settings.passphrase_file)
    monkeypatch.setenv(name, "")
    settings.check_passphrase()
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in settings.environment()


def test_the_environment_has_the_targets_variables_and_no_secret(settings: WorkspaceSettings) -> None:
    settings.create_passphrase()
    local = WorkspaceSettings(settings.home, target_environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    environment = local.environment()
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["PULUMI_BACKEND_URL"] == f"{settings.backend_url}?metadata=skip"
    assert settings.passphrase_file.read_text() not in environment.values()
    assert local.stack_file("prod") == settings.home / "stacks" / "Pulumi.prod.yaml"
