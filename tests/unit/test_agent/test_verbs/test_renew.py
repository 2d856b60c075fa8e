"""``newer`` and ``renew``: what is held back is renewed when that is said, and held back again."""

from __future__ import annotations

import pytest

from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent, do

NEWER = {"docker.io": ["26.1.5+dfsg1-9+b9", "26.1.5+dfsg1-9+b10"]}


def test_what_is_newer_is_told_by_the_archive(mounted: DirectAgent, machine: Machine) -> None:
    assert do(mounted, "newer") == {"newer": {}}
    machine.update(newer=NEWER)
    assert do(mounted, "newer") == {"newer": NEWER}
    assert "update" in machine.calls("apt-get")[-2]


def test_lists_that_cannot_be_renewed_are_a_note(mounted: DirectAgent, machine: Machine) -> None:
    machine.fail("apt-get -q -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef update", "no route")
    assert do(mounted, "newer") == {"newer": {}}
    assert "The package lists could not be renewed" in mounted.reporter.notes()[-1]


def test_it_is_renewed_and_held_back_again(mounted: DirectAgent, machine: Machine) -> None:
    machine.update(newer=NEWER)
    do(mounted, "begin", operation="op-1")
    before = len(machine.calls("apt-mark"))
    assert do(mounted, "renew", operation="op-1") == {"renewed": NEWER}
    assert len(machine.calls("apt-mark")) == before + 1
    installs = [call for call in machine.calls("apt-get") if "--only-upgrade" in call and "--simulate" not in call]
    assert len(installs) == 1 and "--allow-change-held-packages" in installs[0]
    assert do(mounted, "renew", operation="op-1") == {"renewed": {}}


def test_one_that_stays_is_an_error_and_is_held_back_all_the_same(mounted: DirectAgent, machine: Machine) -> None:
    machine.update(newer=NEWER, upgrades=False)
    do(mounted, "begin", operation="op-1")
    before = len(machine.calls("apt-mark"))
    with pytest.raises(AgentError, match="could not be renewed"):
        do(mounted, "renew", operation="op-1")
    assert len(machine.calls("apt-mark")) == before + 1


def test_only_under_the_lease(mounted: DirectAgent) -> None:
    with pytest.raises(AgentError):
        do(mounted, "renew", operation="op-2")
