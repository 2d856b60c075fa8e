"""The key of an n8n that there was before: taken over while nothing is closed with another one."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import DeclinedError, EngineError, GeusemakerError, InvalidInputError, RefusedError
from geusemaker.models.request import DeployRequest
from geusemaker.models.version import RotationKind
from geusemaker.services.n8n_key import credentials
from tests.unit.fakes import Killed, World

KIND: RotationKind = "import-n8n-key"
KEY = "the key of the n8n of before"


@pytest.fixture
def empty(deployed: World) -> World:
    """n8n holds no credentials."""
    deployed.machine.data["n8n"]["rows"] = {"credentials_entity": {"ids": []}}
    return deployed


def stored(world: World) -> str:
    return world.engine.load_secrets().n8n_encryption_key


def test_n8n_gets_it_everywhere_and_no_version_is_made(empty: World) -> None:
    asked: list[str] = []
    result = empty.rotate(KIND, lambda text: not asked.append(text), KEY)  # type: ignore[func-returns-value]

    acts = [call for call in empty.calls if call.startswith(("host.key", "host.ap", "host.gate", "engine.rotate"))]
    assert result.success and result.changes == ["n8n encryption key: imported"]
    assert "log in again" in result.still_opens
    assert "holds no credentials yet" in asked[0] and KEY not in asked[0]
    assert stored(empty) == empty.machine.n8n_key == KEY
    assert empty.machine.definitions["n8n"][1]["N8N_ENCRYPTION_KEY"] == KEY
    assert [version.number for version in empty.state().versions] == [1] and not empty.state().unsettled
    assert acts == ["host.key", "engine.rotate_secrets", "host.apply", "host.gate"]
    assert KEY not in result.model_dump_json() + str([one.model_dump() for one in empty.records.records])
    assert empty.n8n("1.101.0").success and empty.rollback().success and stored(empty) == KEY


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"credentials_entity": {"ids": ["1"]}}, "holds 1 credential,"),
        ({"credentials_entity": {"ids": ["1", "2"]}}, "holds 2 credentials"),
        (None, "cannot be told now"),
        ({"user": {"ids": ["1"]}}, "cannot be told now"),
    ],
)
def test_where_something_is_closed_with_the_key_it_stays(deployed: World, rows: Any, said: str) -> None:
    deployed.machine.data["n8n"]["rows"] = rows
    before = stored(deployed)
    with pytest.raises(RefusedError, match=said):
        deployed.rotate(KIND, key=KEY)
    assert stored(deployed) == before and "host.begin" not in deployed.calls


def test_a_credential_that_comes_while_it_is_asked_is_seen(empty: World) -> None:
    def yes(text: str) -> bool:
        empty.machine.data["n8n"]["rows"] = {"credentials_entity": {"ids": ["1"]}}
        return True

    before = stored(empty)
    with pytest.raises(RefusedError, match="holds 1 credential"):
        empty.rotate(KIND, yes, KEY)
    assert stored(empty) == before and not empty.state().unsettled
    assert empty.n8n("1.101.0").success, "the lease was given back"


def test_a_no_changes_nothing(empty: World) -> None:
    before = stored(empty)
    with pytest.raises(DeclinedError):
        empty.rotate(KIND, lambda text: False, KEY)
    assert stored(empty) == before


@pytest.mark.parametrize("wrong", ["short", "two\nlines of a key", "x" * 40_000])
def test_what_is_no_key(empty: World, wrong: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        empty.rotate(KIND, key=wrong)
    assert wrong not in str(refused.value)


def test_without_n8n_there_is_none(world: World) -> None:
    world.deploy(DeployRequest(services=("qdrant",)))
    with pytest.raises(RefusedError, match="runs no n8n"):
        world.rotate(KIND, key=KEY)


@pytest.mark.parametrize("call", ["engine.rotate_secrets", "host.apply", "host.gate"])
def test_what_failed_is_finished_by_the_same_again(empty: World, call: str) -> None:
    empty.fail_at(call, EngineError("no space"))
    result = empty.rotate(KIND, key=KEY)
    assert result.exit_code == 4 and "`geusemaker secrets import prod`" in result.next_step
    assert empty.rotate(KIND, key=KEY).success and stored(empty) == empty.machine.n8n_key == KEY


@pytest.mark.parametrize("call", ["host.key", "engine.record_config", "host.apply", "host.gate"])
def test_what_was_killed_is_finished_by_the_same_again_or_recovered(empty: World, call: str) -> None:
    empty.kill_at = call
    with pytest.raises(Killed):
        empty.rotate(KIND, key=KEY)
    with pytest.raises(GeusemakerError, match="secrets import prod"):
        empty.n8n("1.101.0")
    empty.recover()
    assert empty.machine.n8n_key == stored(empty) and empty.inspect().status == "healthy"
    assert empty.rotate(KIND, key=KEY).success and stored(empty) == empty.machine.n8n_key == KEY


def test_how_many_credentials_there_are() -> None:
    assert credentials({}) is None
    assert credentials({"services": {"n8n": {"rows": None}}}) is None
    assert credentials({"services": {"n8n": {"rows": {}}}}) == 0, "a database that n8n has not begun with"
    assert credentials({"services": {"n8n": {"rows": {"credentials_entity": {"any": True}}}}}) == 1
