"""What a change did to n8n's tables and rows, and to the user's beside them."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.models.request import DeployRequest
from geusemaker.services.manifest import Comparison, compare, told
from tests.unit.fakes import World

TABLES = [
    "backup.role",
    "public.chat_hub_messages",
    "public.credentials_entity",
    "public.data_table_user_a1",
    "public.n8n_chat_histories",
    "public.role",
    "public.some_future_table",
    "public.test_metric",
    "public.workflow_entity",
]


def data(*gone: str, migrations: tuple[str, ...] = ("A",), database: str = "n8n", **rows: Any) -> dict[str, Any]:
    """A manifest with those tables and rows."""
    tables = [table for table in TABLES if table not in gone]
    n8n = {
        "workflows": ["w1"],
        "migrations": list(migrations),
        "database": database,
        "linked": ["some_future_table"],
        "rows": {
            "credentials_entity": {"ids": ["c1", "c2"]},
            "shared_workflow": {"any": True},
            "workflow_history": {"any": True},
            "workflow_entity": {"ids": ["w1"]},
        }
        | rows,
    }
    return {"services": {"postgresql": {"databases": {"n8n": tables, "crm": ["public.role"]}}, "n8n": n8n}}


UP = ("A", "B")


@pytest.mark.parametrize(
    ("after", "kind", "said"),
    [
        pytest.param(data("public.role", migrations=UP), "notes", "table role", id="dropped by a migration"),
        pytest.param(data("public.test_metric", migrations=UP), "notes", "test_metric", id="another one"),
        pytest.param(data("public.role"), "losses", "n8n.public.role", id="without a migration nothing drops it"),
        pytest.param(data("backup.role", migrations=UP), "losses", "backup.role", id="of another schema: the user's"),
        pytest.param(data("public.n8n_chat_histories", migrations=UP), "losses", "chat_histories", id="a user's table"),
        pytest.param(data("public.chat_hub_messages", migrations=UP), "warnings", "chat_hub_messages", id="n8n's own"),
        pytest.param(
            data("public.some_future_table", migrations=UP), "warnings", "some_future", id="bound to n8n's own"
        ),
        pytest.param(data("public.credentials_entity", migrations=UP), "losses", "credentials_entity", id="a kept one"),
        pytest.param(data("public.data_table_user_a1", migrations=UP), "losses", "user_a1", id="a data table"),
        pytest.param(
            data(credentials_entity={"ids": ["c2"]}),
            "losses",
            "n8n lost 1 row of credentials_entity: c1",
            id="a row by id",
        ),
        pytest.param(data(shared_workflow={"any": False}), "losses", "shared_workflow is empty", id="rows without ids"),
        pytest.param(
            data(workflow_history={"any": False}), "warnings", "workflow_history is empty", id="what n8n prunes"
        ),
    ],
)
def test_what_became_of_it(after: dict[str, Any], kind: str, said: str) -> None:
    found = compare(data(), after)
    assert [name for name in ("losses", "warnings", "notes") if getattr(found, name)] == [kind]
    [text] = getattr(found, kind)
    assert said in text


def test_a_table_of_another_database_is_the_users() -> None:
    after = data(migrations=UP)
    after["services"]["postgresql"]["databases"]["crm"] = []
    assert compare(data(), after).losses == ("postgresql lost table crm.public.role",)


def test_the_agent_of_before_tells_less_and_nothing_is_made_of_that() -> None:
    before = data()
    for key in ("database", "linked", "rows"):
        del before["services"]["n8n"][key]
    assert compare(before, data("public.role", migrations=UP)).notes
    assert compare(before, data(credentials_entity={"ids": []})) == Comparison()


def test_a_database_that_cannot_be_read_has_lost_nothing_and_one_that_is_gone_is_lost() -> None:
    closed, gone = data(), data()
    closed["services"]["postgresql"]["databases"]["crm"] = None
    assert compare(data(), closed) == compare(closed, data()) == Comparison()
    del gone["services"]["postgresql"]["databases"]["crm"]
    assert compare(closed, gone).losses == ("postgresql lost database crm",)
    gone["services"]["postgresql"] = {"databases": None, "reason": "postgresql is not running"}
    assert compare(data(), gone) == Comparison()


def test_more_is_no_loss_and_many_are_counted() -> None:
    many = {"ids": [f"c{number}" for number in range(9)]}
    assert compare(data(), data(credentials_entity=many)) == Comparison()
    [said] = compare(data(credentials_entity=many), data(credentials_entity={"ids": ["c8"]})).losses
    assert said == "n8n lost 8 rows of credentials_entity: c0, c1, c2, c3, c4 and 3 more"
    assert compare(data(), data(credentials_entity={"ids": None})) == Comparison(), "what could not be read"


def test_a_workflow_is_told_of_once() -> None:
    after = data(workflow_entity={"ids": []})
    after["services"]["n8n"]["workflows"] = []
    assert compare(data(), after).losses == ("n8n lost workflow w1",)


def test_a_warning_names_the_checkpoint() -> None:
    found = Comparison(warnings=("n8n's table x is gone",))
    assert told(found, "v1/op-2") == ["n8n's table x is gone; checkpoint v1/op-2 holds it."]
    assert "no checkpoint" in told(found, "")[0]


# --- a whole change -----------------------------------------------------------------------------------------------


@pytest.fixture
def n8n(world: World) -> World:
    """n8n 1.100.1, whose update to 1.123.5 migrates."""
    world.machine.migrates = {"1.123.5": ["Roles2"]}
    world.machine.data["postgresql"]["databases"]["n8n"] = [
        "public.workflow",
        "public.role",
        "public.agents",
        "public.mine",
    ]
    world.machine.data["n8n"]["database"] = "n8n"
    world.deploy(DeployRequest(services=("n8n", "postgresql")))
    return world


def drop(world: World, *tables: str) -> None:
    kept = world.machine.data["postgresql"]["databases"]["n8n"]

    def after_apply() -> None:
        kept[:] = [table for table in kept if table not in tables]

    world.machine.after_apply = after_apply


def test_an_ordinary_upgrade_drops_its_own_tables_and_ends_well(n8n: World) -> None:
    drop(n8n, "public.role", "public.agents")
    result = n8n.n8n("1.123.5")
    assert result.success and result.exit_code == 0
    assert result.warnings == [
        "n8n's table agents is gone, which its migrations are not known to remove; checkpoint v1/op-002 holds it."
    ]
    assert "n8n's migrations removed its table role." in n8n.messages("note")
    assert result.warnings[0] in n8n.messages("warning")


def test_a_users_table_that_went_with_it_is_loud(n8n: World) -> None:
    drop(n8n, "public.role", "public.mine")
    result = n8n.n8n("1.123.5")
    assert result.exit_code == 4 and "DATA IS MISSING" in (result.error_message or "")
    assert "public.mine" in (result.error_message or "") and "role" not in (result.error_message or "")
