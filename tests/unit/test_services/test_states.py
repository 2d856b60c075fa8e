"""How much of a history is read, and that what it says does not depend on that."""

from __future__ import annotations

import pytest

from geusemaker.errors import DeploymentBusyError
from geusemaker.models.history import LockOwner
from geusemaker.services import states
from geusemaker.services.engine_lock import clear_dead_lock, named_owner
from geusemaker.services.lost import lost_operation
from geusemaker.services.mark.service import MarkService
from geusemaker.services.states import load_state
from tests.unit.fakes import HOST_NAME, World

PAGE = 8


@pytest.fixture
def long(deployed: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """v1 to v20, all healthy; a page of the history holds the newest eight."""
    monkeypatch.setattr(states, "HISTORY_PAGE", PAGE)
    for minor in range(2, 21):
        assert deployed.n8n(f"1.{minor}.0").success
    return deployed


def test_the_newest_page_is_enough_for_an_ordinary_change(long: World) -> None:
    long.engine.limits.clear()
    plan = long.rollback(dry_run=True)
    assert (plan.source_version, long.engine.limits) == (19, [PAGE])


def test_the_newest_page_and_the_whole_history_say_the_same(long: World) -> None:
    newest, whole = load_state(long.collaborators()), load_state(long.collaborators(), whole=True)
    assert len(newest.versions) == PAGE
    assert newest.versions == whole.versions[-PAGE:]
    assert newest.model_copy(update={"versions": ()}) == whole.model_copy(update={"versions": ()})
    assert newest.next_number == whole.next_number == 21
    assert [version.number for version in newest.versions if not version.archived] == [16, 17, 18, 19, 20]


def test_older_pages_are_read_for_an_older_version(long: World) -> None:
    long.engine.limits.clear()
    assert long.rollback(to_version=3, allow_archived=True, dry_run=True).source_version == 3
    assert long.engine.limits == [PAGE, None]


def test_older_pages_are_read_for_a_pinned_version(long: World) -> None:
    MarkService(long.collaborators()).pin(2, pinned=True)
    long.engine.limits.clear()
    state = load_state(long.collaborators())
    assert long.engine.limits == [PAGE, None]
    pinned = state.find_version(2)
    assert pinned is not None and not pinned.archived


def test_an_operation_of_an_older_page_is_not_lost(long: World) -> None:
    first = load_state(long.collaborators(), whole=True).versions[0].provenance.operation_id
    lease = long.machine.lease
    assert lease is not None
    lease.update(operation=first, changed=True, last_changed=first)
    assert lost_operation(load_state(long.collaborators()), long.machine.held_by()) == first
    assert long.inspect().status == "healthy"


def test_older_pages_are_read_where_failures_fill_the_newest(long: World) -> None:
    for patch in range(1, 6):
        assert not long.n8n(f"1.30.{patch}-crash", auto_rollback_on_failure=False).success
    long.engine.limits.clear()
    state = load_state(long.collaborators())
    assert long.engine.limits == [PAGE, None]
    assert [version.number for version in state.versions if not version.archived and version.healthy] == [
        *(16, 17, 18, 19, 20)
    ]


@pytest.mark.parametrize("lives", [False, True])
def test_a_lock_that_the_backend_does_not_name_is_that_of_the_last_operation(deployed: World, lives: bool) -> None:
    """Pulumi Cloud tells that an update runs, not whose; whether an engine works on the stack here is looked at."""
    unnamed = LockOwner(pid=0, user="", host="", since="", lives=lives)
    deployed.engine.lock = unnamed
    state = deployed.state()
    found = named_owner(deployed.collaborators(), state, unnamed)
    assert found is not None and found.host == HOST_NAME and found.lives is lives
    if lives:
        deployed.alive.add(0)  # so the engine finds one of its own at work here
        with pytest.raises(DeploymentBusyError, match=f"on {HOST_NAME}"):
            clear_dead_lock(deployed.collaborators(), state)
    else:
        clear_dead_lock(deployed.collaborators(), state)
        assert deployed.engine.lock is None


def test_a_lock_of_another_machines_operation_takes_the_operators_word(deployed: World) -> None:
    deployed.engine.lock = LockOwner(pid=0, user="", host="", since="", lives=False)
    state = deployed.state()
    assert state.intent is not None
    state = state.model_copy(update={"intent": state.intent.model_copy(update={"host": "ci-1"})})
    with pytest.raises(DeploymentBusyError, match="on ci-1"):
        clear_dead_lock(deployed.collaborators(), state)
    clear_dead_lock(deployed.collaborators(), state, owner_is_gone=True)
    assert deployed.engine.lock is None
