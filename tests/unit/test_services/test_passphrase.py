"""PassphraseService: which passphrase is the new one, and that the workspace has the one that holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import DeclinedError, InvalidInputError, RefusedError, WorkspaceError
from geusemaker.models.result import RotationResult
from geusemaker.services.passphrase import PassphraseService
from tests.unit.fakes import World


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkspaceSettings:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = WorkspaceSettings(tmp_path / "home")
    made.prepare()
    made.create_passphrase()
    return made


def rotate(world: World, settings: WorkspaceSettings, passphrase: str | None = None) -> RotationResult:
    service = PassphraseService("prod", settings)
    return service.rotate(
        world.collaborators(), "passphrase", service.choose(passphrase, "passphrase"), confirm=lambda text: True
    )


def test_a_new_one_is_made_for_the_workspaces_own_file(deployed: World, settings: WorkspaceSettings) -> None:
    before = settings.passphrase_file.read_text()
    result = rotate(deployed, settings)
    assert settings.passphrase_file.read_text() != before and result.passphrase_file == str(settings.passphrase_file)
    assert not settings.pending_passphrase.exists()


def test_one_that_is_given_is_taken(deployed: World, settings: WorkspaceSettings) -> None:
    rotate(deployed, settings, "correct horse")
    assert settings.passphrase_file.read_text().strip() == "correct horse"


@pytest.mark.parametrize("given", ["", " blank", "two\nlines"])
def test_what_is_no_passphrase_is_refused(deployed: World, settings: WorkspaceSettings, given: str) -> None:
    with pytest.raises(InvalidInputError, match="one line that is not empty"):
        rotate(deployed, settings, given)


def test_where_it_comes_from_a_variable_the_new_one_has_to_be_given(
    deployed: World, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "old")
    with pytest.raises(InvalidInputError, match="has to be given"):
        rotate(deployed, settings)
    before = settings.passphrase_file.read_text()
    assert rotate(deployed, settings, "new").passphrase_file == "" and settings.passphrase_file.read_text() == before


def test_pulumi_cloud_has_none(deployed: World, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "https://api.pulumi.com")
    with pytest.raises(RefusedError, match="keys of its own"):
        rotate(deployed, settings)


def test_a_clouds_key_leaves_the_file_alone(deployed: World, settings: WorkspaceSettings) -> None:
    before = settings.passphrase_file.read_text()
    service = PassphraseService("prod", settings)
    new = service.choose(None, "awskms://key")
    assert not new.text and not new.is_own
    service.rotate(deployed.collaborators(), "awskms://key", new, confirm=lambda text: True)
    assert settings.passphrase_file.read_text() == before


def test_a_file_that_opens_other_deployments_is_not_replaced(
    deployed: World, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed.engine, "any_other", lambda: True)
    with pytest.raises(RefusedError, match="opens other deployments, too"):
        rotate(deployed, settings)


def test_declined_the_old_one_holds(deployed: World, settings: WorkspaceSettings) -> None:
    before = settings.passphrase_file.read_text()
    service = PassphraseService("prod", settings)
    with pytest.raises(DeclinedError):
        service.rotate(
            deployed.collaborators(), "passphrase", service.choose(None, "passphrase"), confirm=lambda text: False
        )
    assert settings.passphrase_file.read_text() == before and not settings.pending_passphrase.exists()


@pytest.mark.parametrize("old_holds", [True, False])
def test_one_that_was_killed_is_finished_first(
    deployed: World, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch, old_holds: bool
) -> None:
    """It wrote the new passphrase down, and was killed before or after the secrets were encrypted with it."""
    settings.pending_passphrase.write_text("begun")
    before = settings.passphrase_file.read_text()

    class Another:
        def opens(self) -> bool:
            return True

    answers = iter([old_holds])
    monkeypatch.setattr(deployed.engine, "opens", lambda: next(answers, True))
    monkeypatch.setattr(deployed.engine, "with_passphrase", lambda passphrase: Another())
    monkeypatch.setattr(deployed.engine, "any_other", lambda: True)  # so it ends there
    with pytest.raises(RefusedError):
        rotate(deployed, settings)
    assert settings.passphrase_file.read_text() == (before if old_holds else "begun")
    assert not settings.pending_passphrase.exists()


def test_a_failure_keeps_what_may_hold(
    deployed: World, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the old one does not open the secrets any more, the new one is still on disk for the next try."""
    deployed.fail_at("engine.change_key", WorkspaceError("killed half-way"))
    monkeypatch.setattr(deployed.engine, "opens", lambda: False)
    with pytest.raises(WorkspaceError):
        rotate(deployed, settings)
    assert settings.pending_passphrase.exists()
