"""What an outcome says that takes it back is what does."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.models.plan import RestPlan
from geusemaker.models.request import DeployRequest
from geusemaker.services.undo import undo_of_rest
from tests.unit.fakes import World


def test_an_update_and_a_rollback_are_taken_back_by_the_version_that_ran_before(deployed: World) -> None:
    assert deployed.n8n("1.101.0").undo == "geusemaker rollback prod v1"
    assert deployed.rollback().undo == "geusemaker rollback prod v2"
    again = deployed.rollback(to_version=2)
    assert again.success and deployed.state().versions[-1].config == deployed.state().versions[1].config


def test_a_first_deploy_is_taken_down_and_what_was_taken_down_deployed_again(world: World) -> None:
    assert world.deploy(DeployRequest()).undo == "geusemaker destroy prod"
    assert world.destroy().undo == "geusemaker deploy prod"
    assert world.destroy(delete_data=True).undo == ""


def test_settings_alone_and_a_version_that_is_bad_are_not_gone_back_to(deployed: World) -> None:
    assert deployed.update(retention=7).undo == "", "a rollback brings back what runs"
    deployed.engine.set_marks({2}, set())
    assert deployed.n8n("1.101.0").undo == ""


def test_what_failed_and_went_back_has_nothing_to_take_back(deployed: World) -> None:
    failed = deployed.n8n("1.101.0-crash")
    assert (failed.exit_code, failed.undo) == (3, "")
    assert failed.failure_logs == {"n8n": ["n8n said"]}


def test_what_was_still_waited_for_when_another_failed_is_not_called_unhealthy(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = deployed.machine.state_of

    def state_of(name: str) -> str:
        return "waiting" if name == "postgresql" and told("n8n") == "exited" else told(name)

    monkeypatch.setattr(deployed.machine, "state_of", state_of)
    failed = deployed.n8n("1.101.0-crash", auto_rollback=False)
    seen = {"n8n": False, "ollama": True, "qdrant": True, "crawl4ai": True}
    assert (failed.exit_code, failed.health_status) == (4, seen)
    assert failed.failure_logs == {"n8n": ["n8n said"]}


@pytest.mark.parametrize(
    ("kind", "services", "because", "undo"),
    [
        ("stop", ("n8n",), (), "geusemaker start prod n8n"),
        ("start", ("postgresql", "n8n"), (), "geusemaker stop prod"),
        ("stop", ("postgresql", "n8n"), ("n8n stops as well",), ""),
    ],
)
def test_a_stop_and_a_start(kind: Any, services: tuple[str, ...], because: tuple[str, ...], undo: str) -> None:
    plan = RestPlan(
        deployment="prod", kind=kind, operation_id="op-9", services=services, summary="", because=because,
        active_version=4, target_kind="local",
    )  # fmt: skip
    assert undo_of_rest(plan) == undo
