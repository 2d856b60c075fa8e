"""A version that is watched after its gate has passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import DeploymentBusyError, HostError, InterruptedOperationError, InvalidInputError
from geusemaker.models.record import OperationRecord
from geusemaker.models.result import OperationResult, RollbackResult
from geusemaker.services.bake.words import span, who
from tests.unit.fakes import Killed, World


def record_of(world: World, number: int) -> OperationRecord:
    """The latest record of the operation that made a version, as the journal's readers see it."""
    return [one for one in world.records.records if one.number == number][-1]


def lease(world: World) -> dict[str, Any]:
    assert world.machine.lease is not None
    return world.machine.lease


def test_without_a_bake_there_is_not_one_call_more(deployed: World) -> None:
    assert deployed.n8n("1.101.0").success
    assert "host.measure" not in deployed.calls and "tunnel" not in deployed.calls
    assert record_of(deployed, 2).bake is None


def test_a_bake_that_passes(deployed: World) -> None:
    result = deployed.n8n("1.101.0", bake_seconds=60)
    assert result.success and result.exit_code == 0 and result.bake is not None
    assert (result.bake.ended, result.bake.seconds, result.bake.regressions) == ("passed", 60, [])
    assert result.bake.looks >= 10 and 60 <= result.bake.lasted_seconds < 70
    assert record_of(deployed, 2).bake == result.bake and record_of(deployed, 2).success
    assert (lease(deployed)["state"], lease(deployed)["outcome"]) == ("released", "done")
    before = deployed.calls.index("host.measure")
    assert before < deployed.calls.index("engine.up"), "the baseline is measured before anything changes"


def test_the_version_is_active_and_on_record_while_it_is_watched(deployed: World) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(number: int) -> None:
        active = deployed.state().active
        seen.append((active and active.number, deployed.state().interrupted, record_of(deployed, 2).success))

    deployed.machine.on_measure = look
    assert deployed.n8n("1.101.0", bake_seconds=4).success
    assert {*seen} == {(2, False, True)}


@pytest.mark.parametrize(
    ("what", "figure"),
    [
        (lambda machine: machine.starts.update(["n8n"]), "restarts"),
        (lambda machine: machine.ill.add("n8n"), "readiness"),
        (lambda machine: machine.figures.update(n8n={"error_lines": 50}), "error_lines"),
        (
            lambda machine: machine.figures.update(n8n={"memory_bytes": 99, "memory_limit_bytes": 100}),
            "memory",
        ),
        (lambda machine: machine.figures.update(n8n={"answer_seconds": 1.9}), "answer_seconds"),
    ],
)
def test_a_regression_goes_back_by_itself(deployed: World, what: Callable[[Any], object], figure: str) -> None:
    def worse(number: int) -> None:
        if number == 3:
            what(deployed.machine)
        if "1.101.0" not in deployed.machine.services["n8n"]:  # v1 is back, and well
            deployed.machine.figures.clear()

    deployed.machine.on_measure = worse
    deployed.machine.after_apply = lambda: (
        deployed.machine.ill.discard("n8n") if "1.100.1" in deployed.machine.services["n8n"] else None
    )
    result = deployed.n8n("1.101.0", bake_seconds=600)
    assert (result.success, result.exit_code, result.rolled_back_to, result.version) == (False, 3, 1, 3)
    assert result.bake is not None and result.bake.ended == "regression"
    [seen] = result.bake.regressions
    assert (seen.service, seen.figure) == ("n8n", figure) and seen.message in str(result.error_message)
    assert result.bake.looks <= 3 + 2, "three looks tell, which is within 15 s"
    record, back = record_of(deployed, 2), record_of(deployed, 3)
    assert not record.success and record.bake == result.bake
    assert back.rollback is not None and back.rollback.trigger == "health_check_failed" and back.success
    assert seen.message in back.reason
    assert "1.100.1" in deployed.machine.services["n8n"] and lease(deployed)["state"] == "released"


def test_without_automatic_return_it_stays_and_says_so(deployed: World) -> None:
    deployed.machine.on_measure = lambda number: deployed.machine.starts.update(["n8n"] if number == 2 else [])
    result = deployed.n8n("1.101.0", bake_seconds=60, auto_rollback=False)
    assert (result.success, result.exit_code, result.rolled_back_to) == (False, 4, None)
    assert "geusemaker rollback" in result.next_step and "1.101.0" in deployed.machine.services["n8n"]
    assert lease(deployed)["state"] == "released"


def test_what_was_ill_before_is_no_regression(deployed: World) -> None:
    deployed.machine.figures["n8n"] = {"answer_seconds": 1.9}
    result = deployed.n8n("1.101.0", bake_seconds=20)
    assert result.success


