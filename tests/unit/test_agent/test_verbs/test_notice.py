"""notice: EC2's word that it takes a spot instance back, and what is done in the two minutes left."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.metadata import ENDPOINT_VARIABLE, Metadata
from geusemaker.agent.spot import NOTICE_UNIT
from geusemaker.agent.verbs import notice as verb
from geusemaker.agent.verbs.notice import parse
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import (
    N8N,
    POSTGRES,
    QDRANT,
    DirectAgent,
    Json,
    apply_document,
    do,
    gate_document,
    mount_document,
    serving,
)
from tests.unit.test_agent.test_verbs.test_watch import hook

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}
NOTICE = '{"action": "stop", "time": "2026-12-01T03:00:00Z"}'


class Imds(http.server.BaseHTTPRequestHandler):
    """A metadata service. ``server.texts``: what it answers one after the other, the last one for good; None: 404."""

    def do_PUT(self) -> None:
        self.server.tokens.append(f"t{len(self.server.tokens)}")  # type: ignore[attr-defined]
        self._answer(200, self.server.tokens[-1])  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        server: Any = self.server
        if self.headers.get("X-aws-ec2-metadata-token") not in server.tokens[-1:]:
            self._answer(401, "")
            return
        text = server.texts.pop(0) if len(server.texts) > 1 else server.texts[0]
        self._answer(*(text if isinstance(text, tuple) else (404, "") if text is None else (200, text)))

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def imds(agent: DirectAgent, *texts: Any) -> Iterator[list[str]]:
    tokens: list[str] = []
    with serving(Imds, texts=[*texts], tokens=tokens) as port:
        agent.environment[ENDPOINT_VARIABLE] = f"http://127.0.0.1:{port}"
        yield tokens


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "EVERY_SECONDS", 0.01)


@pytest.fixture
def runs(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """Three services that run."""
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1", instance_id="i-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    ports = dict.fromkeys(IMAGES, 1)
    with pytest.raises(AgentError):  # nothing answers; what is to be asked, and what needs what, is known from now on
        do(mounted, "gate", **gate_document("op-1", IMAGES, ports, deadline_seconds=0.1))
    do(mounted, "end", operation="op-1", outcome="done")
    return mounted


def running(agent: DirectAgent) -> list[str]:
    return sorted(name for name, one in agent.containers().items() if one.running)


def boots(agent: DirectAgent) -> None:
    """The instance was stopped and started."""
    (agent.root / "run/geusemaker/boot").unlink()


def stops(machine: Machine) -> list[list[str]]:
    return machine.calls("docker", "stop")


@pytest.mark.parametrize("text", ["", "no", "[]", "{}", '{"action": 1}'])
def test_what_is_no_notice(text: str) -> None:
    assert parse(text) is None


def test_a_token_is_had_once_and_another_when_it_is_over(agent: DirectAgent) -> None:
    with imds(agent, None, "x") as tokens:
        metadata = Metadata(agent.environment)
        assert metadata.read("/latest/a") is None and metadata.read("/latest/a") == "x"
        assert tokens == ["t0"]
        tokens.append("later")
        assert metadata.read("/latest/a") == "x" and tokens == ["t0", "later", "t2"]


def test_a_service_that_fails_is_told_once_and_asked_again(runs: DirectAgent) -> None:
    with imds(runs, (500, ""), (500, ""), None):
        assert do(runs, "notice", seconds=0.1) == {"noticed": False}
    assert runs.reporter.notes() == ["The metadata service answers 500 for /latest/meta-data/spot/instance-action."]


def test_without_a_notice_nothing_is_done(runs: DirectAgent, machine: Machine) -> None:
    with imds(runs, None):
        assert do(runs, "notice", seconds=0) == {"noticed": False}
    assert running(runs) == sorted(IMAGES) and do(runs, "health")["interruption"] is None


def test_services_stop_in_order_and_it_is_written_beside_the_data(runs: DirectAgent, machine: Machine) -> None:
    (runs.home / "watch.json").write_text("{}")
    with imds(runs, None, NOTICE):
        assert do(runs, "notice", seconds=0.2) == {"noticed": True}
    assert running(runs) == []
    n8n = runs.containers()["n8n"].id
    assert [call[2:] == [n8n] for call in stops(machine)] == [True, False], "PostgreSQL serves until n8n is down"
    note = do(runs, "health")["interruption"]
    assert (note["instance_id"], note["action"], note["at"]) == ("i-1", "stop", "2026-12-01T03:00:00Z")
    assert note["stopped"] == sorted(IMAGES) and note["noticed_at"] and note["stopped_at"] >= note["noticed_at"]


def test_what_is_started_meanwhile_is_stopped_as_well(runs: DirectAgent, machine: Machine) -> None:
    with imds(runs, NOTICE):
        do(runs, "notice", seconds=0)
        machine.container("qdrant", status="running")
        do(runs, "notice", seconds=0)
    assert running(runs) == []
    assert do(runs, "health")["interruption"]["stopped"] == sorted(IMAGES)


def test_whoever_is_told_of_unhealthy_services_is_told_of_it_once(runs: DirectAgent) -> None:
    with hook() as (address, got), imds(runs, NOTICE):
        (runs.home / "watch.json").write_text(json.dumps({"addresses": [address]}))
        do(runs, "notice", seconds=0.1)
    [record] = got
    assert record["event"] == "spot-notice"
    assert "i-1 back (stop at 2026-12-01T03:00:00Z)" in record["text"]
    assert "`geusemaker recover prod`" in record["text"]


def test_a_lost_file_system_does_not_keep_services_running(runs: DirectAgent, machine: Machine) -> None:
    machine.unmount()
    with imds(runs, NOTICE):
        do(runs, "notice", seconds=0)
    assert running(runs) == []
    assert any("could not be written beside the data" in note for note in runs.reporter.notes())


def test_an_instance_that_ec2_starts_again_starts_what_was_stopped(runs: DirectAgent, machine: Machine) -> None:
    with imds(runs, NOTICE):
        do(runs, "notice", seconds=0)
    with imds(runs, None):
        do(runs, "notice", seconds=0)
        assert running(runs) == [], "the same boot"
        boots(runs)
        do(runs, "begin", operation="op-2", instance_id="i-1")
        do(runs, "stop", operation="op-2", services=["qdrant"], by="ann", reason="")
        do(runs, "notice", seconds=0)
        assert running(runs) == [], "an operation has the deployment"
        do(runs, "end", operation="op-2", outcome="done")
        do(runs, "notice", seconds=0)
    assert running(runs) == ["n8n", "postgresql"], "what is stopped on purpose stays so"
    note = do(runs, "health")["interruption"]
    assert note["returned_at"] and note["noticed_at"]
    do(runs, "begin", operation="op-3", instance_id="i-1")
    do(runs, "apply", **apply_document("op-3", IMAGES, kind="recover"))
    assert do(runs, "health")["interruption"] is None, "a version was applied: it is over"


def test_what_another_instance_serves_by_now_is_left_alone(runs: DirectAgent) -> None:
    with imds(runs, NOTICE):
        do(runs, "notice", seconds=0)
    boots(runs)
    lease = runs.efs / ".geusemaker/lease.json"
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "serving": "i-2"}))
    with imds(runs, None):
        do(runs, "notice", seconds=0)
    assert running(runs) == []


def test_it_is_tried_again_until_the_data_is_there(runs: DirectAgent, machine: Machine) -> None:
    with imds(runs, NOTICE):
        do(runs, "notice", seconds=0)
    boots(runs)
    machine.unmount()
    with imds(runs, None):
        do(runs, "notice", seconds=0.05)
        assert running(runs) == [] and len([note for note in runs.reporter.notes() if "not mounted" in note]) == 1
        machine.mount()
        do(runs, "notice", seconds=0)
    assert running(runs) == sorted(IMAGES)


def test_only_a_spot_instance_waits_for_it(agent: DirectAgent, machine: Machine) -> None:
    do(agent, "mount", **mount_document())
    assert not (agent.units / NOTICE_UNIT).exists()
    document: Json = mount_document(spot=True)
    assert do(agent, "mount", **document)["unchanged"] is False
    assert f'--root "{agent.root}" notice' in (agent.units / NOTICE_UNIT).read_text()
    assert (agent.home / "notice.py").exists()
    assert machine.calls("systemctl", "restart", NOTICE_UNIT) and machine.calls("systemctl", "enable", NOTICE_UNIT)
    assert do(agent, "mount", **document)["unchanged"] is True
