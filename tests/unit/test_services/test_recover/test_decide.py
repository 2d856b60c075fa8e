"""What a process may repair that nobody watches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from geusemaker.errors import RefusedError
from geusemaker.models.ending import InstanceEnd
from geusemaker.models.inspection import Inspection, InstanceState
from geusemaker.models.version import Version
from geusemaker.services.recover.decide import decide, pause, repairs_since, require_interrupted
from tests.unit.samples import NIGHT, config, provenance, version

NOW = NIGHT + timedelta(hours=1)


def repaired(number: int, hours_ago: float = 0.5, **more: Any) -> Version:
    made = provenance(number, "recover", trigger="spot_interruption", created_at=NOW - timedelta(hours=hours_ago))
    return version(number, **more).model_copy(update={"provenance": made})


def seen(status: str = "unreachable", cause: Any = "interrupted", *versions: Version, **more: Any) -> Inspection:
    """A deployment with v1; how it is, and why its instance does not run."""
    ended = InstanceEnd(cause=cause, why="EC2 took i-1 back") if cause else None
    known = [version(1), *versions]
    values: dict[str, Any] = {"active_version": known[-1].number, "summary": "All of it.", "versions": known}
    return Inspection(deployment="prod", target="local", status=status, ended=ended, **(values | more))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (seen("healthy", None), "well"),
        (seen("stopped", None), "well"),
        (seen("destroyed", None), "well"),
        (seen("settling", None), "well"),
        (seen("healthy", "returned"), "repairs"),
        (seen("running", "interrupted"), "waits"),
        (seen("unhealthy", "ending"), "waits"),
        (seen(), "repairs"),
        (seen("unhealthy"), "repairs"),
        (seen("unreachable", "on_purpose"), "leaves"),
        (seen("unreachable", "unknown"), "leaves"),
        (seen("unreachable", None), "leaves"),
        (seen("unhealthy", None), "leaves"),
        (seen("unhealthy", "returned"), "leaves"),
        (seen("drifted", None), "leaves"),
        (seen("interrupted"), "leaves"),
        (seen("failed"), "leaves"),
        (seen("failed", None, versions=[]), "leaves"),
        (seen("failed", None, repaired(2)), "repairs"),
        (seen("unreachable", "interrupted", repaired(2), repaired(3)), "repairs"),
        (seen("unreachable", "interrupted", repaired(2), repaired(3), repaired(4)), "gave-up"),
        (seen("unreachable", "interrupted", repaired(2, 25), repaired(3), repaired(4)), "repairs"),
        (seen("unreachable", "interrupted", active_version=None), "repairs"),
    ],
)
def test_only_an_instance_that_nobody_wanted_to_stop_is_brought_back(found: Inspection, verdict: str) -> None:
    assert decide(found, NOW).verdict == verdict


def test_what_ec2_alone_can_start_is_waited_for() -> None:
    taken = InstanceState(id="i-1", type="t", state="stopped", address="", reason="Server.SpotInstanceShutdown")
    bought = version(2, config=config(purchase="spot"))
    assert decide(seen("unreachable", "interrupted", bought, instance=taken), NOW).verdict == "waits"


def test_a_repair_by_a_person_counts_as_well_and_nothing_else_does() -> None:
    known = [version(1), repaired(2), repaired(3, 24.5), version(4, kind="recover")]
    assert repairs_since(known, NOW - timedelta(hours=24)) == 1


def test_what_came_to_nothing_is_tried_again_later_and_later() -> None:
    assert [pause(300, failures) for failures in (0, 1, 2, 9, 99)] == [300, 600, 1200, 3600, 3600]
    assert pause(7200, 3) == 7200


def test_it_is_asked_once_more_right_before() -> None:
    require_interrupted(seen(), NOW)
    with pytest.raises(RefusedError, match=r"not repaired unattended: All of it\."):
        require_interrupted(seen("drifted", None), NOW)
    with pytest.raises(RefusedError, match="not repaired unattended: an operation"):
        require_interrupted(seen("running", None), NOW)
