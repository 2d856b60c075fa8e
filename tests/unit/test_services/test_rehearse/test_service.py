"""A rehearsal under the lease: what is refused, what it tells, how it gives way, and what a plan makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geusemaker.agent.protocol.rehearsal import RehearsedService
from geusemaker.errors import (
    DeploymentBusyError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
    ValidationFailedError,
)
from tests.unit.fakes import FakeHost, FakeMachine, Shown, World

NEWER = "n8nio/n8n:1.102.0"
DOWN = RehearsedService(False, 2.0, reason="it exited (exit code 1)", logs=["it broke"])


def test_it_changes_nothing_and_makes_no_version(deployed: World) -> None:
    before, services = deployed.state(), dict(deployed.machine.services)
    result = deployed.rehearse(n8n=NEWER)
    assert "Copying 7 MiB beside what runs" in deployed.messages("note")
    assert result.success and result.starts and result.exit_code == 0 and result.isolated
    assert result.ahead["n8n"].image == NEWER and result.migrations == ["RemoveOldRoleColumn1750252139170"]
    assert result.way_back is not None and result.way_back.kind == "rollback"
    assert result.way_back.commands == ("geusemaker rollback prod v1 --allow-data-downgrade",)
    assert deployed.state() == before and deployed.machine.services == services
    assert not [call for call in deployed.calls if call.startswith("engine.set")]
    lease = deployed.machine.lease
    assert lease is not None and (lease["kind"], lease["state"], lease["changed"]) == ("rehearse", "released", False)
    [record] = [one for one in deployed.journal.read() if one.kind == "rehearse"]
    assert (record.reason, record.success, record.number) == ("Friday", True, 1)
    assert deployed.inspect().status == "healthy" and deployed.n8n("1.101.0").success


def test_without_migrations_the_way_back_is_the_plain_command(deployed: World) -> None:
    deployed.machine.rehearsed = replace(deployed.machine.rehearsed, migrations=[])
    way = deployed.rehearse(n8n=NEWER).way_back
    assert way is not None and way.commands == ("geusemaker rollback prod v1",)


def test_a_way_back_with_its_data_or_none(deployed: World) -> None:
    machine = deployed.machine
    machine.rehearsed = replace(machine.rehearsed, back={**machine.rehearsed.back, "n8n": DOWN})
    way = deployed.rehearse(n8n=NEWER).way_back
    assert way is not None and way.commands == ("geusemaker rollback prod v1 --with-data",)
    machine.rehearsed = replace(machine.rehearsed, back={"postgresql": DOWN})
    way = deployed.rehearse(n8n=NEWER).way_back
    assert way is not None and (way.kind, way.commands) == ("none", ())


def test_what_does_not_start_is_told_with_its_last_words(deployed: World) -> None:
    machine = deployed.machine
    machine.rehearsed = replace(machine.rehearsed, ahead={"n8n": DOWN})
    result = deployed.rehearse(n8n=NEWER)
    assert not result.success and not result.starts and result.exit_code == 5
    assert result.error_message == f"{NEWER} does not work on a copy of the data: it exited (exit code 1)."
    assert result.ahead["n8n"].logs == ["it broke"] and result.way_back is not None


def test_the_plan_of_just_this_update_tells_of_it(deployed: World) -> None:
    deployed.rehearse(n8n=NEWER)
    shown = Shown()
    deployed.n8n("1.102.0", confirm=shown)
    assert shown.plans[0].rehearsed.startswith("rehearsed at 2025-01-21 02:30 UTC: a rollback works (n8n ")
    deployed.n8n("1.103.0", confirm=shown)
    assert shown.plans[-1].rehearsed == ""


@pytest.mark.parametrize(
    "images", [{}, {"qdrant": "qdrant/qdrant:v1.15.0"}, {"n8n": NEWER, "ollama": "ollama/ollama:1"}]
)
def test_others_are_not_rehearsed(deployed: World, images: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="Only PostgreSQL and n8n are rehearsed"):
        deployed.rehearse(**images)
    assert "host.begin" not in deployed.calls


def test_what_runs_already_or_is_not_there_is_refused(deployed: World) -> None:
    running = deployed.state().versions[-1].config.services["n8n"].image.tagged
    with pytest.raises(RefusedError, match="already"):
        deployed.rehearse(n8n=running)
    with pytest.raises(ValidationFailedError, match="has no image"):
        deployed.rehearse(n8n="n8nio/n8n:9.9.9-missing")
    assert deployed.update(without=("n8n",)).success
    with pytest.raises(RefusedError, match="n8n is not part of v2"):
        deployed.rehearse(postgresql="postgres:16.10")


def test_without_room_the_figures_are_told_and_the_lease_is_given_back(deployed: World) -> None:
    deployed.host_failures["rehearse"] = HostError("There is no room. The disk has 5 MiB free.", code="no_room")
    with pytest.raises(HostError, match="5 MiB") as refused:
        deployed.rehearse(n8n=NEWER)
    assert refused.value.state == "Nothing was changed."
    lease = deployed.machine.lease
    assert lease is not None and lease["state"] == "released"


@pytest.mark.parametrize("verb", ["rollback", "recover"])
def test_it_gives_way_to_who_goes_back_wherever_it_runs(deployed: World, verb: str) -> None:
    deployed.n8n("1.101.0")
    rehearse = deployed.machine.store.begin
    rehearse("op-900", None, None, {"kind": "rehearse", "actor": "bob", "owner": {"host": "laptop", "pid": 5}})
    with pytest.raises(DeploymentBusyError, match="held by a rehears"):
        deployed.n8n("1.102.0")
    result = deployed.rollback() if verb == "rollback" else deployed.recover()
    assert result.success
    words = "gives way to this rollback, and is ended" if verb == "rollback" else "The rehearsal of bob is ended"
    assert any(words in note for note in deployed.messages("note"))
    assert deployed.n8n("1.103.0").success


def test_the_one_that_gave_way_says_to_whom(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(host: FakeHost, machine: FakeMachine, *asked: object) -> None:
        machine.store.begin("op-999", None, "op-998", {"kind": "rollback", "actor": "bob", "owner": {"host": "laptop"}})
        raise HostError("rehearse was told to end before it was done.", code="cancelled")

    monkeypatch.setattr(FakeHost, "_rehearse", taken)
    with pytest.raises(DeploymentBusyError, match=r"gave way to a rollback of bob\.") as ended:
        deployed.rehearse(n8n=NEWER)
    assert ended.value.exit_code == 6
    lease = deployed.machine.lease
    assert lease is not None and (lease["operation"], lease["state"]) == ("op-999", "held")


def test_ctrl_c_removes_it(deployed: World) -> None:
    deployed.fail_at("host.rehearse", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as ended:
        deployed.rehearse(n8n=NEWER)
    assert ended.value.state == "The rehearsal was removed. Nothing was changed."
    assert "host.cancel" in deployed.calls
    lease = deployed.machine.lease
    assert lease is not None and lease["state"] == "released"
