"""What models promise of themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from geusemaker.cli.words import as_known_error
from geusemaker.errors import ChangeFailedError, GeusemakerError, HostError
from geusemaker.models.base import Model
from geusemaker.models.history import HistoryEntry, Intent, short_host, utc_now
from geusemaker.models.plan import CheckResult, ConfigChange, Plan, ResourceOperation
from geusemaker.models.stack import DEPLOYMENT_NAME, Secrets, StackConfig
from tests.unit.samples import NIGHT, config, intent, provenance, state, version
from tests.unit.samples import target as where


def test_a_config_comes_back_as_it_was_stored() -> None:
    assert StackConfig.model_validate(config().to_json()) == config()


def test_how_an_instance_is_bought_is_stored_only_where_it_is_not_on_demand() -> None:
    plain = config().to_json()
    assert "purchase" not in plain and not {"on_interruption", "bake_seconds"} & plain["rollback"].keys()
    spot = StackConfig.model_validate(
        {**plain, "purchase": "spot", "rollback": {**plain["rollback"], "on_interruption": "on-demand"}}
    )
    assert spot.to_json()["purchase"] == "spot" and spot.to_json()["rollback"]["on_interruption"] == "on-demand"
    assert StackConfig.model_validate(spot.to_json()) == spot


@pytest.mark.parametrize(
    "document",
    [
        {"services": {}},
        {"services": {"n8n": {"image": "n8nio/n8n:1"}}},
        {"services": {"qdrant": {"image": "q:1"}}, "instance_type": "T3.LARGE"},
        {"services": {"qdrant": {"image": "q:1"}}, "unknown": 1},
        {"services": {"redis": {"image": "r:1"}}},
        {"services": {"qdrant": {"image": "q:1"}}, "root_volume_gib": 10},
        {"services": {"qdrant": {"image": "q:1"}}, "rollback": {"deadline_minutes": 4}},
        {"services": {"qdrant": {"image": "q:1"}}, "rollback": {"retention": 51}},
        {"services": {"qdrant": {"image": "q:1"}}, "health": {"deadline_seconds": 4}},
        {"services": {"qdrant": {"image": "q:1", "environment": {"1A": "x"}}}},
        {"services": {"qdrant": {"image": "q:1"}}, "schema_version": 2},
    ],
)
def test_configs_that_cannot_be(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StackConfig.model_validate(document)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        config().ami = "other"


def test_secrets_are_not_shown() -> None:
    secrets = Secrets(
        ssh_private_key="hush",
        host_private_key="hush",
        postgresql_password="hush",
        n8n_encryption_key="hush",
        crawl4ai_token="hush",
    )
    assert "hush" not in f"{secrets} {secrets!r}"


@pytest.mark.parametrize("name", ["a", "prod", "my-dev-stack", "a1", "x" * 40])
def test_names(name: str) -> None:
    assert DEPLOYMENT_NAME.fullmatch(name)


# --- history -----------------------------------------------------------------------------------------------------


def read(**texts: str | None) -> HistoryEntry:
    """An entry as Pulumi prints it."""
    values: dict[str, str | None] = {"deployment": None, "provenance": None, "target": None, "ended_at": None}
    return HistoryEntry.read(
        kind="update",
        result="succeeded",
        started_at="2025-01-21T02:03:00.000Z",
        **(values | texts),
    )


def test_an_entry_is_read() -> None:
    entry = read(
        deployment=config().model_dump_json(),
        provenance=provenance(3).model_dump_json(),
        target=where().model_dump_json(),
        ended_at="2025-01-21T02:04:00.000Z",
    )
    assert (entry.config, entry.provenance, entry.target, entry.unreadable) == (config(), provenance(3), where(), "")
    assert entry.started_at == NIGHT and entry.ended_at is not None


def test_an_entry_of_another_schema_hides_nothing_else() -> None:
    entry = read(deployment='{"schema_version": 2}', provenance=provenance(3).model_dump_json(), target="{")
    assert entry.config is None and entry.provenance == provenance(3)
    assert entry.unreadable.startswith("config: ") and "target: " in entry.unreadable
    assert read().unreadable == ""


def test_an_intent_fits_into_a_tag_and_comes_back() -> None:
    """A stack tag in Pulumi Cloud holds 256 characters."""
    host = "runner-of-a-team-in-a-cluster-1"
    long = intent(
        "op-20250121020300-abcdef",
        10000,
        "abandoned",
        kind="rollback",
        actor="a" * 80,
        host=host,
        pid=4194304,
        born="9" * 12,
        trigger="health_check_failed",
        unsettled=True,
    )
    assert len(long.to_tag()) <= 256
    assert Intent.model_validate_json(long.to_tag()).host == short_host(host) != short_host(host[:-1] + "2")
    running = long.model_copy(update={"outcome": "", "unsettled": False, "born": "9" * 12})
    assert len(running.to_tag()) <= 256 and Intent.model_validate_json(running.to_tag()).born == "9" * 12
    assert Intent.model_validate_json(intent().to_tag()) == intent()


def test_now_is_utc_to_the_second() -> None:
    assert utc_now().tzinfo is not None and utc_now().microsecond == 0


# --- state -------------------------------------------------------------------------------------------------------


def test_a_state_answers() -> None:
    known = state(version(1), version(2))
    assert known.active == known.find_version(2) == known.last_healthy
    assert known.find_version(9) is None and known.next_number == 3
    assert state(version(1), intent=intent(number=7)).next_number == 8
    assert state(version(1), highest_number=5).next_number == 6
    assert state(version(1), destroyed=True).active is None


# --- plan and errors ---------------------------------------------------------------------------------------------


def operation(op: str, *changed: str, type: str = "aws:ec2/instance:Instance") -> ResourceOperation:
    """One step."""
    return ResourceOperation(op=op, type=type, name="x", urn="urn", changed=changed)


@pytest.mark.parametrize(
    ("step", "stops"),
    [
        (operation("update", "instanceType"), True),
        (operation("update", "userData", "tags"), True),
        (operation("update", "tags"), False),
        (operation("same", "instanceType"), False),
        (operation("replace"), True),
        (operation("create-replacement"), True),
        (operation("update", "instanceType", type="aws:ec2/eip:Eip"), False),
        (operation("create"), False),
    ],
)
def test_what_stops_the_instance(step: ResourceOperation, stops: bool) -> None:
    plan = Plan(deployment="p", kind="update", operation_id="o", number=2, config=config(), operations=(step,))
    assert plan.stops_instance is stops


def test_failed_checks() -> None:
    checks = tuple(CheckResult(name=status, status=status, detail="") for status in ("pass", "warn", "fail"))
    plan = Plan(deployment="p", kind="update", operation_id="o", number=2, config=config(), checks=checks)
    assert [check.name for check in plan.failed_checks] == ["fail"]


def test_a_change_reads_well() -> None:
    assert str(ConfigChange(path="n8n.image", old=None, new="b")) == "n8n.image: (none) -> b"


def test_errors_say_what_state_and_next() -> None:
    assert str(GeusemakerError("Boom.", state="Nothing was changed.", next_step="Go on.")) == (
        "Boom. Nothing was changed. Go on."
    )
    assert [ChangeFailedError("x", restored=restored).exit_code for restored in (True, False)] == [3, 4]


def test_an_error_is_told_more_by_another_one() -> None:
    raised = ChangeFailedError("Boom.", restored=True, next_step="Go on.")
    told = raised.completed(state="Nothing was changed.", next_step="Another.")
    assert told.exit_code == 3
    assert str(told) == "Boom. Nothing was changed. Go on."
    assert str(raised) == "Boom. Go on."
    assert told.completed(state="All was changed.").state == "Nothing was changed."
    assert HostError("Boom.", code="deadline", detail={"a": 1}).but(code="timeout").detail == {"a": 1}


def test_a_state_tells_whether_a_version_tells_what_was_put_on_the_instance() -> None:
    failed_one = state(version(1), last_failed=True)
    last = failed_one.versions[-1].provenance.operation_id
    assert not state(version(1)).untold and state(version(1), interrupted=True).untold
    assert not failed_one.model_copy(update={"last_operation_id": last}).untold
    assert failed_one.model_copy(update={"last_operation_id": "op-of-nobody"}).untold


@pytest.mark.parametrize(
    "read",
    [
        lambda text: Secrets.model_validate({"ssh_private_key": text, "extra": text}),
        lambda text: Secrets.model_validate_json(f'{{"ssh_private_key": 7, "n8n_encryption_key": "{text}"}}'),
        lambda text: StackConfig.model_validate_json(
            f'{{"services": {{"n8n": {{"image": "n8n:1", "environment": {{"TOKEN": ["{text}"]}}}}}}}}'
        ),
    ],
)
def test_no_error_of_a_stored_document_repeats_what_stands_there(read: Callable[[str], object]) -> None:
    with pytest.raises(ValidationError) as refused:
        read("hunter2hunter2")
    assert "hunter2" not in f"{refused.value} {refused.value!r}"
    told = as_known_error(refused.value)
    assert "hunter2" not in str(told) and "cannot be read" in told.message and told.next_step


def test_every_model_hides_its_input() -> None:
    models: set[type[Model]] = {Model, *Model.__subclasses__()}
    while more := {sub for model in models for sub in model.__subclasses__()} - models:
        models |= more
    assert len(models) > 20 and all(model.model_config.get("hide_input_in_errors") for model in models)
