"""Backups: how often one is taken by itself, how many are kept, and what came of the last one."""

from __future__ import annotations

import json

from geusemaker.agent.clock import now
from geusemaker.agent.document import Json
from geusemaker.agent.files import read_leniently, write_atomic
from geusemaker.agent.retention import Planned, surplus
from geusemaker.agent.store.checkpoints import BACKUP, Checkpoints

_VERSIONS = ("deploy", "update", "rollback", "recover")
"""Kinds of operations that make a version."""


class Backups(Checkpoints):
    """The plan stands beside the data: another instance, another machine and whoever adopts the data go on with it."""

    def backup_plan(self) -> Json:
        """``every_seconds``, ``keep``, ``since``, ``by``; empty: none is taken by itself."""
        found = read_leniently(self.backup_plan_file)
        return found if found.keys() >= {"every_seconds", "keep", "since"} else {}

    def plan_backups(self, every: float, keep: int, by: str) -> Json:
        """Note how often, and how many are kept."""
        plan = {"every_seconds": every, "keep": keep, "since": now(), "by": by}
        write_atomic(self.backup_plan_file, json.dumps(plan), 0o600)
        return plan

    def forget_backup_plan(self) -> None:
        self.backup_plan_file.unlink(missing_ok=True)

    def backup_state(self) -> Json:
        """The ``plan``, the last good one (``done``), and what ``failed`` since; each None where there is none."""
        noted = read_leniently(self.backup_file)
        done = noted.get("done")
        if done and not (self.checkpoints / str(done.get("checkpoint"))).is_dir():  # somebody removed it
            whole = [one for one in self.list_checkpoints() if one.get("kind") == BACKUP and one.get("verified_at")]
            done = _told(whole[-1]) if whole else None
        return {"plan": self.backup_plan() or None, "done": done or None, "failed": noted.get("failed") or None}

    def note_backup(self, about: Json) -> None:
        """Note a good one; what failed before it matters no more."""
        write_atomic(self.backup_file, json.dumps({"done": _told(about)}), 0o600)

    def note_backup_failure(self, detail: str) -> None:
        """Note why one was not made, beside the last good one."""
        noted = {**read_leniently(self.backup_file), "failed": {"at": now(), "detail": detail}}
        write_atomic(self.backup_file, json.dumps(noted), 0o600)

    def remove_surplus(self, keep: int) -> list[str]:
        """Remove the backups of the plan that are too many; those that somebody asked for stay."""
        planned = [
            Planned(str(one["checkpoint"]), str(one["taken_at"]), bool(one.get("verified_at")))
            for one in self.list_checkpoints()
            if one.get("kind") == BACKUP and one.get("planned")
        ]
        gone = surplus(planned, keep)
        for name in gone:
            self.remove_backup(name)
        return gone

    def remove_backup(self, name: str) -> None:
        """Remove one."""
        import shutil

        path = self.checkpoints / name
        going = path.with_name(f".{path.name}.going")  # half of one must not look like a whole one
        path.rename(going)
        shutil.rmtree(going)


def version_of(entries: list[Json], lease: Json) -> int:
    """The version whose data it is: that of the last operation that made one, as the journal has it."""
    made = (one for one in reversed(entries) if one.get("success") and one.get("kind") in _VERSIONS)
    found = next(made, {}).get("number") or lease.get("number")
    return found if isinstance(found, int) and found > 0 else 1


def _told(about: Json) -> Json:
    return {
        "checkpoint": about["checkpoint"],
        "backup": about["operation"],
        "at": about["taken_at"],
        "bytes": sum(held["bytes"] for held in about["holds"]),
        "planned": bool(about.get("planned")),
    }
