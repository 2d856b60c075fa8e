"""Labels: facts of a deployment that make no version, and no two configs differ."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import ChangeFailedError, EngineError, HostError, InterruptedOperationError, InvalidInputError
from geusemaker.models.plan import Plan
from geusemaker.models.request import ConfigRequest, DeployRequest
from geusemaker.models.stack_file import StackFile
from geusemaker.services.diff.service import DiffService
from geusemaker.services.export import ExportService
from geusemaker.services.labels import label_changes, labels_of
from tests.unit.fakes import World


def exported(world: World) -> str:
    return ExportService(world.collaborators()).export().to_yaml()


def updated(world: World, text: str, **more: Any) -> Any:
    return world.update(desired=StackFile.parse(text), **more)


def test_labels_alone_run_no_engine_and_make_no_version(deployed: World) -> None:
    def never(plan: Plan) -> bool:
        raise AssertionError("nothing is asked")

    result = deployed.update(never, labels={"customer": "acme", "tier": "gold"}, reason="for the fleet")
    assert (result.kind, result.version) == ("label", 1)
    assert result.changes == ["labels.customer: (none) -> acme", "labels.tier: (none) -> gold"]
    assert result.undo == "geusemaker update prod --label customer= --label tier="
    state = deployed.state()
    assert state.labels == {"customer": "acme", "tier": "gold"} and len(state.versions) == 1 and not state.unsettled
    assert not [call for call in deployed.calls if call in ("engine.up", "engine.preview", "engine.load_plan")]
    record = deployed.records.records[-1]
    assert (record.kind, record.success, record.reason) == ("label", True, "for the fleet")
    assert deployed.machine.held_by().state == "released"  # type: ignore[union-attr]
    assert deployed.inspect().labels == state.labels

    again = deployed.update(labels={"customer": "acme"})
    assert (again.kind, again.changes) == ("update", [])
    gone = deployed.update(labels={"tier": "", "customer": "brew"})
    assert gone.undo == "geusemaker update prod --label customer=acme --label tier=gold"
    assert deployed.state().labels == {"customer": "brew"}


def test_beside_another_change_they_hold_once_that_came_to_its_end(deployed: World) -> None:
    shown: list[Plan] = []

    def yes(plan: Plan) -> bool:
        shown.append(plan)
        return True

    assert deployed.n8n("1.101.0", labels={"customer": "acme"}, confirm=yes).version == 2
    assert [str(one) for one in shown[0].changes if one.path.startswith("labels")] == [
        "labels.customer: (none) -> acme"
    ]
    assert deployed.state().labels == {"customer": "acme"}
    assert deployed.n8n("1.102.0-crash", labels={"customer": "brew"}).exit_code == 3
    assert deployed.state().labels == {"customer": "acme"}
    assert deployed.rollback().success and deployed.state().labels == {"customer": "acme"}


def test_a_change_whose_labels_cannot_be_written_stands(deployed: World) -> None:
    deployed.fail_at("engine.set_labels", EngineError("no space"))
    assert deployed.n8n("1.101.0", labels={"customer": "acme"}).success
    assert "The labels were not written: no space" in deployed.messages("warning")


def test_a_first_deploy_has_them(world: World) -> None:
    assert world.deploy(DeployRequest(labels={"customer": "acme"})).success
    assert world.state().labels == {"customer": "acme"}


def test_they_stand_in_the_file_and_make_no_config_another(deployed: World) -> None:
    deployed.update(labels={"customer": "acme", "tier": "gold"})
    text = exported(deployed)
    assert "  labels:\n    customer: acme\n    tier: gold\n" in text
    without = text.replace("  labels:\n    customer: acme\n    tier: gold\n", "")
    assert "labels" not in without and updated(deployed, without).changes == []
    assert deployed.state().labels == {"customer": "acme", "tier": "gold"}, "absent they stay"

    other = text.replace("    tier: gold\n", "    team: night\n")
    differs = DiffService(deployed.collaborators()).file(StackFile.parse(other))
    assert [str(one) for one in differs.changes] == ["labels: customer=acme, tier=gold -> customer=acme, team=night"]
    result = updated(deployed, other)
    assert (result.kind, deployed.state().labels) == ("label", {"customer": "acme", "team": "night"})
    assert updated(deployed, text.replace("  labels:\n    customer: acme\n    tier: gold\n", "  labels: {}\n")).success
    assert deployed.state().labels == {} and len(deployed.state().versions) == 1
    with pytest.raises(InvalidInputError, match="--label is given beside"):
        updated(deployed, other, labels={"customer": "brew"})


def test_a_dry_run_writes_none(deployed: World) -> None:
    result = deployed.update(labels={"customer": "acme"}, dry_run=True)
    assert result.dry_run and result.changes and deployed.state().labels == {}


@pytest.mark.parametrize("error", [EngineError("no space"), KeyboardInterrupt()])
def test_what_could_not_be_written_is_told(deployed: World, error: BaseException) -> None:
    deployed.fail_at("engine.set_labels", error)
    with pytest.raises((ChangeFailedError, InterruptedOperationError)) as failed:
        deployed.update(labels={"customer": "acme"})
    assert "the old one or the new one" in failed.value.state
    assert not deployed.records.records[-1].success and not deployed.state().unsettled
    assert deployed.update(labels={"customer": "acme"}).kind == "label"


def test_while_the_instance_is_dead_they_are_written_without_the_lease(deployed: World) -> None:
    deployed.host_failures["lease"] = deployed.host_failures["begin"] = HostError("It is dead.", code="unreachable")
    assert deployed.update(labels={"customer": "acme"}).success
    assert [message for message in deployed.messages("warning") if message.startswith("Written without the lease")]
    assert deployed.state().labels == {"customer": "acme"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("", "x"), ("a" * 24, "x"), ("a b", "x"), ("-a", "x"), ("a", "x y"), ("a", "x" * 64), ("a", "-x"), ("a:b", "x")],
)
def test_what_cannot_be_a_label(deployed: World, key: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be a label"):
        deployed.update(labels={key: value})


def test_only_what_differs_is_written() -> None:
    asked = ConfigRequest(labels={"a": "1", "b": "", "c": "", "d": "4"})
    changed = labels_of(asked, {"a": "1", "b": "2", "d": "3"})
    assert changed == {"b": "", "d": "4"}
    assert [str(one) for one in label_changes({"b": "2", "d": "3"}, changed)] == [
        "labels.b: 2 -> (none)",
        "labels.d: 3 -> 4",
    ]
    assert labels_of(ConfigRequest(), {"a": "1"}) == {}
