"""What is said between the client and the agent: for each verb the document that it takes, and what it answers.

Both are JSON objects. They are read tolerantly: what is left out, as something of before does, is the field's default,
null as well where null is no value of the field's; and what is there beside is passed over.

The agent itself does without: to make these classes takes longer than most of its verbs.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from geusemaker.agent.protocol import answers, documents, looks, rehearsal


class Verb(NamedTuple):
    """A verb of the agent: what it takes, and what it answers."""

    document: type[Any]
    answer: type[Any]


VERBS: Final[dict[str, Verb]] = {
    "mount": Verb(documents.MountDocument, answers.Mounted),
    "begin": Verb(documents.BeginDocument, answers.Leased),
    "end": Verb(documents.EndDocument, answers.Leased),
    "cancel": Verb(documents.OfOperation, answers.Cancelled),
    "lease": Verb(documents.Nothing, looks.Holding),
    "adoption": Verb(documents.Nothing, looks.Adoption),
    "prefetch": Verb(documents.PrefetchDocument, answers.Pulled),
    "checkpoint": Verb(documents.CheckpointDocument, answers.Copied),
    "checkpoints": Verb(documents.CheckpointsDocument, looks.Checkpoints),
    "backup": Verb(documents.BackupDocument, answers.BackedUp),
    "schedule": Verb(documents.ScheduleDocument, answers.Scheduled),
    "restore": Verb(documents.RestoreDocument, answers.Restored),
    "load": Verb(documents.LoadDocument, answers.Loaded),
    "rehearse": Verb(rehearsal.RehearseDocument, rehearsal.Rehearsal),
    "hold": Verb(documents.OfOperation, answers.Held),
    "stop": Verb(documents.StopDocument, answers.Rested),
    "start": Verb(documents.OfServices, answers.Started),
    "restart": Verb(documents.OfServices, answers.Restarted),
    "newer": Verb(documents.Nothing, answers.Newer),
    "renew": Verb(documents.OfOperation, answers.Renewed),
    "authorize": Verb(documents.AuthorizeDocument, answers.Authorized),
    "password": Verb(documents.OfOperation, answers.PasswordNoted),
    "key": Verb(documents.OfOperation, answers.PasswordNoted),
    "apply": Verb(documents.ApplyDocument, answers.Applied),
    "gate": Verb(documents.GateDocument, looks.Gate),
    "measure": Verb(documents.MeasureDocument, looks.Measured),
    "health": Verb(documents.HealthDocument, looks.Health),
    "manifest": Verb(documents.ManifestDocument, looks.Manifest),
    "logs": Verb(documents.LogsDocument, looks.Logs),
    "evidence": Verb(documents.OfOperation, looks.Evidence),
    "gc": Verb(documents.GcDocument, answers.Collected),
    "journal": Verb(documents.JournalDocument, looks.Journal),
    "watch": Verb(documents.Nothing, answers.Watched),
    "notify": Verb(documents.NotifyDocument, answers.Notified),
    "notice": Verb(documents.NoticeDocument, answers.Noticed),
}
