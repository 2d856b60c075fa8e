"""Which version a rollback goes to."""

from __future__ import annotations

import re

import pytest

from geusemaker.errors import RefusedError
from geusemaker.models.request import RollbackRequest
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.rollback.target import choose_target, default_target
from tests.unit.samples import config, failed, state, version

SAME = config(n8n="1.7.0")


def bad(number: int) -> Version:
    """A healthy version that was marked bad."""
    return version(number, bad=True)


@pytest.mark.parametrize(
    ("versions", "more", "target"),
    [
        pytest.param((version(1), version(2)), {}, 1, id="the one before"),
        pytest.param((version(1),), {}, None, id="only one"),
        pytest.param((), {}, None, id="none"),
        pytest.param((failed(1),), {}, None, id="never healthy"),
        pytest.param((version(1), failed(2), version(3)), {}, 1, id="not N-1 when that had failed"),
        pytest.param((version(1), bad(2), version(3)), {}, 1, id="not a bad one"),
        pytest.param((version(1), version(2, config=SAME), version(3, config=SAME)), {}, 1, id="not the identical one"),
        pytest.param(
            (version(1), version(2, config=config("1.7.0", retention=9)), version(3, config=SAME)),
            {},
            1,
            id="settings of ours make no other system",
        ),
        pytest.param(
            (version(1), version(2), version(3), version(4, source=2, config=config("1.2.0"))), {}, 1, id="further back"
        ),
        pytest.param(
            (version(1), version(2), version(3), version(4, source=2), version(5, source=4)),
            {},
            1,
            id="chain of sources",
        ),
        pytest.param((version(4, source=3), version(5, source=2)), {}, None, id="source beyond what was read"),
        pytest.param((version(3, source=3),), {}, None, id="a source that is itself"),
        pytest.param((version(1), version(2)), {"last_failed": True}, 2, id="after a failure the last healthy itself"),
        pytest.param((version(1), version(2)), {"interrupted": True}, 2, id="after a kill the last healthy itself"),
        pytest.param((version(1), bad(2)), {"last_failed": True}, 1, id="but not when that is bad"),
        pytest.param((version(1), version(2)), {"destroyed": True}, None, id="nothing is active after a destroy"),
        pytest.param(
            (version(1), version(2, config=config(retention=1))), {}, None, id="an archived one only by number"
        ),
    ],
)
def test_default_target(versions: tuple[Version, ...], more: dict[str, bool], target: int | None) -> None:
    found = default_target(state(*versions, **more))

    assert (found.number if found else None) == target
    if target is not None:
        assert choose_target(state(*versions, **more), RollbackRequest()).number == target


FOUR = (version(1), failed(2), bad(3), version(4, config=config(retention=2, n8n="1.4.0")))


@pytest.mark.parametrize(
    ("versions", "request_", "said"),
    [
        pytest.param(FOUR, {"to_version": 7}, "no version 7; there are: v1, v2, v3, v4", id="unknown"),
        pytest.param((), {"to_version": 1}, "there are: none", id="no versions"),
        pytest.param(FOUR, {"to_version": 4}, "active version", id="active"),
        pytest.param(FOUR, {"to_version": 2}, "never became healthy", id="never healthy"),
        pytest.param(FOUR, {"to_version": 3}, "marked bad", id="bad"),
        pytest.param(FOUR, {"to_version": 3, "allow_unhealthy": True}, "marked bad", id="another flag does not help"),
        pytest.param((version(1, config=SAME), version(2, config=SAME)), {"to_version": 1}, "same config", id="same"),
        pytest.param(
            (version(1), version(2, config=config(retention=1))), {"to_version": 1}, "past retention", id="archived"
        ),
        pytest.param((version(1),), {}, "no earlier healthy version .* to go back to\\.", id="nothing earlier"),
        pytest.param(
            (version(1), version(2, config=config(retention=1))),
            {},
            "not archived. Nothing was changed; v2 stays active. .*--to-version 1 --allow-archived",
            id="only archived ones",
        ),
        pytest.param((failed(1),), {}, "no earlier healthy version .* Nothing was changed\\. See", id="nothing active"),
    ],
)
def test_refusals(versions: tuple[Version, ...], request_: dict[str, object], said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        choose_target(state(*versions), RollbackRequest.model_validate(request_))

    assert re.search(said, str(refused.value)), str(refused.value)
    assert refused.value.exit_code == 5 and refused.value.next_step


@pytest.mark.parametrize(
    ("versions", "request_"),
    [
        (FOUR, {"to_version": 2, "allow_unhealthy": True}),
        (FOUR, {"to_version": 3, "allow_bad": True}),
        ((version(1), version(2, config=config(retention=1))), {"to_version": 1, "allow_archived": True}),
        (FOUR, {"to_version": 1}),
    ],
)
def test_a_named_flag_opens_its_own_door(versions: tuple[Version, ...], request_: dict[str, object]) -> None:
    request = RollbackRequest.model_validate(request_)
    assert choose_target(state(*versions), request).number == request.to_version


@pytest.mark.parametrize("unsettled", ["last_failed", "interrupted"])
def test_what_is_active_may_be_asked_for_when_it_may_not_run(unsettled: str) -> None:
    broken: DeploymentState = state(version(1), version(2), **{unsettled: True})
    assert choose_target(broken, RollbackRequest(to_version=2)).number == 2
