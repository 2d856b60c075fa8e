"""The lease is the one right to change the deployment."""

from __future__ import annotations

import json
from typing import Any, Final

from geusemaker.agent.clock import now
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, write_atomic
from geusemaker.agent.store.folder import Folder

_STATES: Final = ("held", "released")
IDLE_OPERATIONS: Final = 50  # so many that changed nothing are remembered by the lease
GO_BEFORE: Final = ("rollback", "recover")  # kinds of operation that whoever only looks on gives way to
DONE: Final = "done"  # the outcome of an operation that may be run once more, by a plain `pulumi up`


class Lease(Folder):
    """Who may change the deployment, and who did last."""

    def lease(self) -> Json | None:
        """Who may change the deployment, or did last; None: nobody ever.

        Raises:
            AgentError: lease_damaged
        """
        try:
            found = read_json(self.lease_file)
        except AgentError as error:
            raise AgentError("lease_damaged", error.message) from error
        if found is not None and not (isinstance(found.get("operation"), str) and found.get("state") in _STATES):
            raise AgentError("lease_damaged", f"{self.lease_file} names no operation and state.")
        return found

    def read_lease(self) -> tuple[Json | None, str | None]:
        """(the lease, why it cannot be read)."""
        try:
            return self.lease(), None
        except AgentError as error:
            if error.code != "lease_damaged":
                raise
            return None, error.message

    def begin(
        self, operation: str, expects: str | None, takeover: str | None, facts: Json, *, salvage: bool = False
    ) -> Json:
        """Take the lease for an operation; with ``salvage`` one that cannot be read is set aside, and a new one made.

        Raises:
            AgentError: lease_held, lease_damaged
        """
        with self._locked():
            if salvage and self.read_lease()[1] is not None:
                self.lease_file.rename(self.folder / f"lease.json.damaged-{operation}")
            lease = self.lease()
            if lease and lease["operation"] == operation and lease["state"] == "held":
                return lease
            if lease and not _may_take_over(lease, takeover):
                if lease["state"] == "held" and not _gives_way(lease, facts):
                    raise AgentError("lease_held", _held_by(lease), holder=lease)
                if expects is not None and expects not in _last_operations(lease):
                    raise AgentError(
                        "lease_held",
                        f"The deployment was changed by operation {lease['operation']} in the meantime, "
                        f"while {expects} was expected to be the last one.",
                        holder=lease,
                    )
            return self._take(operation, lease, facts)

    def take_for_apply(self, operation: str, expects: str | None, takeover: str | None, facts: Json) -> Json:
        """The lease, if it is this operation's or may become so without ``begin`` (a first deploy, a plain up).

        Raises:
            AgentError: lease_lost
        """
        with self._locked():
            lease = self.lease()
            if lease is None or not (lease["state"] == "held" and lease["operation"] == operation):
                if lease is not None and not _may_follow(lease, operation, expects, takeover):
                    raise _lease_lost(operation, lease)
                lease = self._take(operation, lease, {**facts, "taken_by": "apply"})
            return self._update(lease, changed=True, serving=facts["instance_id"])

    def require(self, operation: str, *, held: bool) -> Json:
        """The lease of this operation; with ``held`` it must not have been given back yet.

        Raises:
            AgentError: lease_lost
        """
        lease = self.lease()
        if lease is None or lease["operation"] != operation or (held and lease["state"] != "held"):
            raise _lease_lost(operation, lease)
        return lease

    def change(self, operation: str, **values: Any) -> Json:
        """Set facts of the lease that this operation holds."""
        with self._locked():
            return self._update(self.require(operation, held=True), **values)

    def give_way(self, operation: str, *, gives_way: bool = True) -> Json:
        """From now on a rollback or a recovery may take the lease that this operation holds, or may no more.

        Raises:
            AgentError: lease_lost
        """
        return self.change(operation, gives_way=gives_way)

    def end(self, operation: str, outcome: str) -> Json:
        """Give the lease back; again is fine. Its operation stays readable as the last one.

        Raises:
            AgentError: lease_lost
        """
        with self._locked():
            lease = self.lease()
            if lease is None or lease["operation"] != operation:
                raise _lease_lost(operation, lease)
            last = operation if lease.get("changed") else lease.get("last_changed")
            return self._update(lease, state="released", outcome=outcome, ended_at=now(), last_changed=last)

    def _take(self, operation: str, before: Json | None, facts: Json) -> Json:
        before = before or {}
        # An operation that was taken over in the middle may have changed anything.
        lost = before.get("state") == "held" and before.get("changed")
        idle = [] if before.get("changed") or not before else [*before.get("idle", ()), before["operation"]]
        lease = {
            "operation": operation,
            "state": "held",
            "changed": False,
            "last_changed": before["operation"] if lost else before.get("last_changed"),
            "idle": idle[-IDLE_OPERATIONS:],
            "previous": before.get("operation"),
            "serving": before.get("serving"),
            "taken_at": now(),
            **facts,
        }
        self._write_lease(lease)
        return lease

    def _update(self, lease: Json, **values: Any) -> Json:
        updated = {**lease, **values}
        if updated != lease:
            self._write_lease(updated)
        return updated

    def _write_lease(self, lease: Json) -> None:
        write_atomic(self.lease_file, json.dumps(lease), 0o600)


def _may_follow(lease: Json, operation: str, expects: str | None, takeover: str | None) -> bool:
    """Whether ``apply`` may take what is another operation's lease, or one that was given back."""
    if lease["operation"] == operation:
        return lease.get("outcome") == DONE  # a plain `up` runs again what went well, and nothing else
    if lease["state"] != "held" and expects is not None and expects in _last_operations(lease):
        return True
    return _may_take_over(lease, takeover)


def _may_take_over(lease: Json, takeover: str | None) -> bool:
    """Whether an operation that takes over from ``takeover`` may have this lease.

    Whoever takes over has made sure that the last operation's owner is gone, and with it all before. The lease may be
    an earlier one's: operations that never reached the instance took none. Ids sort by time.
    """
    return takeover is not None and (lease["state"] != "held" or lease["operation"] <= takeover)


def _gives_way(lease: Json, facts: Json) -> bool:
    """Whether a lease that is held stands in no way of one that goes before it."""
    return bool(lease.get("gives_way")) and facts.get("kind") in GO_BEFORE


def _last_operations(lease: Json) -> set[str | None]:
    """What may be called the last operation: the last that ended and, if it changed nothing, back to one that did.

    Which of the latter an operator's machine has heard of depends on where each was ended, and why.
    """
    if lease.get("changed"):
        return {lease["operation"]}
    return {lease["operation"], lease.get("last_changed"), *lease.get("idle", ())}


def _held_by(lease: Json) -> str:
    owner = lease.get("owner") or {}
    who = " by ".join(filter(None, [str(lease.get("kind") or "operation"), lease.get("actor")]))
    where = f" (pid {owner.get('pid')} on {owner.get('host')})" if owner else ""
    return f"Operation {lease['operation']}, {who}{where}, has held the deployment since {lease.get('taken_at')}."


def _lease_lost(operation: str, lease: Json | None) -> AgentError:
    if lease is None:
        message = f"Operation {operation} does not hold the deployment."
    elif lease["operation"] == operation:
        message = f"Operation {operation} has already ended ({lease.get('outcome')})."
    else:
        message = f"Operation {operation} does not hold the deployment, {lease['operation']} does or did last."
    return AgentError("lease_lost", message + " Nothing was changed.", holder=lease)