def test_a_test_that_fails_goes_back_and_is_no_unhealthy_service(deployed: World) -> None:
    result = deployed.n8n("1.101.0", tests=("echo not what we want; exit 9",))
    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert result.bake is not None and result.bake.ended == "test_failed" and result.bake.regressions == []
    failed = result.bake.failed_test
    assert failed is not None and (failed.exit_code, failed.lines) == (9, ["not what we want"])
    assert "The test `echo not what we want; exit 9` failed" in str(result.error_message)
    assert record_of(deployed, 2).bake == result.bake and record_of(deployed, 2).health_status == {}
    assert record_of(deployed, 3).trigger == "health_check_failed"


def test_secrets_are_in_nothing_that_is_kept_of_a_test(deployed: World) -> None:
    secret = deployed.engine.load_secrets().n8n_encryption_key
    result = deployed.n8n("1.101.0", tests=(f"echo {secret}; exit 1",))
    assert result.exit_code == 3 and secret not in result.model_dump_json()
    assert secret not in "".join(one.model_dump_json() for one in deployed.records.records)


def test_tests_run_once_without_a_bake_and_again_and_again_with_one(deployed: World) -> None:
    seen: list[Mapping[str, str]] = []
    result = deployed.n8n("1.101.0", verify=seen.append)
    assert result.success and result.bake is not None and (result.bake.ended, result.bake.tests) == ("passed", 1)
    [addresses] = seen
    assert addresses["n8n"] == "http://localhost:5678"
    assert deployed.n8n("1.102.0", verify=seen.append, bake_seconds=10).success and len(seen) >= 2


def test_a_function_that_says_no_goes_back(deployed: World) -> None:
    result = deployed.n8n("1.101.0", verify=lambda addresses: False, bake_seconds=60)
    assert result.exit_code == 3 and result.bake is not None and result.bake.ended == "test_failed"


