"""Pulumi's lock on a stack: recognised in every backend's words, and whose it is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pulumi.automation import CommandResult
from pulumi.automation.errors import create_command_error

from geusemaker.engine import locks
from geusemaker.engine.cli import translate
from geusemaker.errors import BackendDamagedError, DeploymentBusyError
from geusemaker.models.history import LockOwner

HERE = socket.gethostname()
NAMED = (
    "error: the stack is currently locked by 2 lock(s). Either wait for the other process(es) to end or delete the "
    "lock file with `pulumi cancel`.\n"
    f"  s3://b/.pulumi/locks/organization/geusemaker/prod/a.json: created by ann@{HERE} (pid 7) at 2025-01-21T02:00Z\n"
    "  s3://b/.pulumi/locks/organization/geusemaker/prod/b.json: created by a b@ci-1 (pid 8) at 2025-01-21T02:00:01Z"
)


def owner(host: str, *, lives: bool) -> LockOwner:
    return LockOwner(pid=1, user="ann", host=host, since="now", lives=lives)


def test_of_several_locks_the_one_that_may_not_be_removed_counts() -> None:
    dead, alive, elsewhere = owner(HERE, lives=False), owner(HERE, lives=True), owner("ci-1", lives=False)
    assert locks.foremost([dead, elsewhere, alive]) == alive
    assert locks.foremost([dead, elsewhere]) == elsewhere
    assert locks.foremost([dead]) == dead and locks.foremost([]) is None
    found = locks.read_refusal(NAMED, lambda pid: False)
    assert found is not None and (found.host, found.user, found.pid) == ("ci-1", "a b", 8)


@pytest.mark.parametrize(
    "said",
    [
        "error: [409] Conflict: Another update is currently in progress.",
        "error: [409] Conflict: Another update is currently in progress.\nTo learn more about possible reasons and "
        "resolution, visit https://www.pulumi.com/docs/support/troubleshooting/common-issues/update-conflicts/",
    ],
)
def test_pulumi_clouds_conflict_is_a_lock_that_names_nobody(said: str) -> None:
    failed = create_command_error(CommandResult(stdout="", stderr=said, code=255))
    error = translate(failed, "The update failed.", "prod", ())
    assert isinstance(error, DeploymentBusyError) and error.exit_code == 6
    assert error.lock is not None and not error.lock.host
    assert "an update is in progress" in error.message and "@" not in error.message


@pytest.mark.parametrize("said", ["error: [409] Conflict: stack already exists", "error: update failed", ""])
def test_other_failures_are_no_lock(said: str) -> None:
    assert locks.read_refusal(said, lambda pid: True) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "\x00"])
def test_a_lock_that_cannot_be_read_is_told_with_the_way_out(tmp_path: Path, content: str) -> None:
    folder = tmp_path / ".pulumi" / "locks" / "organization" / "geusemaker" / "prod"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(content)
    with pytest.raises(BackendDamagedError, match="whose it is cannot be told") as refused:
        locks.read_folder(tmp_path, "prod", lambda pid: False)
    assert "geusemaker doctor prod --repair" in refused.value.next_step
