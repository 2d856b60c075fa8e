"""Which version a rollback goes to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.engine.standing import archive, judge
from geusemaker.errors import RefusedError
from geusemaker.models.request import RollbackRequest
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.rollback.target import (
    advice,
    choose_target,
    default_target,
    objections,
    repair_target,
    replacing,
)
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
        pytest.param(
            (version(1), bad(2), version(3), version(4, source=2, config=config("1.2.0")), version(5)),
            {},
            3,
            id="not the copy of a bad one",
        ),
        pytest.param(
            (version(1), version(2), failed(3), failed(4, config=config("1.2.0"), gate_failed=True)),
            {"last_failed": True},
            1,
            id="not what has just failed, though it was healthy once",
        ),
        pytest.param(
            (version(1), version(2), failed(3), failed(4, config=config("1.2.0"))),
            {"last_failed": True},
            2,
            id="a lack of capacity is no verdict",
        ),
        pytest.param(
            (version(1), version(2, gate_failed=True)), {"last_failed": True}, 1, id="a healthy one found failing later"
        ),
        pytest.param(
            (version(1), version(2), version(3, config=config("1.1.0"), newer_data=True), version(4)),
            {},
            2,
            id="not what ran on newer data",
        ),
        pytest.param(
            (version(1), failed(2, config=config("1.1.0"), gate_failed=True), version(3, config=config("1.1.0"))),
            {"last_failed": True},
            3,
            id="what worked when it was tried again",
        ),
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
        pytest.param(
            (version(1),), {}, "no earlier healthy version .* no other version that ever", id="nothing earlier"
        ),
        pytest.param(
            (version(1), version(2, config=config(retention=1))),
            {},
            "Nothing was changed; v2 stays active. .*v1 is archived.*--to-version 1 --allow-archived",
            id="only archived ones",
        ),
        pytest.param(
            (failed(1),), {}, "no earlier healthy version .* Nothing was changed\\. There", id="nothing active"
        ),
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


@pytest.mark.parametrize(
    ("versions", "more", "failing", "target"),
    [
        pytest.param((version(1), version(2)), {}, False, 2, id="what is active is put right"),
        pytest.param((version(1), version(2)), {}, True, 1, id="unless it fails by itself"),
        pytest.param((version(1), bad(2)), {}, False, 1, id="or is bad"),
        pytest.param((version(1), version(2, gate_failed=True)), {}, False, 1, id="or was found failing"),
        pytest.param((version(1), version(2, newer_data=True)), {}, False, 2, id="what runs on newer data goes on"),
        pytest.param(
            (version(1), version(2, newer_data=True)), {"last_failed": True}, False, 1, id="but is not returned to"
        ),
        pytest.param((version(1), version(2)), {"destroyed": True, "interrupted": True}, False, 2, id="destroyed"),
        pytest.param((version(1),), {}, True, None, id="nothing else"),
        pytest.param((bad(1),), {}, False, 1, id="bad, and nothing else"),
        pytest.param((bad(1),), {"interrupted": True}, False, None, id="bad, nothing else, and not gone to"),
        pytest.param((failed(1),), {"last_failed": True}, False, None, id="never healthy"),
    ],
)
def test_where_a_recovery_goes(
    versions: tuple[Version, ...], more: dict[str, bool], failing: bool, target: int | None
) -> None:
    found = repair_target(state(*versions, **more), failing=failing)
    assert (found.number if found else None) == target


@pytest.mark.parametrize(
    ("versions", "more", "failing", "said"),
    [
        pytest.param((version(1), version(2)), {}, True, r"rollback prod`: it goes back to v1\.", id="the other one"),
        pytest.param((version(1),), {}, True, "no other version .*`geusemaker update prod`", id="no other"),
        pytest.param(
            (version(1), bad(2), failed(3)),
            {"last_failed": True},
            False,
            r"rollback prod`: it goes back to v1\.",
            id="not the bad one",
        ),
        pytest.param(
            (
                bad(1),
                version(2, newer_data=True),
                version(3),
                failed(4, config=config("1.3.0"), gate_failed=True),
                failed(5, gate_failed=True),
            ),
            {"last_failed": True},
            False,
            r"v3 failed when it was last tried \(as v4\); v2 last ran on data that newer .*; v1 is marked bad and is "
            r"archived\. .*`geusemaker rollback prod --to-version 3`",
            id="why none is left, the last ones by number",
        ),
        pytest.param(
            (version(1), version(2), version(3, source=1, config=config("1.1.0")), failed(4, gate_failed=True)),
            {"last_failed": True, "interrupted": True},
            False,
            "it goes back to v3",
            id="what was returned to",
        ),
        pytest.param(
            (version(1), version(2), version(3, source=1, config=config("1.1.0"), gate_failed=True)),
            {"last_failed": True},
            False,
            "by itself: v2 was left before.*--to-version 2`",
            id="what was left by a rollback is a person's choice",
        ),
        pytest.param(
            (version(1, newer_data=True), version(2, config=config("1.2.0", retention=1), gate_failed=True)),
            {},
            True,
            "--to-version 1 --allow-data-downgrade --allow-archived",
            id="with the flags it takes",
        ),
        pytest.param(
            (bad(1),),
            {"last_failed": True},
            False,
            "v1 is marked bad.*--to-version 1 --allow-bad`",
            id="what failed left no entry, so it is not the newest there is",
        ),
    ],
)
def test_advice(versions: tuple[Version, ...], more: dict[str, bool], failing: bool, said: str) -> None:
    assert re.search(said, advice(state(*versions, **more), failing=failing)), advice(state(*versions, **more))


def test_the_way_to_another_machine_image_is_told_with_its_flag() -> None:
    gpu = config("1.2.0", ami="ami-gpu")
    fell = state(version(1), failed(2, config=gpu), last_failed=True)
    assert advice(fell) == "Run `geusemaker rollback prod --allow-replace`: it goes back to v1."
    assert replacing(fell, fell.versions[1]) == () and replacing(state(), version(1)) == ()
    left = state(bad(1), version(2, config=gpu))
    assert "`geusemaker rollback prod --to-version 1 --allow-bad --allow-archived --allow-replace`" in advice(left)


def test_the_command_that_is_advised_is_accepted() -> None:
    broken = state(bad(1), version(2), failed(3, config=config("1.2.0"), gate_failed=True), last_failed=True)
    assert "--to-version 1 --allow-bad --allow-archived`" in advice(broken)
    assert choose_target(broken, RollbackRequest(to_version=1, allow_bad=True, allow_archived=True)).number == 1


def any_versions() -> st.SearchStrategy[tuple[Version, ...]]:
    """Histories of a few configs tried again and again, with every verdict."""
    one = st.tuples(
        st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.none() | st.integers(1, 6)
    )

    def build(tried: list[tuple[int, bool, bool, bool, bool, int | None]]) -> tuple[Version, ...]:
        return tuple(
            version(
                number,
                config=config(f"1.{which}.0", retention=2),
                status="superseded" if healthy else "failed",
                healthy=healthy,
                bad=bad,
                gate_failed=gate_failed,
                newer_data=newer,
                source=source if source is not None and source < number else None,
            )
            for number, (which, healthy, bad, gate_failed, newer, source) in enumerate(tried, 1)
        )

    return st.lists(one, max_size=7).map(build)


@given(any_versions(), st.booleans(), st.booleans(), st.booleans())
def test_no_version_is_gone_to_by_itself_whose_config_is_condemned(
    versions: tuple[Version, ...], last_failed: bool, interrupted: bool, failing: bool
) -> None:
    found = state(*versions, last_failed=last_failed, interrupted=interrupted)
    target, repaired = default_target(found), repair_target(found, failing=failing)
    if target is not None:
        same = [one for one in found.versions if one.config.system == target.config.system]
        last = next(one for one in reversed(same) if one.healthy or one.gate_failed)
        assert not any(one.bad for one in versions if one.config.system == target.config.system)
        assert last.healthy and not last.gate_failed and not last.newer_data and not target.archived
    if found.unsettled:
        assert target == repaired, "two verbs never disagree"
    if repaired is not None:
        put_right = repaired == found.last_healthy and not found.unsettled and not failing
        assert (not repaired.bad and repaired.failed_as is None) or (put_right and target is None), (
            "nothing else is left"
        )
        assert (
            not failing
            or found.unsettled
            or repaired.config.system != found.versions[-1].config.system
            or (found.active is not None and repaired.number < found.active.number)
        )
    said = advice(found, failing=failing)
    for number in re.findall(r"--to-version (\d+)", said):
        named = found.find_version(int(number))
        assert named is not None and named.healthy
        fell = last_failed and (versions[-1].gate_failed or not versions[-1].healthy)
        assert not fell or named.config.system != versions[-1].config.system, "it has just failed"


@given(any_versions())
def test_judging_again_changes_nothing(versions: tuple[Version, ...]) -> None:
    once = judge(versions)
    assert judge(once) == once
    assert [one.number for one in once if one.same_as is None] == sorted(
        min(one.number for one in once if one.config.system == system) for system in {v.config.system for v in once}
    )
    assert all(
        not objections(one) or one.archived
        for one in archive(once)
        if one.healthy and not any((one.bad, one.failed_as, one.newer_data_as))
    )