@pytest.mark.parametrize(
    "asked",
    [{"bake_seconds": -1}, {"bake_seconds": 86_401}, {"tests": ("",)}, {"test_urls": ("nobody/healthz",)}],
)
def test_what_cannot_be_had_is_refused_before_anything_changes(deployed: World, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        deployed.n8n("1.101.0", **asked)
    assert "engine.up" not in deployed.calls and "host.begin" not in deployed.calls


def test_ctrl_c_keeps_the_version(deployed: World) -> None:
    def press(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    deployed.machine.on_measure = press
    with pytest.raises(InterruptedOperationError, match="The bake was interrupted after") as told:
        deployed.n8n("1.101.0", bake_seconds=60)
    assert told.value.state.startswith("v2 is active: its gate had passed")
    state = deployed.state()
    assert state.active is not None and state.active.number == 2 and not state.interrupted
    assert lease(deployed)["state"] == "released" and record_of(deployed, 2).success
    bake = record_of(deployed, 2).bake
    assert bake is not None and bake.ended == "interrupted"


def test_a_rollback_from_elsewhere_takes_over_at_once(deployed: World) -> None:
    came_to: list[RollbackResult] = []

    def look(number: int) -> None:
        if number == 3:
            deployed.machine.on_measure = lambda number: None
            deployed.alive.add(deployed.pid)
            with pytest.raises(DeploymentBusyError, match=r"a bake of v2.*geusemaker recover"):
                deployed.n8n("1.102.0")
            came_to.append(deployed.rollback())

    deployed.machine.on_measure = look
    result = deployed.n8n("1.101.0", bake_seconds=600)
    [back] = came_to
    assert back.success and (back.version, back.source_version) == (3, 1)
    assert (result.success, result.exit_code) == (False, 6)
    assert "a rollback of ann took over" in str(result.error_message)
    assert result.bake is not None and result.bake.ended == "gave_way"
    active = deployed.state().active
    assert active is not None and active.number == 3 and "1.100.1" in deployed.machine.services["n8n"]
    assert record_of(deployed, 2).success


def test_a_recovery_from_elsewhere_ends_it_and_keeps_the_version(deployed: World) -> None:
    came_to: list[OperationResult] = []

    def look(number: int) -> None:
        if number == 3:
            deployed.machine.on_measure = lambda number: None
            deployed.alive.add(deployed.pid)
            deployed.host_name = "elsewhere"
            came_to.append(deployed.recover())

    deployed.machine.on_measure = look
    result = deployed.n8n("1.101.0", bake_seconds=600)
    assert came_to[0].success and (result.success, result.exit_code) == (False, 6)
    assert "given back from elsewhere" in str(result.error_message)
    active = deployed.state().active
    assert active is not None and active.number == 2 and lease(deployed)["state"] == "released"


def test_who_is_killed_leaves_the_version_and_a_lease_that_gives_way(deployed: World) -> None:
    def kill(number: int) -> None:
        if number == 3:
            deployed._dead = True
            raise Killed

    deployed.machine.on_measure = kill
    with pytest.raises(Killed):
        deployed.n8n("1.101.0", bake_seconds=600)
    deployed.machine.on_measure = lambda number: None
    assert lease(deployed)["state"] == "held"
    state = deployed.state()
    assert state.active is not None and state.active.number == 2 and not state.interrupted
    assert record_of(deployed, 2).success
    found = deployed.inspect()
    assert found.status == "healthy" and "Its process is gone" in found.summary
    deployed.host_name = "elsewhere"
    assert deployed.recover().success
    assert "The bake of v2 by ann is ended" in deployed.messages("note")[0]
    assert lease(deployed)["state"] == "released" and deployed.n8n("1.102.0").success


def test_an_instance_that_is_not_seen_for_a_while_is_asked_again(deployed: World) -> None:
    def away(number: int) -> None:
        if number in (2, 3):
            raise HostError("The instance cannot be reached.", code="unreachable")

    deployed.machine.on_measure = away
    assert deployed.n8n("1.101.0", bake_seconds=20).success
    assert len([text for text in deployed.messages("warning") if "was not seen" in text]) == 1


def test_an_instance_that_is_not_seen_at_the_end_is_no_bake_that_passed(deployed: World) -> None:
    def away(number: int) -> None:
        if number > 2:
            raise HostError("The instance cannot be reached.", code="unreachable")

    deployed.machine.on_measure = away
    result = deployed.n8n("1.101.0", bake_seconds=20)
    assert (result.success, result.exit_code) == (False, 4)
    assert "it was not watched to the end: The instance cannot be reached" in str(result.error_message)
    assert result.bake is not None and result.bake.ended == "unseen" and 80 <= result.bake.lasted_seconds < 90


def test_a_tunnel_that_cannot_be_had_takes_nothing_back(deployed: World) -> None:
    deployed.fail_at("tunnel", HostError("The instance cannot be reached.", code="unreachable"))
    result = deployed.n8n("1.101.0", tests=("true",))
    assert (result.success, result.exit_code, result.version) == (False, 4, 2)
    assert result.bake is not None and result.bake.ended == "unseen"
    assert lease(deployed)["state"] == "released"


def test_a_baseline_that_cannot_be_measured_is_a_warning(deployed: World) -> None:
    deployed.fail_at("host.measure", HostError("It did not answer.", code="timeout"))
    assert deployed.n8n("1.101.0", bake_seconds=4).success
    assert any("compares with nothing" in text for text in deployed.messages("warning"))


def test_where_nothing_changes_nothing_is_watched(deployed: World) -> None:
    assert deployed.n8n("1.100.1", bake_seconds=60).success
    assert "nothing is watched or tested" in deployed.messages("note")[-1] and "host.measure" not in deployed.calls


def test_a_rollback_between_the_look_and_the_return_goes_first(deployed: World) -> None:
    came_to: list[RollbackResult] = []
    require = deployed.machine.require

    def taken(operation: str, *, held: bool) -> None:
        require(operation, held=held)
        if deployed.machine.starts["n8n"]:  # the look is done, and what it saw is not judged yet
            deployed.machine.require = require  # type: ignore[method-assign]
            deployed.alive.add(deployed.pid)
            came_to.append(deployed.rollback())

    deployed.machine.require = taken  # type: ignore[method-assign]
    deployed.machine.on_measure = lambda number: deployed.machine.starts.update(["n8n"] if number == 2 else [])
    result = deployed.n8n("1.101.0", bake_seconds=600)
    assert came_to[0].success and (result.exit_code, result.rolled_back_to) == (6, None)
    assert "a rollback of ann took over" in str(result.error_message)
    assert deployed.state().versions[-1].number == 3


def test_where_there_was_no_instance_before_the_bake_takes_the_lease_itself(deployed: World) -> None:
    deployed.engine.lose("aws:ec2/instance:Instance")
    deployed.cloud.instance = None
    result = deployed.n8n("1.101.0", bake_seconds=10, no_way_back=True)
    assert result.success and result.bake is not None and result.bake.ended == "passed"
    assert (lease(deployed)["operation"], lease(deployed)["state"]) == (result.operation_id, "released")
    assert deployed.n8n("1.102.0").success


def test_the_words_of_it() -> None:
    assert (span(600), span(45.4), span(90)) == ("10 min", "45 s", "90 s")
    assert who(None, "op-1") == who(Lease(), "op-1") == "another operation took over"
    assert who(Lease("op-2", kind="rollback"), "op-1") == "a rollback of somebody took over"


def test_a_setting_has_each_update_watched_and_an_update_says_otherwise(deployed: World) -> None:
    set_ = deployed.update(bake_setting_seconds=4)
    assert set_.success and set_.changes == ["settings.bake_seconds: 0 -> 4"]
    watched = deployed.n8n("1.101.0")
    assert watched.bake is not None and (watched.bake.seconds, watched.bake.ended) == (4, "passed")
    assert deployed.n8n("1.102.0", bake_seconds=0).bake is None
    with pytest.raises(InvalidInputError):
        deployed.update(bake_setting_seconds=-1)
