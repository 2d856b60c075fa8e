"""What is a regression, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.protocol.looks import Figures, Passed
from geusemaker.services.bake.judge import LOOK_SECONDS, judge

LIFE = Passed(container="c1", started_at="2025-01-21T02:00:00Z", restarts=0, healthy=True)
WELL: dict[str, Any] = {
    "container": "c1",
    "started_at": "2025-01-21T02:00:00Z",
    "ready": True,
    "answer_seconds": 0.02,
    "memory_bytes": 400,
    "memory_limit_bytes": 1000,
    "log_seconds": 60.0,
}
BEFORE: dict[str, Any] = WELL | {"container": "c0", "log_seconds": 600.0}


def figures(count: int = 5, **changed: Any) -> list[dict[str, Any]]:
    return [WELL | changed] * count


def found(looks: list[dict[str, Any]], before: dict[str, Any] | None = BEFORE) -> list[str]:
    then = {} if before is None else {"n8n": Figures(**before)}
    return [one.figure for one in judge(then, {"n8n": LIFE}, [{"n8n": Figures(**look)} for look in looks])]


@pytest.mark.parametrize(
    ("looks", "before", "expected"),
    [
        pytest.param(figures(), BEFORE, [], id="all is well"),
        pytest.param(figures(1), None, [], id="nothing is known of before"),
        pytest.param([], BEFORE, [], id="nobody looked yet"),
        # restarts
        pytest.param(figures(1, started_at="later", restarts=1), BEFORE, ["restarts"], id="it was started again"),
        pytest.param(figures(1, container="c2"), None, ["restarts"], id="its container was replaced"),
        pytest.param(figures(2, restarts=1, ready=False), BEFORE, ["restarts"], id="of a new life no more is said"),
        # readiness
        pytest.param([*figures(), *figures(1, ready=False)], BEFORE, [], id="one answer is missing"),
        pytest.param([*figures(3, ready=False), *figures(1)], BEFORE, [], id="ready again"),
        pytest.param(figures(2, ready=False), BEFORE, ["readiness"], id="not ready twice"),
        pytest.param(figures(2, ready=False), None, ["readiness"], id="not ready, whatever was before"),
        pytest.param(figures(2, ready=False), BEFORE | {"ready": False}, [], id="it was not ready before either"),
        # error lines: 2 a minute before
        pytest.param(figures(error_lines=11), BEFORE | {"error_lines": 20}, ["error_lines"], id="more than ten"),
        pytest.param(figures(error_lines=10), BEFORE, [], id="ten are not many"),
        pytest.param(figures(error_lines=30), BEFORE | {"error_lines": 100}, [], id="three times as many"),
        pytest.param(figures(error_lines=31), BEFORE | {"error_lines": 100}, ["error_lines"], id="and one more"),
        pytest.param(figures(error_lines=99), BEFORE | {"log_seconds": 0.0}, [], id="it had no log before"),
        pytest.param(figures(error_lines=99), None, [], id="error lines are compared"),
        pytest.param(
            figures(error_lines=12), BEFORE | {"log_seconds": 6.0, "error_lines": 4}, [], id="a young log is a minute's"
        ),
        # memory
        pytest.param(figures(3, memory_bytes=900), BEFORE, ["memory"], id="nine tenths three times"),
        pytest.param(figures(3, memory_bytes=900), None, ["memory"], id="nine tenths, whatever was before"),
        pytest.param(figures(2, memory_bytes=999), BEFORE, [], id="twice is a model being loaded"),
        pytest.param([*figures(1), *figures(2, memory_bytes=999)], BEFORE, [], id="twice of three"),
        pytest.param(figures(3, memory_bytes=999), BEFORE | {"memory_bytes": 900}, [], id="it was full before"),
        pytest.param(figures(3, memory_bytes=999, memory_limit_bytes=None), BEFORE, [], id="it has no limit"),
        pytest.param(figures(3, memory_bytes=None), BEFORE, [], id="nobody knows"),
        # answer times
        pytest.param(figures(3, answer_seconds=1.1), BEFORE, ["answer_seconds"], id="slow three times"),
        pytest.param(
            [*figures(1, answer_seconds=1.1), *figures(2), *figures(2, answer_seconds=1.1)],
            BEFORE,
            ["answer_seconds"],
            id="slow three times of five",
        ),
        pytest.param([*figures(3), *figures(2, answer_seconds=1.9)], BEFORE, [], id="slow twice of five"),
        pytest.param(figures(5, answer_seconds=0.9), BEFORE, [], id="a second is not slow"),
        pytest.param(figures(5, answer_seconds=1.4), BEFORE | {"answer_seconds": 0.3}, [], id="it was slow before"),
        pytest.param(figures(5, answer_seconds=1.9), None, [], id="answer times are compared"),
        pytest.param(figures(5, answer_seconds=1.9), BEFORE | {"answer_seconds": None}, [], id="it was not asked"),
        pytest.param(
            figures(5, memory_bytes=950, answer_seconds=1.9, error_lines=50),
            BEFORE,
            ["error_lines", "memory", "answer_seconds"],
            id="all that is told",
        ),
    ],
)
def test_what_is_a_regression(looks: list[dict[str, Any]], before: dict[str, Any] | None, expected: list[str]) -> None:
    assert found(looks, before) == expected


def test_each_says_what_it_is_in_words() -> None:
    looks = [{"n8n": Figures(**(WELL | {"memory_bytes": 950, "answer_seconds": 1.9, "error_lines": 50}))}] * 5
    told = judge({"n8n": Figures(**BEFORE)}, {"n8n": LIFE}, looks)
    assert [(one.before, one.now, one.message) for one in told] == [
        (0.0, 50, "50 lines of trouble in its log within a minute, 0.0 a minute before"),
        (0.4, 0.95, "it uses 95% of the memory that it may have, 40% before"),
        (0.02, 1.9, "its answers take 1.9 s, 0.02 s before"),
    ]
    [alone] = judge({}, {"n8n": LIFE}, looks)
    assert (alone.before, alone.message) == (None, "it uses 95% of the memory that it may have")
    [again] = judge({}, {"n8n": LIFE}, [{"n8n": Figures(**(WELL | {"restarts": 2}))}])
    assert again.message == "it was started again (restarts: 0 → 2)"
    silent = [{"n8n": Figures(**(WELL | {"ready": False}))}] * 2
    assert judge({}, {"n8n": LIFE}, silent)[0].message == "it does not say that it is ready"


def test_a_container_that_is_gone_is_told() -> None:
    [gone] = judge({}, {"n8n": LIFE}, [{}])
    assert (gone.service, gone.message) == ("n8n", "its container was replaced")


def test_services_that_are_not_to_run_are_not_judged() -> None:
    assert judge({}, {}, [{"n8n": Figures(ready=False)}] * 5) == ()


def test_what_is_certain_is_told_within_fifteen_seconds() -> None:
    """Each look may take as long as two probes that time out; the slowest rule needs three looks."""
    assert 3 * (LOOK_SECONDS + 2.0) < 15


numbers = st.fixed_dictionaries(
    {
        "answer_seconds": st.floats(0, 2),
        "memory_bytes": st.integers(0, 899),
        "error_lines": st.integers(0, 200),
    }
)


@given(st.lists(numbers, max_size=10), st.floats(0, 2), st.integers(0, 2000))
def test_what_is_below_all_floors_or_as_before_never_goes_back(
    looks: list[dict[str, Any]], answers: float, errors: int
) -> None:
    before = BEFORE | {"answer_seconds": answers, "error_lines": errors}
    bound, rate = max(1.0, 5 * answers), errors / 10
    tame = [
        look | {"answer_seconds": min(look["answer_seconds"], bound), "error_lines": min(look["error_lines"], rate)}
        for look in looks
    ]
    assert found([WELL | look for look in tame], before) == []
