"""Variables with secret values, over updates and ways back: versions have their names, the deployment has values."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from geusemaker.errors import DeclinedError, GeusemakerError, InvalidInputError, RefusedError
from geusemaker.models.request import DeployRequest
from geusemaker.models.result import OperationResult
from tests.unit.fakes import BREAKS, Killed, Shown, World, no

NAME = "n8n.SMTP_PASS"
FIRST, SECOND = "the first value", "the second value"


def give(world: World, value: str = FIRST, variable: str = "SMTP_PASS", **more: Any) -> OperationResult:
    """As `update --secret-env n8n.VARIABLE=…` does it."""
    name = f"n8n.{variable}"
    return world.update(secret_environment={"n8n": {variable: name}}, secret_values={name: SecretStr(value)}, **more)


def value(world: World, variable: str = "SMTP_PASS") -> str | None:
    """What n8n's container has."""
    _, environment = world.machine.definitions["n8n"]
    found: str | None = (environment or {}).get(variable)
    return found


def said(world: World, *results: OperationResult) -> str:
    """All that was told to anybody or written down."""
    entries = [str(entry) for entry in world.engine.entries]
    records = [record.model_dump_json() for record in world.records.records]
    events = [event.model_dump_json() for event in world.events]
    return "\n".join([*entries, *records, *events, *(one.model_dump_json() for one in results)])


def test_it_comes_into_the_services_environment_and_nowhere_else(deployed: World) -> None:
    plans = Shown()
    result = give(deployed, confirm=plans)

    assert result.success and value(deployed) == FIRST
    [plan] = plans.plans
    assert [str(change) for change in plan.changes] == ["n8n.secret_env.SMTP_PASS: (none) -> (secret)"]
    assert plan.replaced == ("n8n",)
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].secret_environment == {"SMTP_PASS": NAME}
    assert active.provenance.set_secrets == (NAME,)
    assert FIRST not in said(deployed, result) + plan.model_dump_json()
    definition, _ = deployed.machine.definitions["n8n"]
    assert FIRST not in str(definition) and definition["env_file"] == ["./n8n.env"]


def test_it_can_be_there_from_the_first_deploy_on(world: World) -> None:
    values = {NAME: SecretStr(FIRST)}
    request = DeployRequest(secret_environment={"n8n": {"SMTP_PASS": NAME}}, secret_values=values)
    result = world.deploy(request)
    assert result.success and value(world) == FIRST and FIRST not in said(world, result)


def test_a_declined_one_leaves_nothing(deployed: World) -> None:
    with pytest.raises(DeclinedError):
        give(deployed, confirm=no)
    assert deployed.engine.secrets is not None and not deployed.engine.secrets.own


def test_another_value_alone_makes_a_version_of_the_same_config(deployed: World) -> None:
    give(deployed)
    plans = Shown()
    result = give(deployed, SECOND, confirm=plans)

    assert result.version == 3 and value(deployed) == SECOND
    assert [str(change) for change in plans.plans[0].changes] == [
        "n8n.secret_env.SMTP_PASS: (secret) -> (secret), changed"
    ]
    assert plans.plans[0].replaced == ("n8n",)
    second, third = deployed.state().versions[1:]
    assert second.config == third.config and third.provenance.set_secrets == (NAME,)


def test_the_same_value_again_is_no_change(deployed: World) -> None:
    give(deployed)
    result = give(deployed)
    assert result.success and result.version == 2 and "engine.up" not in deployed.calls


def test_a_rollback_keeps_todays_value(deployed: World) -> None:
    give(deployed)
    deployed.n8n("1.101.0")
    give(deployed, SECOND)

    result = deployed.rollback()

    assert result.success and value(deployed) == SECOND
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].image.tag == "1.100.1"


def test_a_variable_that_was_not_there_then_goes_and_comes_back_with_todays_value(deployed: World) -> None:
    give(deployed)
    deployed.rollback(to_version=1)
    assert value(deployed) is None
    deployed.rollback(to_version=2)
    assert value(deployed) == FIRST


def test_what_was_taken_out_comes_back_with_the_last_value(deployed: World) -> None:
    give(deployed)
    give(deployed, SECOND)
    deployed.update(secret_environment={"n8n": {"SMTP_PASS": ""}})
    assert value(deployed) is None
    deployed.rollback(to_version=2)
    assert value(deployed) == SECOND


def test_a_value_that_fails_goes_back_with_the_change_and_speaks_against_no_version(deployed: World) -> None:
    give(deployed)
    result = give(deployed, BREAKS)

    assert result.exit_code == 3 and result.rolled_back_to == 2 and value(deployed) == FIRST
    state = deployed.state()
    assert state.active is not None and state.active.failed_as is None and not state.unsettled
    assert BREAKS not in said(deployed, result) and FIRST not in said(deployed, result)
    # What has failed is over: a rollback that comes later takes nothing back any more.
    give(deployed, SECOND)
    deployed.rollback(to_version=1)
    deployed.rollback(to_version=2)
    assert value(deployed) == SECOND


