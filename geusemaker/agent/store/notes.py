"""What is remembered of the services: who served the data, who stopped on purpose, a secret under way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from geusemaker.agent.clock import now
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, write_atomic
from geusemaker.agent.store.folder import Folder

REHEARSALS: Final = 5
"""So many are remembered."""


class Notes(Folder):
    """What is remembered of the services."""

    def record_served(self, services: Mapping[str, str], operation: str) -> None:
        """Remember which image last ran healthy on which data; what may follow it depends on that."""
        with self._locked():
            served = read_leniently(self.served_file)
            for name, image in services.items():
                served[name] = {"image": image, "operation": operation, "at": now()}
            write_atomic(self.served_file, json.dumps(served), 0o600)

    # Services that somebody stopped on purpose: only whoever starts them again takes the note away.

    def stopped(self) -> Json:
        """Service → by whom, since when and why it is stopped.

        Notes that cannot be read are none: they must not stand in the way of what brings services back.
        """
        return {name: note for name, note in read_leniently(self.stopped_file).items() if isinstance(note, dict)}

    def note_stopped(self, names: Iterable[str], note: Json) -> None:
        """Note services as stopped; one that is noted already keeps its note."""
        with self._locked():
            write_atomic(self.stopped_file, json.dumps({**dict.fromkeys(names, note), **self.stopped()}), 0o600)

    def forget_stopped(self, names: Iterable[str] | None = None) -> None:
        """Take the notes of services away; those of all with None."""
        with self._locked():
            gone = self.stopped() if names is None else set(names)
            left = {name: note for name, note in self.stopped().items() if name not in gone}
            if left != self.stopped():
                write_atomic(self.stopped_file, json.dumps(left), 0o600)

    # That EC2 takes the instance back, or did: whoever applies a version on whichever instance puts it right.

    def interruption(self) -> Json:
        """EC2's notice, what was stopped for it, and whether it is back; empty: there is none, or it cannot be read."""
        return read_leniently(self.interruption_file)

    def note_interruption(self, note: Json) -> None:
        """Note it, in the place of what was noted before."""
        with self._locked():
            write_atomic(self.interruption_file, json.dumps(note), 0o600)

    def forget_interruption(self) -> None:
        self.interruption_file.unlink(missing_ok=True)

    # A password of the database that is being changed: what the env file has is put into the database until it is done.

    def note_password(self, operation: str) -> None:
        """Note that the database's password is about to be another one."""
        write_atomic(self.password_file, json.dumps({"operation": operation, "since": now()}), 0o600)

    def password_changes(self) -> bool:
        """Whether a change of the password was begun, and is not known to be done."""
        return self.password_file.exists()

    def forget_password(self) -> None:
        self.password_file.unlink(missing_ok=True)

    # n8n's encryption key, likewise: until it is done, n8n's own file gets the one that the env file has.

    def note_key(self, operation: str) -> None:
        """Note that n8n's encryption key is about to be another one."""
        write_atomic(self.key_file, json.dumps({"operation": operation, "since": now()}), 0o600)

    def key_changes(self) -> bool:
        """Whether a change of the key was begun, and is not known to be done."""
        return self.key_file.exists()

    def forget_key(self) -> None:
        self.key_file.unlink(missing_ok=True)

    # What rehearsals came to: a plan with the same images tells of it.

    def note_rehearsal(self, note: Json) -> None:
        """Note what one came to, beside the latest ones of other images."""
        with self._locked():
            same = (note["images"], note["before"])
            others = [one for one in self.rehearsals() if (one.get("images"), one.get("before")) != same]
            kept = [*others, note][-REHEARSALS:]
            write_atomic(self.rehearsals_file, json.dumps({"rehearsals": kept}), 0o600)

    def rehearsals(self) -> list[Json]:
        """The latest of each, the newest last; none where the note cannot be read."""
        found = read_leniently(self.rehearsals_file).get("rehearsals")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    # Older data that a rollback puts in place: until that is settled, whoever applies another version puts back first
    # what was there before.

    def data_return(self) -> Json:
        """The return of older data that was begun last: by which operation, to what, how far it came (``state``)."""
        note = read_leniently(self.return_file)
        return note if note.keys() >= {"operation", "checkpoint", "names", "kept", "state"} else {}

    def open_return(self, operation: str, settled: str | None, *, returns: bool) -> Json:
        """What ``apply`` has to do about it before services start; empty: nothing.

        Args:
            operation: that of the ``apply``.
            settled: the operation that made the version which the history calls active: what it put in place holds.
            returns: whether ``apply`` is to put in place what this operation has loaded.

        Raises:
            AgentError: not_loaded
        """
        note = self.data_return()
        mine = note.get("operation") == operation
        if returns and not mine:
            raise AgentError("not_loaded", "The older data was not loaded before. Nothing was changed.")
        if not note or note["state"] == "settled" or (mine and not returns):
            return {}
        if not mine and note["operation"] == settled:
            self.settle_return(note["operation"])
            return {}
        return note

    def unsettled_return(self) -> str:
        """The operation that has put older data in place, or was about to, and is not known to have come to its end."""
        note = self.data_return()
        return str(note["operation"]) if note and note["state"] in ("swapping", "swapped") else ""

    def note_return(self, note: Json) -> None:
        """Note it, or how far it came."""
        write_atomic(self.return_file, json.dumps(note), 0o600)

    def settle_return(self, operation: str) -> None:
        """What this operation put in place holds; of another one, or where there is nothing in place, it is left."""
        note = self.data_return()
        if note.get("operation") == operation and note["state"] in ("swapping", "swapped"):
            self.note_return({**note, "state": "settled"})

    def overtake_return(self) -> None:
        """Somebody has chosen other data since: nothing of it is to be put back any more."""
        note = self.data_return()
        if note:
            self.note_return({**note, "state": "settled"})

    def forget_return(self) -> None:
        self.return_file.unlink(missing_ok=True)
