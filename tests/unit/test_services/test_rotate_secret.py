"""RotateSecretService: another key to log in with, another password of the database, and every version as it was."""

from __future__ import annotations

import copy

import pytest

from geusemaker.errors import (
    DeclinedError,
    DeploymentBusyError,
    EngineError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.models.request import DeployRequest
from geusemaker.models.version import RotationKind
from tests.unit.fakes import FakeMachine, Killed, World, login_of

SSH: RotationKind = "rotate-ssh"
DATABASE: RotationKind = "rotate-database"
both = pytest.mark.parametrize("kind", [SSH, DATABASE])


def stored(world: World) -> tuple[str, str]:
    """(the login, the database's password) that are stored."""
    return login_of(world.engine.load_secrets()), world.engine.load_secrets().postgresql_password


@both
def test_no_version_changes_and_later_ones_use_the_new_secret(deployed: World, kind: RotationKind) -> None:
    deployed.n8n("1.101.0")
    before, versions = stored(deployed), deployed.state().versions
    result = deployed.rotate(kind)
    assert (result.success, result.exit_code, result.version) == (True, 0, 2)
    assert "backups" in result.still_opens
    after = stored(deployed)
    assert [old != new for old, new in zip(before, after, strict=True)] == [kind == SSH, kind == DATABASE]
    assert deployed.machine.authorized == {after[0]} and deployed.machine.password == after[1]
    assert deployed.state().versions == versions and not deployed.state().unsettled
    lease = deployed.machine.lease
    assert lease is not None and (lease["kind"], lease["state"], lease["changed"]) == (kind, "released", True)
    [written] = [one for one in deployed.journal.read() if one.kind == kind]
    assert written.success and written.number == 2
    assert deployed.machine.journal[-1]["kind"] == kind, "and beside the data"
    assert deployed.rollback().success and deployed.n8n("1.107.0").success
    assert stored(deployed) == after and deployed.machine.password == after[1]
    assert deployed.inspect().status == "healthy"


def test_the_login_is_tried_before_it_is_stored_and_the_old_one_goes_last(deployed: World) -> None:
    deployed.rotate(SSH)
    acts = [call for call in deployed.calls if call.startswith(("host.auth", "host.lease", "engine.rotate"))]
    assert acts == ["host.authorize", "host.lease", "engine.rotate_secrets", "host.authorize", "host.lease"]


def test_the_change_is_noted_beside_the_data_before_another_password_is_stored(deployed: World) -> None:
    deployed.rotate(DATABASE)
    acts = [call for call in deployed.calls if call.startswith(("host.pass", "host.ap", "host.gate", "engine.rotate"))]
    assert acts == ["host.password", "engine.rotate_secrets", "host.apply", "host.gate"]


@both
@pytest.mark.parametrize("call", ["engine.rotate_secrets", "engine.record_config"])
def test_what_cannot_be_stored_is_told_and_the_old_one_holds(deployed: World, kind: RotationKind, call: str) -> None:
    before = stored(deployed)
    deployed.fail_at(call, EngineError("no space"))
    result = deployed.rotate(kind)
    assert (result.success, result.exit_code) == (False, 4)
    assert result.error_message is not None and "no space" in result.error_message
    assert "is the one that is stored, and it holds as before" in result.error_message
    assert stored(deployed) == before and before[0] in deployed.machine.authorized
    assert deployed.n8n("1.101.0").success
    again = "ssh" if kind == SSH else "database"
    assert f"`geusemaker secrets rotate {again} prod`" in result.next_step
    assert deployed.rotate(kind).success
    assert deployed.machine.authorized == {stored(deployed)[0]}, "what the first one let in is gone as well"


def test_a_key_that_does_not_log_in_is_not_stored(deployed: World) -> None:
    before = stored(deployed)
    deployed.fail_at("host.lease", HostError("refused", code="auth_failed"))
    assert deployed.rotate(SSH).exit_code == 4
    assert stored(deployed) == before


def test_an_old_key_that_still_logs_in_is_told(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file than authorized_keys may let it in."""
    monkeypatch.setattr(FakeMachine, "lets_in", lambda self, key: True)
    result = deployed.rotate(SSH)
    assert result.exit_code == 4
    assert result.error_message is not None and "still logs in" in result.error_message
    assert "The new key is stored and logs in" in result.error_message


def test_services_that_do_not_come_up_are_told_and_nothing_is_taken_back(deployed: World) -> None:
    deployed.machine.ill = {"qdrant"}
    result = deployed.rotate(DATABASE)
    assert (result.exit_code, result.changes) == (4, ["database password: changed"])
    assert result.error_message is not None and "Not healthy: qdrant" in result.error_message
    assert deployed.machine.password == stored(deployed)[1]


@both
def test_one_that_was_killed_is_told_and_finished_by_the_same_again(deployed: World, kind: RotationKind) -> None:
    word = "ssh" if kind == SSH else "database"
    deployed.fail_at("engine.set_intent:done", Killed())
    with pytest.raises(Killed):
        deployed.rotate(kind)
    found = deployed.inspect()
    assert found.status == "interrupted" and f"`geusemaker secrets rotate {word} prod` again" in found.summary
    with pytest.raises(RefusedError) as refused:
        deployed.n8n("1.101.0")
    assert f"`geusemaker secrets rotate {word} prod`" in refused.value.next_step
    other = DATABASE if kind == SSH else SSH
    with pytest.raises(RefusedError, match="was killed or failed"):
        deployed.rotate(other)
    recovered = copy.deepcopy(deployed)
    assert recovered.recover().success and recovered.rotate(other).success
    assert deployed.rotate(kind).success and deployed.n8n("1.101.0").success


def test_interrupted_it_says_which_one_holds(deployed: World) -> None:
    deployed.fail_at("host.gate", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as stopped:
        deployed.rotate(DATABASE)
    assert "The new password is stored" in stopped.value.state
    assert "secrets rotate database prod" in stopped.value.next_step
    assert "host.cancel" in deployed.calls


@both
def test_declined_or_held_nothing_is_done(deployed: World, kind: RotationKind) -> None:
    before = stored(deployed)
    with pytest.raises(DeclinedError):
        deployed.rotate(kind, confirm=lambda text: False)
    assert deployed.machine.lease is not None
    deployed.machine.lease |= {"state": "held", "operation": "op-other", "owner": {"host": "other", "pid": 1}}
    with pytest.raises(DeploymentBusyError):
        deployed.rotate(kind)
    assert stored(deployed) == before and deployed.machine.authorized == {before[0]}
    assert not deployed.machine.password_changes


@both
def test_where_nothing_runs_there_is_nothing_to_tell(deployed: World, kind: RotationKind) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    with pytest.raises(RefusedError, match="is stopped, and it has to learn the new"):
        deployed.rotate(kind)
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "running"})
    deployed.destroy()
    with pytest.raises(RefusedError, match="is not deployed"):
        deployed.rotate(kind)


def test_a_database_that_rests_or_is_none_takes_no_password(deployed: World, world: World) -> None:
    deployed.stop("postgresql")
    with pytest.raises(RefusedError, match="is stopped on purpose") as refused:
        deployed.rotate(DATABASE)
    assert "`geusemaker start prod postgresql`" in refused.value.next_step
    assert deployed.rotate(SSH).success, "nor does that stand in the way of anything else"


def test_without_a_database_there_is_none(world: World) -> None:
    world.deploy(DeployRequest(services=("qdrant",)))
    with pytest.raises(RefusedError, match="has no database"):
        world.rotate(DATABASE)


def test_a_plan_that_was_made_before_does_not_hold(deployed: World) -> None:
    """It would put the old password onto the instance."""

    def meanwhile(plan: object) -> bool:
        assert deployed.rotate(DATABASE).success
        return True

    with pytest.raises(RefusedError, match="changed by somebody else"):
        deployed.update(meanwhile, images={"n8n": "n8nio/n8n:1.101.0"})
    assert deployed.machine.password == stored(deployed)[1]


@both
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), EngineError("no"), KeyboardInterrupt()])
def test_one_without_an_intent_changes_nothing_and_says_so(
    deployed: World, kind: RotationKind, error: BaseException
) -> None:
    before = stored(deployed)
    deployed.fail_at("engine.set_intent:begun", error)
    with pytest.raises(GeusemakerError) as refused:
        deployed.rotate(kind)
    assert refused.value.state == "Nothing was changed." and stored(deployed) == before
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    intent = deployed.state().intent
    assert intent is not None and intent.outcome == "abandoned" and deployed.inspect().status == "healthy"


@both
def test_a_change_given_up_after_a_rotation_has_lost_nothing(deployed: World, kind: RotationKind) -> None:
    assert deployed.rotate(kind).success
    deployed.host_failures["prefetch"] = HostError("no", code="pull_failed")
    with pytest.raises(HostError):
        deployed.n8n("1.101.0")
    deployed.host_failures.clear()
    assert deployed.inspect().status == "healthy" and deployed.n8n("1.101.0").success
