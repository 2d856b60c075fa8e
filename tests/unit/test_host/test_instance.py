"""Instance: for each verb of the agent's protocol a method that speaks it."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, fields
from typing import Any, Final

import pytest

from geusemaker.agent import verbs
from geusemaker.agent.deadlines import DEADLINES, patience
from geusemaker.agent.protocol import VERBS, documents, looks, stored
from geusemaker.agent.protocol.reading import Json, read, to_json
from geusemaker.agent.protocol.rehearsal import RehearseDocument
from geusemaker.errors import HostError
from geusemaker.host.instance import Instance, failure_detail, read_event
from geusemaker.models.plan import Event
from tests.unit.fakes import FakeHost

BY_OTHERS: Final = {"mount", "notice"}
"""Verbs that only the engine's commands run, or the instance itself."""
BEGIN = documents.BeginDocument("op-1", "update", "ann", {"host": "box", "pid": 7, "born": "noon"}, "i-1", 3)
APPLY = documents.ApplyDocument("op-1", "prod", "i-1", "fs-1", {"services": {}}, {}, [])
GATE = documents.GateDocument("op-1", "fs-1", {})
ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "begin": (BEGIN,),
    "end": ("op-1", "done"),
    "cancel": ("op-1",),
    "lease": (),
    "adoption": (),
    "prefetch": ("op-1", {"services": {}}),
    "checkpoint": ("op-1", 3, "update", ["qdrant"]),
    "checkpoints": (["qdrant"],),
    "backup": (documents.BackupDocument("op-1", 3, "ann"),),
    "schedule": (documents.ScheduleDocument("op-1", "ann", 86_400, 7),),
    "restore": ("op-1", 3, "v2/op-0", ["qdrant"]),
    "load": ("op-1", "v2/op-0", "op-1"),
    "rehearse": (RehearseDocument("op-1", {}, {}),),
    "hold": ("op-1",),
    "newer": (),
    "renew": ("op-1",),
    "stop": ("op-1", ["n8n"], "ann", "moving"),
    "start": ("op-1", ["n8n"]),
    "restart": ("op-1", ["n8n"]),
    "authorize": ("op-1", "admin", "ssh-ed25519 AAAA", []),
    "password": ("op-1",),
    "key": ("op-1",),
    "apply": (APPLY,),
    "gate": (GATE,),
    "health": ({},),
    "measure": ({}, "op-1"),
    "manifest": ({"n8n": ["settings"]},),
    "logs": (documents.LogsDocument("n8n", 10), print),
    "evidence": ("op-1",),
    "gc": ("op-1", ["postgres@sha256:1"], [3], ["postgres"], []),
    "journal": (),
    "watch": (),
    "notify": ("op-1", {"addresses": ["https://example.com"]}),
}
LEAST: Final[dict[str, Json]] = {
    "begin": {"lease": {}},
    "end": {"lease": {}},
    "checkpoints": {"checkpoints": []},
    "gate": {"services": {}},
    "health": {"services": {}, "mount": {}},
    "journal": {"entries": []},
}
"""What an answer has at least."""


class Wire:
    """A connection that notes what goes over it."""

    def __init__(self, lines: list[Json] | None = None, error: HostError | None = None) -> None:
        self.asked: list[tuple[str, Json, float]] = []
        self.closed = False
        self._lines = lines or []
        self._error = error

    def seen_from(self) -> str:
        return "192.0.2.7"

    def run(self, verb: str, document: Json, on_line: Any = None, timeout: float = 0.0) -> Json:
        self.asked.append((verb, json.loads(json.dumps(document)), timeout))
        for line in self._lines:
            if on_line is not None:
                on_line(line)
        if self._error is not None:
            raise self._error
        return LEAST.get(verb, {})

    def close(self) -> None:
        self.closed = True


def test_the_protocol_is_of_the_agents_verbs() -> None:
    assert VERBS.keys() == DEADLINES.keys() == verbs.VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_who_asks_never_gives_up_before_the_agent(verb: str) -> None:
    assert patience(verb) > DEADLINES[verb]


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - BY_OTHERS))
def test_each_verb_has_a_method_that_speaks_it(verb: str) -> None:
    wire = Wire()
    answer = getattr(Instance(wire), verb)(*ARGUMENTS[verb])
    [(asked, document, timeout)] = wire.asked
    assert asked == verb and timeout == patience(verb)
    assert to_json(read(VERBS[verb].document, document)) == document, "it is the verb's own document"
    assert type(answer) is VERBS[verb].answer


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - BY_OTHERS))
def test_the_fake_answers_as_the_protocol_has_it(verb: str) -> None:
    method = inspect.signature(getattr(FakeHost, f"_{verb}"), eval_str=True)
    assert method.parameters["asked"].annotation is VERBS[verb].document
    assert method.return_annotation is VERBS[verb].answer


