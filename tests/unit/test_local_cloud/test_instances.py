from __future__ import annotations

import pytest

from geusemaker.local_cloud.instances import Step, steps
from geusemaker.local_cloud.machines import Wanted


def _wanted(state: str) -> Wanted:
    return Wanted(
        instance_id="i-1",
        running=state == "running",
        exists=state != "terminated",
        state=state,
        address=None,
        region="us-east-1",
        zone="us-east-1a",
        user_data="",
        authorized_key="",
        vcpus=2,
        memory_mib=8192,
    )


@pytest.mark.parametrize(
    ("wanted", "on", "reboot", "expected"),
    [
        (_wanted("running"), False, False, ["boot", "listen"]),
        (_wanted("running"), True, False, ["attach", "listen"]),
        (_wanted("running"), True, True, ["shut_down", "boot", "listen"]),
        (_wanted("running"), False, True, ["boot", "listen"]),
        (_wanted("stopped"), True, False, ["shut_down"]),
        (_wanted("stopped"), False, False, []),
        (_wanted("terminated"), True, False, ["shut_down", "remove"]),
        (_wanted("terminated"), False, False, ["remove"]),
        (None, True, False, ["shut_down", "remove"]),
    ],
)
def test_what_a_machine_does_to_follow_ec2(wanted: Wanted | None, on: bool, reboot: bool, expected: list[Step]) -> None:
    assert steps(wanted, on, reboot) == expected