@pytest.mark.parametrize("verb", ["rollback", "recover"])
def test_a_value_that_fails_and_stays_goes_with_the_next_way_back(deployed: World, verb: str) -> None:
    give(deployed)
    result = give(deployed, BREAKS, auto_rollback=False)
    assert result.exit_code == 4 and deployed.machine.state_of("n8n") == "exited"

    again = deployed.rollback() if verb == "rollback" else deployed.recover()

    assert again.success and value(deployed) == FIRST


def test_a_value_that_came_with_a_killed_change_never_held(deployed: World) -> None:
    give(deployed)
    deployed.kill_at = "up.gate"
    with pytest.raises(Killed):
        give(deployed, SECOND)
    deployed.recover()
    assert value(deployed) == FIRST


def test_a_mended_value_after_one_that_failed(deployed: World) -> None:
    give(deployed)
    give(deployed, BREAKS, auto_rollback=False)
    assert give(deployed, SECOND).success and value(deployed) == SECOND
    deployed.n8n("1.101.0-unhealthy")
    assert value(deployed) == SECOND


def test_a_generated_secret_can_be_referred_to(deployed: World) -> None:
    deployed.update(secret_environment={"crawl4ai": {"DATABASE_PASSWORD": "postgresql_password"}})
    _, environment = deployed.machine.definitions["crawl4ai"]
    assert environment["DATABASE_PASSWORD"] == deployed.machine.password


@pytest.mark.parametrize("key", ["ssh_private_key", "host_private_key"])
def test_the_keys_of_the_machine_are_nobodys_variable(deployed: World, key: str) -> None:
    with pytest.raises(InvalidInputError):
        deployed.update(secret_environment={"n8n": {"KEY": key}})


def test_what_is_not_there_cannot_be_referred_to(deployed: World) -> None:
    with pytest.raises(RefusedError) as refused:
        deployed.update(secret_environment={"n8n": {"SMTP_PASS": "smtp"}})
    assert "`geusemaker secrets set prod smtp`" in refused.value.next_step
    assert "engine.up" not in deployed.calls


@pytest.mark.parametrize("variable", ["N8N_ENCRYPTION_KEY", "DB_POSTGRESDB_HOST", "TZ", "N8N_PATH", "N8N_PORT_FILE"])
def test_variables_that_cannot_be_secret(deployed: World, variable: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        give(deployed, variable=variable)
    assert FIRST not in str(refused.value)


@pytest.mark.parametrize("wrong", ["short", "a\0zero byte", "half a \ud800 character", "x" * 40_000])
def test_values_that_cannot_be_kept(deployed: World, wrong: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        give(deployed, wrong)
    assert wrong not in str(refused.value)


def test_a_variable_is_plain_or_secret(deployed: World) -> None:
    deployed.update(environment={"n8n": {"SMTP_PASS": "in the history"}})
    with pytest.raises(InvalidInputError) as refused:
        give(deployed)
    assert "--env n8n.SMTP_PASS=" in refused.value.next_step

    assert give(deployed, environment={"n8n": {"SMTP_PASS": ""}}).success
    with pytest.raises(InvalidInputError):
        deployed.update(environment={"n8n": {"SMTP_PASS": "in the history"}})
    assert value(deployed) == FIRST


def test_a_value_that_nothing_refers_to_is_refused(deployed: World) -> None:
    with pytest.raises(InvalidInputError):
        deployed.update(secret_values={"smtp": SecretStr(FIRST)})


def test_a_service_that_comes_back_has_its_secret_variables(deployed: World) -> None:
    values = {"crawl4ai.LLM_KEY": SecretStr(FIRST)}
    deployed.update(secret_environment={"crawl4ai": {"LLM_KEY": "crawl4ai.LLM_KEY"}}, secret_values=values)
    deployed.update(without=("crawl4ai",))
    deployed.update(services=("crawl4ai",))
    assert deployed.machine.definitions["crawl4ai"][1]["LLM_KEY"] == FIRST


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    # Begun as no word of ours is: Hypothesis tries words of the sources, of which answers are full.
    text=st.text(
        min_size=7, max_size=39, alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    ).map("¤{}".format),
    way=st.sampled_from(["done", "fails", "killed", "declined", "set"]),
)
def test_whatever_the_value_is_and_becomes_of_it_nothing_says_it(deployed: World, text: str, way: str) -> None:
    world = copy.deepcopy(deployed)
    plans = Shown()
    outcome: Any = None
    try:
        if way == "set":
            outcome = world.set_secret("smtp", text)
        elif way == "killed":
            world.kill_at = "up.gate"
            outcome = give(world, text, confirm=plans)
        else:
            image: dict[str, Any] = {"images": {"n8n": "n8nio/n8n:1.102.0-crash"}} if way == "fails" else {}
            outcome = give(world, text, confirm=no if way == "declined" else plans, **image)
    except (Killed, GeusemakerError) as error:
        outcome = error
    told = outcome.model_dump_json() if isinstance(outcome, OperationResult) else str(outcome)
    heard = [said(world), told, *(plan.model_dump_json() for plan in plans.plans)]
    assert [form for form in (text, json.dumps(text)[1:-1]) for one in heard if form in one] == []
