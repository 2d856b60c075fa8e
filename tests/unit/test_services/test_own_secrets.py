"""Secrets as the operator sees and sets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from geusemaker.errors import (
    DeclinedError,
    DeploymentNotFoundError,
    EngineError,
    HostError,
    InvalidInputError,
    PlanRefusedError,
    RefusedError,
)
from geusemaker.models.plan import Plan
from geusemaker.models.secrets import GENERATED, NOBODY, NOTIFY, SecretEntry
from geusemaker.models.version import RotationKind
from geusemaker.services.operation import Operation
from geusemaker.services.own_secrets import OwnSecretsService
from tests.unit.fakes import BREAKS, World

VALUE, OTHER = "a value of smtp", "another value"


def entries(world: World) -> dict[str, SecretEntry]:
    found = OwnSecretsService(world.collaborators()).list()
    assert world.engine.secrets is not None
    assert not [text for text in world.engine.secrets.texts if text in found.model_dump_json()]
    return {one.name: one for one in found.secrets}


def value(world: World, name: str) -> str:
    return OwnSecretsService(world.collaborators()).value(name).get_secret_value()


def test_generated_ones_tell_what_they_are_for_and_since_when(deployed: World) -> None:
    found = entries(deployed)
    assert found.keys() == set(GENERATED) and {one.kind for one in found.values()} == {"generated"}
    assert found["postgresql_password"].used_by == ["postgresql.POSTGRES_PASSWORD", "n8n.DB_POSTGRESDB_PASSWORD"] or (
        sorted(found["postgresql_password"].used_by) == ["n8n.DB_POSTGRESDB_PASSWORD", "postgresql.POSTGRES_PASSWORD"]
    )
    assert found["ssh_private_key"].used_by == ["the login on the instance"]
    made = {one.set_at for one in found.values()}
    assert len(made) == 1 and None not in made

    deployed.rotate("rotate-database")
    after = entries(deployed)["postgresql_password"]
    assert after.set_by == "ann" and after.set_at not in made

    deployed.records.records.clear()  # as on another machine, whose journal does not tell of it
    elsewhere = entries(deployed)
    assert elsewhere["postgresql_password"].set_at is None and elsewhere["crawl4ai_token"].set_at in made


def test_one_that_nothing_has_is_stored_and_makes_no_version(deployed: World) -> None:
    result = deployed.set_secret("smtp", VALUE, reason="for the mailer")

    assert result.success and result.kind == "set-secret" and result.changes == ["secret smtp: set"]
    assert "--secret-env SERVICE.KEY=secret:smtp" in result.next_step
    assert "engine.up" not in deployed.calls and len(deployed.state().versions) == 1
    one = entries(deployed)["smtp"]
    assert (one.kind, one.used_by, one.set_by) == ("given", [], "ann") and one.set_at is not None
    assert value(deployed, "smtp") == VALUE
    [record] = [record for record in deployed.records.records if record.kind == "set-secret"]
    assert record.reason == "for the mailer" and VALUE not in record.model_dump_json()
    assert not deployed.state().unsettled and deployed.machine.held_by().state == "released"  # type: ignore[union-attr]
    assert deployed.set_secret("smtp", VALUE).changes == []


def test_one_that_a_variable_has_is_an_update(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    deployed.update(secret_environment={"n8n": {"SMTP_PASS": "smtp"}})
    result = deployed.set_secret("smtp", OTHER)

    assert result.kind == "update" and result.version == 3
    assert deployed.machine.definitions["n8n"][1]["SMTP_PASS"] == OTHER
    assert entries(deployed)["smtp"].used_by == ["n8n.SMTP_PASS"]
    failed = deployed.set_secret("smtp", BREAKS)
    assert failed.exit_code == 3 and deployed.machine.definitions["n8n"][1]["SMTP_PASS"] == OTHER


def test_the_instance_learns_at_once_who_is_told(deployed: World) -> None:
    result = deployed.set_secret(NOTIFY, "https://example.com/hook\n")
    assert deployed.machine.watch == {"addresses": ["https://example.com/hook"], "domains": None}
    assert "so does the instance" in result.next_step and "engine.up" not in deployed.calls
    deployed.set_secret(NOTIFY, NOBODY)
    assert deployed.machine.watch is None


def test_an_instance_that_cannot_be_told_keeps_nobody_from_being_set(deployed: World) -> None:
    deployed.host_failures["notify"] = HostError("It hung.", code="timeout")
    assert deployed.set_secret(NOTIFY, "https://example.com/hook").success
    assert [event.message for event in deployed.events if "with the next change" in event.message]
    assert value(deployed, NOTIFY) == "https://example.com/hook"


def test_a_dry_run_changes_nothing(deployed: World) -> None:
    assert deployed.set_secret("smtp", VALUE, dry_run=True).dry_run
    assert "smtp" not in entries(deployed)


@pytest.mark.parametrize("name", [*GENERATED, "no name", "-x", "x" * 200, ""])
def test_names_that_are_not_the_operators(deployed: World, name: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        deployed.set_secret(name, VALUE)
    assert VALUE not in str(refused.value) and "host.begin" not in deployed.calls


def test_for_a_generated_one_it_says_what_to_do_instead(deployed: World) -> None:
    with pytest.raises(InvalidInputError) as refused:
        deployed.set_secret("postgresql_password", VALUE)
    assert "`geusemaker secrets rotate database prod`" in refused.value.next_step


def test_there_has_to_be_a_deployment(world: World) -> None:
    with pytest.raises(DeploymentNotFoundError):
        world.set_secret("smtp", VALUE)
    world.deploy()
    world.destroy()
    with pytest.raises(RefusedError, match="is not deployed"):
        world.set_secret("smtp", VALUE)


def test_what_could_not_be_stored_is_told(deployed: World) -> None:
    deployed.fail_at("engine.record_config", EngineError("no space"))
    with pytest.raises(Exception, match="could not be stored: no space") as failed:
        deployed.set_secret("smtp", VALUE)
    assert "not known" in failed.value.state and not deployed.state().unsettled  # type: ignore[attr-defined]
    assert deployed.set_secret("smtp", VALUE).success


def test_there_is_no_such_secret(deployed: World) -> None:
    with pytest.raises(InvalidInputError, match="has no secret 'smtp'; it has ssh_private_key"):
        OwnSecretsService(deployed.collaborators()).value("smtp")


def test_an_update_takes_values_of_stored_ones_as_they_are(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    names, values = {"n8n": {"SMTP_PASS": "smtp"}}, {"smtp": SecretStr(VALUE)}
    assert deployed.update(secret_environment=names, secret_values=values).success
    active = deployed.state().active
    assert active is not None and active.provenance.set_secrets == ()


def test_a_secret_that_the_backend_has_lost_is_set_again_and_the_way_on_is_free(deployed: World) -> None:
    """The backend was restored from a backup that is older than the version, and than its secret."""
    backup = (list(deployed.engine.entries), deployed.engine.secrets, deployed.engine.stack_file)
    names, values = {"n8n": {"SMTP_PASS": "smtp"}}, {"smtp": SecretStr(VALUE)}
    assert deployed.update(secret_environment=names, secret_values=values).success
    intent = deployed.engine.intent_tag
    deployed.engine.entries, deployed.engine.secrets, deployed.engine.stack_file = backup
    deployed.engine.intent_tag = ""
    assert intent

    with pytest.raises(RefusedError, match=r"has no secret smtp, which n8n\.SMTP_PASS is to have") as refused:
        deployed.recover()
    assert "`geusemaker secrets set prod smtp`" in refused.value.next_step
    assert deployed.set_secret("smtp", VALUE).success
    assert deployed.recover().success
    active = deployed.state().active
    assert active is not None and active.number == 2 and deployed.machine.definitions["n8n"][1]["SMTP_PASS"] == VALUE


def test_what_another_machine_has_set_since_the_plan_is_not_lost(deployed: World) -> None:
    """A plan carries the secrets as they were when it was made, encrypted."""

    def yes(plan: Plan) -> bool:
        return deployed.set_secret("smtp", VALUE).success

    with pytest.raises(PlanRefusedError, match="not any more what they were"):
        deployed.n8n("1.101.0", confirm=yes)
    assert value(deployed, "smtp") == VALUE
    assert deployed.n8n("1.101.0").success and value(deployed, "smtp") == VALUE


@pytest.mark.parametrize("kind", ["rotate-ssh", "rotate-database"])
def test_nor_what_it_has_set_since_a_rotation_began(deployed: World, kind: RotationKind) -> None:
    with pytest.raises(RefusedError, match="changed by somebody else meanwhile"):
        deployed.rotate(kind, lambda text: deployed.set_secret("smtp", VALUE).success)
    assert value(deployed, "smtp") == VALUE
    assert deployed.rotate(kind).success and value(deployed, "smtp") == VALUE


def test_nor_what_it_has_set_since_another_one_was_read(deployed: World) -> None:
    once = iter([True])
    take = Operation.take_lease

    def late(self: Operation, *words: Any, **more: Any) -> None:
        if next(once, False):
            deployed.set_secret("other", OTHER)
        take(self, *words, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Operation, "take_lease", late)
        with pytest.raises(RefusedError, match="changed by somebody else meanwhile"):
            deployed.set_secret("smtp", VALUE)
    assert value(deployed, "other") == OTHER and deployed.set_secret("smtp", VALUE).success
    assert value(deployed, "other") == OTHER


def test_one_that_nothing_has_is_deleted(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    deployed.set_secret("smtp", OTHER)
    asked: list[str] = []

    def yes(text: str) -> bool:
        asked.append(text)
        return True

    result = deployed.delete_secret("smtp", yes, reason="moved")

    assert asked == ["smtp is deleted from prod's secrets, and its value with it; nothing restarts."]
    assert (result.kind, result.changes) == ("delete-secret", ["secret smtp: deleted"])
    assert "smtp" not in entries(deployed) and len(deployed.state().versions) == 1
    assert deployed.engine.secrets is not None and VALUE not in deployed.engine.secrets.to_json()
    record = deployed.records.records[-1]
    assert (record.kind, record.reason, record.success) == ("delete-secret", "moved", True)
    assert not deployed.state().unsettled and deployed.machine.held_by().state == "released"  # type: ignore[union-attr]
    with pytest.raises(InvalidInputError, match="has no secret 'smtp' of yours"):
        deployed.delete_secret("smtp")


def test_one_that_a_kept_version_has_stays(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    deployed.update(secret_environment={"n8n": {"SMTP_PASS": "smtp"}})
    deployed.n8n("1.101.0")
    with pytest.raises(RefusedError, match=r"have it: v2 \(n8n\.SMTP_PASS\); v3 \(n8n\.SMTP_PASS\)") as refused:
        deployed.delete_secret("smtp")
    assert "`geusemaker update prod --secret-env n8n.SMTP_PASS=`" in refused.value.next_step
    deployed.update(secret_environment={"n8n": {"SMTP_PASS": ""}})
    with pytest.raises(RefusedError, match=r"v2 .*; v3 ") as refused:
        deployed.delete_secret("smtp")
    assert "when those are archived" in refused.value.next_step and value(deployed, "smtp") == VALUE

    for number in range(102, 107):
        deployed.n8n(f"1.{number}.0")
    assert deployed.delete_secret("smtp").success
    with pytest.raises(RefusedError, match="has no secret smtp"):  # an archived one says so
        deployed.rollback(to_version=3, allow_archived=True)


def test_one_that_a_version_may_have_which_cannot_be_read_stays(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    deployed.n8n("1.101.0")
    deployed.n8n("1.102.0")
    _, entry = [one for one in deployed.engine.entries if one["kind"] == "update" and one["provenance"]][:2]
    entry["deployment"] = json.dumps({**json.loads(entry["deployment"]), "a_field_of_later": True})
    with pytest.raises(RefusedError, match="cannot be read by this geusemaker, and may have smtp"):
        deployed.delete_secret("smtp")


def test_a_generated_one_is_never_deleted(deployed: World) -> None:
    with pytest.raises(InvalidInputError, match="was generated, and is never deleted"):
        deployed.delete_secret("crawl4ai_token")


def test_nothing_goes_that_was_not_agreed_to(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    with pytest.raises(DeclinedError):
        deployed.delete_secret("smtp", lambda text: False)
    assert deployed.delete_secret("smtp", lambda text: False, dry_run=True).dry_run
    assert value(deployed, "smtp") == VALUE


def test_one_that_was_given_to_a_variable_meanwhile_stays(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)

    def late(text: str) -> bool:
        return deployed.update(secret_environment={"n8n": {"SMTP_PASS": "smtp"}}).success

    with pytest.raises(RefusedError, match=r"v2 \(n8n\.SMTP_PASS\)"):
        deployed.delete_secret("smtp", late)
    assert value(deployed, "smtp") == VALUE and not deployed.state().unsettled


def test_after_a_change_that_failed_it_is_recovered_first(deployed: World) -> None:
    deployed.set_secret("smtp", VALUE)
    deployed.engine.outcomes.append("deadline-kill")
    assert deployed.n8n("1.101.0", auto_rollback=False).exit_code == 4
    with pytest.raises(RefusedError, match="killed or failed"):
        deployed.delete_secret("smtp")


def test_the_instance_learns_that_nobody_is_told(deployed: World) -> None:
    deployed.set_secret(NOTIFY, "https://example.com/hook")
    assert deployed.delete_secret(NOTIFY, lambda text: "nobody is told" in text).success
    assert deployed.machine.watch is None
