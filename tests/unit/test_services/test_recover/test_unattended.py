"""A process that looks again and again: what it does, what it says, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.errors import DeploymentBusyError, EnvironmentProblemError, InterruptedOperationError
from geusemaker.models.result import OperationResult
from geusemaker.services.recover.unattended import Unattended
from tests.unit.test_services.test_recover.test_decide import NOW, repaired, seen

WELL = seen("healthy", None)
LOST = seen()
LIMIT = seen("unreachable", "interrupted", repaired(2), repaired(3), repaired(4))


def came(success: bool = True) -> OperationResult:
    result = OperationResult(success=success, deployment="prod", kind="recover", version=2)
    told = {} if success else {"error_message": "Not healthy: n8n.", "next_step": "Look."}
    return result.model_copy(update=told)


class Stage:
    """What is seen look by look, and what each repair comes to; an exception is raised. It ends with the last look."""

    def __init__(self, looks: list[Any], repairs: list[Any] | None = None) -> None:
        self.looks, self.repairs = looks, repairs or []
        self.said: list[tuple[str, str]] = []
        self.gave_up: list[str] = []
        self.pauses: list[float] = []
        self.process = Unattended(
            "prod",
            self._next(lambda: self.looks),
            self._next(lambda: self.repairs),
            self.gave_up.append,
            lambda: NOW,
            lambda event: self.said.append((event.kind, event.message)),
        )

    def _next(self, of: Callable[[], list[Any]]) -> Callable[[], Any]:
        def take() -> Any:
            found = of().pop(0)
            if isinstance(found, BaseException):
                raise found
            return found

        return take

    def run(self) -> Stage:
        def ended(seconds: float) -> bool:
            self.pauses.append(seconds)
            return not self.looks

        self.process.run(60, ended)
        return self


def test_it_brings_back_and_says_what_is_new_alone() -> None:
    stage = Stage([WELL, WELL, LOST, WELL], [came()]).run()
    assert [text for _, text in stage.said] == [
        "prod is healthy.",
        "prod: EC2 took i-1 back. Bringing it back.",
        "prod is back: v2.",
        "prod is healthy.",
    ]
    assert (stage.process.looks, stage.process.repairs, stage.pauses) == (4, 1, [60] * 4)


def test_what_came_to_nothing_is_tried_later_and_later_until_it_is_well() -> None:
    stage = Stage([LOST, LOST, LOST, WELL, WELL], [came(False), EnvironmentProblemError("No capacity."), came(False)])
    assert stage.run().pauses == [120, 240, 480, 60, 60]
    assert ("warning", "prod did not come back: Not healthy: n8n. Look.") in stage.said
    assert ("warning", "No capacity.") in stage.said and stage.process.repairs == 0


def test_others_are_waited_for_quietly() -> None:
    stage = Stage([LOST, seen("running", None)], [DeploymentBusyError("Held.")]).run()
    assert stage.pauses == [60, 60] and all(kind == "note" for kind, _ in stage.said)
    assert stage.said[-1][1] == "prod: an operation is under way. Waiting."


def test_after_the_last_time_it_tells_once_and_looks_on() -> None:
    stage = Stage([LIMIT, LIMIT, WELL, LIMIT]).run()
    assert len(stage.gave_up) == 2, "once each time"
    assert "3 times within 24 hours" in stage.gave_up[0] and "`geusemaker recover prod`" in stage.gave_up[0]
    assert stage.process.repairs == 0


def test_what_is_not_its_business_is_said_and_left() -> None:
    stage = Stage([seen("drifted", None)] * 2).run()
    assert stage.said == [("note", "prod: All of it. Left as it is: this repairs an interrupted instance alone.")]


def test_a_first_look_that_fails_is_an_error_and_a_later_one_is_not() -> None:
    with pytest.raises(EnvironmentProblemError):
        Stage([EnvironmentProblemError("No way."), WELL]).run()
    assert Stage([WELL, EnvironmentProblemError("No way."), WELL]).run().process.looks == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), InterruptedOperationError("Interrupted.")])
def test_ctrl_c_ends_it(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        Stage([LOST, WELL], [stop]).run()