def test_nothing_is_left_out_of_a_document_but_what_is_none() -> None:
    assert to_json(BEGIN) == {
        "operation": "op-1",
        "kind": "update",
        "actor": "ann",
        "owner": {"host": "box", "pid": 7, "born": "noon"},
        "instance_id": "i-1",
        "number": 3,
        "salvage": False,
    }


def test_an_answer_is_read_whatever_lacks_in_it_or_is_there_beside() -> None:
    told = {
        "services": {"n8n": {"state": "running", "healthy": True, "detail": None, "restarts": None, "new": 1}},
        "mount": {"mounted": True, "file_system_id": "fs-1"},
        "lease": {"operation": "op-1", "owner": None, "idle": ["op-0"]},
        "volumes": None,
        "missing_images": None,
        "instance_id": None,
    }
    health = read(looks.Health, told)
    assert health.services == {"n8n": looks.ServiceHealth(state="running", healthy=True)}
    assert health.lease == stored.Lease("op-1", idle=("op-0",)) and health.lease.owner == stored.Owner()
    assert (health.volumes, health.missing_images, health.data_volume) == ({}, None, None)
    assert health.instance_id is None and read(looks.Health, {"services": {}, "mount": {}}).instance_id == ""
    assert read(looks.Health, json.loads(json.dumps(asdict(health)))) == health


def test_an_answer_without_what_it_is_about_is_none() -> None:
    with pytest.raises(TypeError, match="entries"):
        read(looks.Journal, {})


def test_every_field_says_what_it_is_by_default_or_has_to_be_told() -> None:
    """Readers are made of types, so a wrong one shows here, and not when a machine is asked."""
    for verb in VERBS.values():
        for kind in verb:
            assert read(kind, {one.name: None for one in fields(kind)} | {name: {} for name in required(kind)})


def required(kind: Any) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [one.name for one in parameters if one.default is inspect.Parameter.empty]


LINES: list[Json] = [
    {"event": "phase", "name": "mount", "state": "started", "message": "Mounting fs-1"},
    {"event": "phase", "name": "mount", "state": "done", "message": "fs-1 is mounted"},
    {"event": "service", "service": "n8n", "state": "pulling", "detail": "2 of 3 layers"},
    {"event": "note", "message": "by the way"},
    {"event": "log", "service": "n8n", "line": "hello"},
]
EVENTS = [
    Event(kind="resource", name="mount", state="started", message="Mounting fs-1"),
    Event(kind="resource", name="mount", state="done", message="fs-1 is mounted"),
    Event(kind="service", name="n8n", state="pulling", message="2 of 3 layers"),
    Event(kind="note", message="by the way"),
]


def test_the_agents_lines_are_events() -> None:
    assert [event for line in LINES if (event := read_event(line)) is not None] == EVENTS


def test_what_an_operation_is_told_on_the_way() -> None:
    told: list[Event] = []
    Instance(Wire(LINES)).hold("op-1", told.append)
    assert told == EVENTS[2:3]
    told.clear()
    Instance(Wire(LINES)).begin(BEGIN, told.append)
    assert told == [Event(kind="note", message="Mounting fs-1")]


def test_log_lines_come_one_by_one() -> None:
    lines: list[looks.LogEvent] = []
    alive: list[dict[str, str]] = []
    notes: list[Event] = []
    at = {"n8n": "2026-01-01T00:00:00Z"}
    Instance(Wire([*LINES, {"event": "alive", "at": at}])).logs(
        documents.LogsDocument(), lines.append, alive.append, notes.append
    )
    assert lines == [looks.LogEvent("n8n", "hello")] and alive == [at] and notes == EVENTS[3:]


def test_it_is_the_same_whether_the_agent_gave_up_or_who_asked() -> None:
    with pytest.raises(HostError) as gave_up:
        Instance(Wire(error=HostError("hold was given up after 720 seconds.", code="deadline"))).hold("op-1")
    assert gave_up.value.code == "timeout"


def test_an_error_tells_who_stands_in_the_way() -> None:
    error = HostError("It is held.", code="lease_held", detail={"holder": {"operation": "op-1", "kind": "update"}})
    assert failure_detail(error).holder == stored.Lease("op-1", kind="update")
    assert failure_detail(HostError("No.", code="unreachable")).holder is None


def test_it_is_closed_at_the_end() -> None:
    wire = Wire()
    with Instance(wire) as instance:
        assert instance.lease().lease is None and not wire.closed
    assert wire.closed
