"""RotateService: another passphrase, and everything else as it was."""

from __future__ import annotations

import pytest

from geusemaker.errors import DeclinedError, DeploymentBusyError, EngineError, RefusedError, WorkspaceError
from geusemaker.models.history import LockOwner
from geusemaker.models.result import RotationResult
from geusemaker.services.rotate import RotateService
from tests.unit.fakes import HOST_NAME, Killed, World


def rotate(world: World, done: list[str], confirmed: bool = True) -> RotationResult:
    def confirm(text: str) -> bool:
        done.append("confirm")
        assert "prod" in text and "new passphrase" in text
        return confirmed

    service = RotateService(world.collaborators())
    return service.passphrase("passphrase", "new", confirm, lambda: done.append("begin"), lambda: done.append("keep"))


def test_what_runs_and_every_version_stay(deployed: World) -> None:
    deployed.update(environment={"n8n": {"A": "1"}})
    before, applied = deployed.state().versions, list(deployed.machine.applied)
    done: list[str] = []
    result = rotate(deployed, done)
    assert done == ["confirm", "begin", "keep"]
    assert "older entries of the history" in result.still_opens and "backups" in result.still_opens
    assert deployed.state().versions == before and deployed.machine.applied == applied
    lease = deployed.machine.lease
    assert lease is not None and (lease["kind"], lease["state"]) == ("rotate-passphrase", "released")
    [*_, record] = deployed.records.records
    assert (record.kind, record.success, record.number) == ("rotate-passphrase", True, 2)
    assert record.changes == ["secrets: encrypted with a new passphrase"] and "new" not in record.operation_id
    assert deployed.update(environment={"n8n": {"A": "2"}}).success, (
        "the lease is another operation's, that changed nothing"
    )


def test_nothing_is_encrypted_before_the_secrets_were_decrypted_and_the_yes(deployed: World) -> None:
    done: list[str] = []
    with pytest.raises(DeclinedError):
        rotate(deployed, done, confirmed=False)
    assert done == ["confirm"]
    deployed.engine.secrets = None
    done.clear()
    with pytest.raises(WorkspaceError):
        rotate(deployed, done)
    assert done == []


def test_another_operation_is_respected(deployed: World) -> None:
    assert deployed.machine.lease is not None
    deployed.machine.lease |= {"state": "held", "operation": "op-other", "owner": {"host": "other", "pid": 1}}
    done: list[str] = []
    with pytest.raises(DeploymentBusyError):
        rotate(deployed, done)
    assert done == ["confirm"]


def test_an_interrupted_one_has_to_be_recovered_first(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.update(environment={"n8n": {"A": "1"}})
    deployed.kill_at = ""
    with pytest.raises(RefusedError, match="killed before it was done"):
        rotate(deployed, [])


@pytest.mark.parametrize(
    ("error", "why"), [(WorkspaceError("no such key"), "no such key"), (KeyboardInterrupt(), "interrupted")]
)
def test_one_that_fails_is_on_record_as_that_and_holds_nothing(deployed: World, error: BaseException, why: str) -> None:
    before = deployed.engine.intent_tag
    deployed.fail_at("engine.change_key", error)
    done: list[str] = []
    with pytest.raises(type(error)):
        rotate(deployed, done)
    assert done == ["confirm", "begin"]
    [*_, record] = deployed.records.records
    assert (record.success, record.error_message) == (False, why)
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert deployed.engine.intent_tag == before and not deployed.state().unsettled


def test_one_that_was_killed_hinders_neither_itself_nor_a_change(deployed: World) -> None:
    deployed.fail_at("engine.change_key", Killed())
    with pytest.raises(Killed):
        rotate(deployed, [])
    found = deployed.inspect()
    assert found.status == "healthy" and "A rotation of the passphrase by ann was killed" in found.summary
    assert rotate(deployed, []).deployment == "prod"
    assert "was killed" not in deployed.inspect().summary and deployed.n8n("1.101.0").success


def test_secrets_that_are_not_the_same_afterwards_are_an_error(deployed: World) -> None:
    def keep() -> None:
        assert deployed.engine.secrets is not None
        deployed.engine.secrets = deployed.engine.secrets.model_copy(update={"crawl4ai_token": "another"})

    service = RotateService(deployed.collaborators())
    with pytest.raises(WorkspaceError, match="not the same"):
        service.passphrase("passphrase", "new", lambda text: True, lambda: None, keep)
    assert not deployed.records.records[-1].success


def test_a_history_that_cannot_be_written_is_a_warning(deployed: World) -> None:
    deployed.fail_at("engine.record_config", EngineError("no space"))
    done: list[str] = []
    rotate(deployed, done)
    assert done[-1] == "keep"


def test_a_destroyed_one_has_nothing_to_encrypt_anew(deployed: World) -> None:
    deployed.destroy()
    with pytest.raises(RefusedError, match="is not deployed"):
        rotate(deployed, [])


def test_a_dead_engines_lock_goes_after_the_yes_and_in_the_right_account_only(deployed: World) -> None:
    deployed.engine.lock = LockOwner(pid=99, user="ann", host=HOST_NAME, since="2025-01-21T02:00:00Z", lives=False)
    done: list[str] = []
    with pytest.raises(DeclinedError):
        rotate(deployed, done, confirmed=False)
    assert deployed.engine.lock is not None, "nothing is changed before the yes"
    own, deployed.cloud.account_id = deployed.cloud.account_id, "999999999999"
    done.clear()
    with pytest.raises(RefusedError, match="999999999999"):
        rotate(deployed, done)
    assert done == [] and deployed.engine.lock is not None
    deployed.cloud.account_id = own
    rotate(deployed, done)
    assert done == ["confirm", "begin", "keep"] and deployed.engine.lock is None
