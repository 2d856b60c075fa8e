"""Engine events read into our own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi.automation.events import DiagnosticEvent, EngineEvent, StepEventMetadata

from geusemaker.engine.events import ApplyWatcher, read_operation, resource_name
from geusemaker.models.plan import Event

URN = "urn:pulumi:prod::geusemaker::aws:ec2/instance:Instance::instance"


def step(op: str = "update", type: str = "aws:ec2/instance:Instance", **more: Any) -> dict[str, Any]:
    """A step as the engine prints it."""
    return {"op": op, "urn": URN, "type": type, "provider": "aws", **more}


def state(**more: Any) -> dict[str, Any]:
    """A resource's state in a step."""
    return {
        "type": "aws:ec2/instance:Instance",
        "urn": URN,
        "id": "i-1",
        "parent": "",
        "provider": "",
        "inputs": {},
        "outputs": {},
        **more,
    }


def engine_event(**kind: Any) -> EngineEvent:
    """An event as the engine prints it."""
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, **kind})


class Watched:
    """A watcher and what it reported."""

    def __init__(self, *events: EngineEvent) -> None:
        self.events: list[Event] = []
        self.watcher = ApplyWatcher(self.events.append)
        for event in events:
            self.watcher.watch(event)
        self.outcome = self.watcher.outcome(succeeded=True, timed_out=False, failure="", duration_seconds=1.5)


def diagnostic(message: str, severity: str = "info", urn: str = "x::y::apply") -> EngineEvent:
    """What the engine prints of a command's output."""
    event = EngineEvent(sequence=1, timestamp=1)
    event.diagnostic_event = DiagnosticEvent(message=message, color="never", severity=severity, urn=urn)
    return event


def test_an_operation_holds_no_value() -> None:
    metadata = StepEventMetadata.from_json(
        step(
            old=state(protect=True),
            new=state(inputs={"instanceType": "t3.xlarge", "userData": "hush"}),
            detailedDiff={
                "instanceType": {"diffKind": "update", "inputDiff": True},
                "tags.Name": {"diffKind": "update", "inputDiff": True},
                "rules[0].port": {"diffKind": "add", "inputDiff": True},
                "rules[1].port": {"diffKind": "add", "inputDiff": True},
            },
            keys=["ami"],
        )
    )
    found = read_operation(metadata)

    assert (found.op, found.name, found.provider_id, found.protected) == ("update", "instance", "i-1", True)
    assert found.changed == ("instanceType", "tags", "rules") and found.replaces == ("ami",)
    assert "hush" not in found.model_dump_json() and len(found.inputs_digest) == 64


@pytest.mark.parametrize(
    ("old", "new", "unprotects"),
    [(True, True, False), (True, False, True), (False, True, False), (False, False, False)],
)
def test_protection_that_is_taken_off_is_told(old: bool, new: bool, unprotects: bool) -> None:
    found = read_operation(StepEventMetadata.from_json(step("same", old=state(protect=old), new=state(protect=new))))
    assert (found.protected, found.unprotects) == (old, unprotects)


def test_other_inputs_have_another_digest() -> None:
    one, two = (
        read_operation(StepEventMetadata.from_json(step("create", new=state(inputs={"a": value})))) for value in (1, 2)
    )
    assert one.inputs_digest != two.inputs_digest
    assert (one.provider_id, one.protected, one.changed) == ("", False, ())


def test_a_deletion_has_no_inputs_and_plain_diffs_do() -> None:
    found = read_operation(StepEventMetadata.from_json(step("delete", old=state(), diffs=["ami"])))
    assert (found.op, found.changed, found.provider_id) == ("delete", ("ami",), "i-1")


def test_resources_are_reported_as_they_go() -> None:
    watched = Watched(
        engine_event(resourcePreEvent={"metadata": step()}),
        engine_event(resOutputsEvent={"metadata": step()}),
        engine_event(resOpFailedEvent={"metadata": step(), "status": 1, "steps": 1}),
        engine_event(resourcePreEvent={"metadata": step("same")}),
        engine_event(resourcePreEvent={"metadata": step("read")}),
        engine_event(resourcePreEvent={"metadata": step("create", "pulumi:pulumi:Stack")}),
        engine_event(cancelEvent={}),
    )
    assert [(event.name, event.state, event.data["op"]) for event in watched.events] == [
        ("instance", "started", "update"),
        ("instance", "done", "update"),
        ("instance", "failed", "update"),
    ]


@pytest.mark.parametrize("op", ["delete", "delete-replaced"])
def test_what_was_deleted_is_kept(op: str) -> None:
    watched = Watched(engine_event(resOutputsEvent={"metadata": step(op)}))
    assert watched.outcome.resources_deleted == ("aws:ec2/instance:Instance instance",)


def test_diagnostics_by_severity() -> None:
    watched = Watched(
        diagnostic("<{%reset%}>boom\n", "error"),
        diagnostic("careful", "warning"),
        diagnostic("chatter"),
        diagnostic("detail", "debug"),
        diagnostic(" ", "error"),
    )
    assert watched.outcome.diagnostics == ("boom",)
    assert [(event.kind, event.message) for event in watched.events] == [("warning", "careful")]


def test_the_agents_lines() -> None:
    lines = [
        {"event": "service", "service": "n8n", "state": "healthy"},
        {"event": "note", "message": "pulled"},
        {"event": "phase", "name": "compose", "state": "started", "message": "up"},
        {"event": "result", "ok": True, "changed": ["n8n"]},
        {"event": "log", "line": "not for here"},
    ]
    watched = Watched(*(diagnostic(json.dumps(line)) for line in lines))
    assert [(event.kind, event.name, event.state, event.message) for event in watched.events] == [
        ("service", "n8n", "healthy", ""),
        ("note", "", "", "pulled"),
        ("resource", "compose", "started", "up"),
    ]
    assert watched.outcome.agent_results == {"apply": {"event": "result", "ok": True, "changed": ["n8n"]}}
    assert watched.outcome.agent_error is None and watched.outcome.duration_seconds == 1.5


def test_the_agents_error_is_kept_apart_from_the_engines() -> None:
    error = {"event": "error", "code": "unhealthy", "message": "n8n exited"}
    watched = Watched(diagnostic(json.dumps(error)), diagnostic("exited with status 1", "error"))
    assert watched.outcome.agent_error == error and watched.outcome.diagnostics == ("exited with status 1",)


@pytest.mark.parametrize("text", ["{broken", '{"no": "event"}', '{"event": 5}', "[1]", "plain"])
def test_other_output_is_no_line_of_the_agent(text: str) -> None:
    assert Watched(diagnostic(text, "error")).outcome.diagnostics == (text,)


def test_resource_name() -> None:
    assert resource_name(URN) == "instance"


def test_tags_of_a_disk_are_no_other_disk() -> None:
    both = {"rootBlockDevice.tags.team": {"kind": "add"}, "rootBlockDevice.volumeSize": {"kind": "update"}}
    for paths in (["rootBlockDevice.tags.team"], ["rootBlockDevice.tags"], ["rootBlockDevice.tagsAll.team"]):
        found = read_operation(StepEventMetadata.from_json(step(diffs=paths)))
        assert found.changed == ("rootBlockDevice.tags",)
    found = read_operation(StepEventMetadata.from_json(step(diffs=list(both))))
    assert found.changed == ("rootBlockDevice.tags", "rootBlockDevice")
