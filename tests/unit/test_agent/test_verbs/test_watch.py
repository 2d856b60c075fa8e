"""watch and notify: what the instance tells of itself between operations."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.verbs import watch as verb
from geusemaker.agent.verbs.watch import Found, compare, judge, silent, unsaid
from geusemaker.agent.watching import SERVICE, TIMER, needs_apprise
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import (
    QDRANT,
    DirectAgent,
    Json,
    apply_document,
    do,
    gate_document,
    http_service,
    serving,
)

IMAGES = {"qdrant": QDRANT}
GOOD: Final = Found({}, {"service n8n": "n8n is healthy again.", "data": "…"}, True)
BAD: Final = Found({"service n8n": ("unhealthy", "n8n is unhealthy: gone.")}, {}, True)
ROOM: Final = {"total_bytes": 100, "free_bytes": 50}


class Hook(http.server.BaseHTTPRequestHandler):
    """Notes what it gets; ``server.status`` is its answer."""

    def do_POST(self) -> None:
        got = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append(got)  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def hook(status: int = 204) -> Iterator[tuple[str, list[Json]]]:
    got: list[Json] = []
    with serving(Hook, got=got, status=status) as port:
        yield f"http://127.0.0.1:{port}/a-secret-path", got


def look(**changes: Any) -> Json:
    service = {"healthy": True, "detail": "", "migration": None}
    return {
        "services": {"n8n": service, "caddy": service},
        "stopped": {},
        "lease": None,
        "operations_running": [],
        "sentinel_known": True,
        "data_problem": None,
        "disk": ROOM,
        "data_volume": None,
        "domains": None,
        **changes,
    }


def judged(root: Path, *, internal_ca: bool = False, **changes: Any) -> Found:
    return judge(look(**changes), ["n8n", "caddy"], root, internal_ca=internal_ca)


def sick(**changes: Any) -> Json:
    return {**look()["services"], "n8n": {"healthy": False, "detail": "HTTP 503", "migration": None, **changes}}


# ---- comparing


def test_only_what_is_bad_twice_in_a_row_is_told_and_only_once() -> None:
    state, told = compare(BAD, {})
    assert told == {}
    state, told = compare(BAD, state)
    assert told == {"unhealthy": ["n8n is unhealthy: gone."]}
    for _ in range(3):
        state, told = compare(BAD, state)
        assert told == {}
    state, told = compare(GOOD, state)
    assert told == {"healthy-again": ["n8n is healthy again."]}
    assert compare(GOOD, state) == ({"seen": {}, "told": {}}, {})


def test_a_blip_is_not_told() -> None:
    state, _ = compare(BAD, {})
    state, told = compare(GOOD, state)
    assert told == {}
    assert compare(BAD, state)[1] == {}, "the count began anew"


def test_a_service_that_is_stopped_on_purpose_is_no_news() -> None:
    state, _ = compare(BAD, compare(BAD, {})[0])
    state, told = compare(Found({}, {}, True), state)
    assert (state["told"], told) == ({}, {})


def test_what_could_not_be_seen_stays_as_it_was_told() -> None:
    state, _ = compare(BAD, compare(BAD, {})[0])
    away = Found({"data": ("unhealthy", "The data cannot be looked at.")}, {}, False)
    state, told = compare(away, state)
    assert (state["told"], told) == ({"service n8n": "unhealthy"}, {})


def test_what_reached_nobody_is_told_again() -> None:
    first = compare(BAD, {})[0]
    state = unsaid(compare(BAD, first)[0], first, "unhealthy")
    state, told = compare(BAD, state)
    assert [*told] == ["unhealthy"]
    again = unsaid(compare(GOOD, state)[0], state, "healthy-again")
    assert [*compare(GOOD, again)[1]] == ["healthy-again"]


# ---- judging


def test_what_is_well_is_not_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "_disks", lambda look, root: {"/": ROOM})
    found = judged(tmp_path)
    assert found.bad == {}
    assert found.good.keys() == {"data", "service n8n", "service caddy", "disk /"}


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"services": sick()}, {"service n8n"}),
        ({"services": sick(), "stopped": {"n8n": {"by": "ann"}}}, set()),
        ({"services": sick(migration={"state": "working"})}, set()),
        ({"services": sick(migration={"state": "idle"})}, {"service n8n"}),
        ({"services": sick(), "sentinel_known": False, "data_problem": "it hangs"}, {"data"}),
    ],
)
def test_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Json, bad: set[str]) -> None:
    monkeypatch.setattr(verb, "_disks", lambda look, root: {})
    assert judged(tmp_path, **changes).bad.keys() == bad


@pytest.mark.parametrize(("free", "bad", "good"), [(14, True, False), (16, False, False), (21, False, True)])
def test_a_disk_is_full_over_85_percent_until_it_is_below_80(tmp_path: Path, free: int, bad: bool, good: bool) -> None:
    volume = {"mounted": True, "total_bytes": 100, "free_bytes": free}
    found = judged(tmp_path, data_volume=volume)
    assert ("disk /mnt/data" in found.bad, "disk /mnt/data" in found.good) == (bad, good)


@pytest.mark.parametrize(
    ("days", "internal", "problem", "bad"),
    [
        (13, False, "", True),
        (15, False, "", False),
        (0.4, True, "", False),
        (None, False, "its certificate is not valid (certificate has expired)", True),
    ],
)
def test_certificates(tmp_path: Path, days: float | None, internal: bool, problem: str, bad: bool) -> None:
    until = "" if days is None else (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    domains = {"n8n.example.com": {"certificate_until": until, "problem": problem, "status": 200}}
    found = judged(tmp_path, domains=domains, internal_ca=internal)
    assert ("certificate n8n.example.com" in found.bad) is bad
    assert ("certificate n8n.example.com" in found.good) is not bad


PLAN: Final = {"every_seconds": 3600, "keep": 7, "since": "2026-01-01T00:00:00.000+00:00"}


@pytest.mark.parametrize(
    ("backups", "told", "good"),
    [
        (None, "", False),
        ({"plan": None, "done": {"at": "2020-01-01T00:00:00"}, "failed": None}, "", False),
        ({"plan": PLAN, "done": {"at": datetime.now(UTC).isoformat()}, "failed": None}, "", True),
        ({"plan": PLAN, "done": None, "failed": None}, "There is no backup, and one is planned every 1 h.", False),
        (
            {"plan": PLAN, "done": {"at": "2026-01-02T03:04:05.000+00:00"}, "failed": {"detail": "No room."}},
            "The last backup is of 2026-01-02T03:04Z, and one is planned every 1 h. The last try failed: No room.",
            False,
        ),
    ],
)
def test_backups_that_do_not_come(tmp_path: Path, backups: Json | None, told: str, good: bool) -> None:
    found = judged(tmp_path, backups=backups)
    assert found.bad.get("backup", ("", ""))[1] == told and ("backup" in found.good) is good


def test_backups_that_are_planned_no_more_are_no_news() -> None:
    old = Found({"backup": ("backup-old", "There is no backup.")}, {}, True)
    state, told = compare(old, compare(old, {})[0])
    assert told == {"backup-old": ["There is no backup."]}
    assert compare(Found({}, {}, True), state) == ({"seen": {}, "told": {}}, {})


@pytest.mark.parametrize(
    ("changes", "quiet"),
    [
        ({}, False),
        ({"operations_running": [{"operation": "op-1", "verb": "backup"}]}, False),
        ({"operations_running": [{"operation": "op-1"}]}, True),
        ({"lease": {"operation": "op-1", "state": "held", "taken_at": datetime.now(UTC).isoformat()}}, True),
        ({"lease": {"operation": "op-1", "state": "released", "taken_at": datetime.now(UTC).isoformat()}}, False),
        ({"lease": {"operation": "op-1", "state": "held", "taken_at": "2020-01-01T00:00:00"}}, False),
    ],
)
def test_an_operation_silences_it(changes: Json, quiet: bool) -> None:
    assert bool(silent(look(**changes))) is quiet


@pytest.mark.parametrize(
    ("address", "needs"),
    [
        ("https://example.com/hook", False),
        ("https://hooks.slack.com/services/A/B/C", True),
        ("https://discord.com/api/webhooks/1/2", True),
        ("https://notdiscord.com/x", False),
        ("https://acme.webhook.office.com/x", True),
        ("ntfy://topic", True),
        ("https://[bad", True),
    ],
)
def test_which_addresses_need_apprise(address: str, needs: bool) -> None:
    assert needs_apprise(address) is needs


# ---- the verbs


@pytest.fixture
def ready(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(QDRANT)
    return mounted


def deploy(agent: DirectAgent, port: int, operation: str, **changes: Any) -> None:
    do(agent, "begin", operation=operation)
    do(agent, "apply", **apply_document(operation, IMAGES, **changes))
    do(agent, "gate", **gate_document(operation, IMAGES, {"qdrant": port}))
    do(agent, "end", operation=operation, outcome="done")


def test_a_service_that_dies_is_told_and_told_again_when_it_is_back(
    ready: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_disks", lambda look, root: {})
    with http_service() as port, hook() as (address, got):
        deploy(ready, port, "op-1", watch={"addresses": [address], "domains": None})
        assert do(ready, "watch") == {"silent": "", "told": [], "failures": []}
        machine.container("qdrant", status="exited", exit_code=137, pid=0)
        assert [do(ready, "watch")["told"] for _ in range(3)] == [[], ["unhealthy"], []]
        machine.container("qdrant", status="running", pid=5)
        assert [do(ready, "watch")["told"] for _ in range(2)] == [["healthy-again"], []]
        do(ready, "begin", operation="op-2")
        assert do(ready, "watch")["silent"] == "operation op-2 has the deployment"
    assert [one["event"] for one in got] == ["unhealthy", "healthy-again"]
    assert got[0]["text"] == "prod: qdrant is unhealthy: exited (exit code 137)."
    assert got[0]["deployment"] == "prod"
    assert "a-secret-path" not in "".join(ready.reporter.text)


def test_a_webhook_that_fails_is_told_by_its_host_and_tried_again(
    ready: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_disks", lambda look, root: {})
    with http_service() as port, hook(500) as (address, got):
        deploy(ready, port, "op-1", watch={"addresses": [address]})
        machine.container("qdrant", status="exited", exit_code=1, pid=0)
        answers = [do(ready, "watch") for _ in range(3)]
    assert [one["told"] for one in answers] == [[], [], []]
    assert answers[2]["failures"] == ["http://127.0.0.1/…: did not take it (500)"]
    assert len(got) == 2


def test_the_timer_comes_with_an_address_and_goes_with_the_last(ready: DirectAgent, machine: Machine) -> None:
    files = [ready.units / TIMER, ready.units / SERVICE, ready.home / "watch.json", ready.home / "watch.py"]
    with http_service() as port:
        deploy(ready, port, "op-1")
        assert not any(file.exists() for file in files)
        assert machine.calls("systemctl", "disable") == [], "nothing is done where nothing was set"
        deploy(ready, port, "op-2", watch={"addresses": ["https://example.com/a-secret-path"]})
        assert all(file.exists() for file in files)
        assert (ready.home / "watch.json").stat().st_mode & 0o777 == 0o600
        assert machine.calls("systemctl", "restart", TIMER)
        assert "OnUnitActiveSec=300\n" in (ready.units / TIMER).read_text()
        assert "a-secret-path" not in "".join(file.read_text() for file in files if file.name != "watch.json")
        assert not any("a-secret-path" in file.read_text() for file in ready.efs.rglob("*") if file.is_file())
        restarts = len(machine.calls("systemctl", "restart", TIMER))
        deploy(ready, port, "op-3", watch={"addresses": ["https://example.com/another-path"]})
        assert len(machine.calls("systemctl", "restart", TIMER)) == restarts, "the timer goes on"
        deploy(ready, port, "op-4")
        assert not any(file.exists() for file in files)
        assert machine.calls("systemctl", "disable", "--now", TIMER)


def test_notify_sets_it_under_the_lease(ready: DirectAgent) -> None:
    do(ready, "begin", operation="op-1")
    assert do(ready, "notify", operation="op-1", watch={"addresses": ["https://example.com"]}) == {"watches": True}
    assert (ready.units / TIMER).exists()
    assert do(ready, "notify", operation="op-1") == {"watches": False}
    assert not (ready.units / TIMER).exists()
    with pytest.raises(AgentError) as caught:
        do(ready, "notify", operation="op-0")
    assert caught.value.code == "lease_lost"


def test_a_timer_that_cannot_be_set_does_not_keep_a_change_from_being_made(
    ready: DirectAgent, machine: Machine
) -> None:
    machine.fail("systemctl enable geusemaker-watch.timer", "Access denied")
    with http_service() as port:
        deploy(ready, port, "op-1", watch={"addresses": ["https://example.com/hook"]})
    assert any("Access denied" in note for note in ready.reporter.notes())


def test_other_addresses_are_told_by_apprise_which_reads_them_from_a_file(ready: DirectAgent, machine: Machine) -> None:
    do(ready, "begin", operation="op-1")
    do(ready, "notify", operation="op-1", watch={"addresses": ["ntfy://a-secret-topic"]})
    assert "apprise" in machine.state["packages"]
    said = machine.root / "said"
    program = machine.bin / "apprise"
    notes = f'{{ stat -c %a "$2"; cat "$2"; shift 2; printf "%s\\n" "$*"; }} >> {said}'
    program.write_text(f"#!/bin/sh\n{notes}\n")
    program.chmod(0o755)
    record = {"event": "unhealthy", "text": "prod: n8n is unhealthy."}
    assert verb.send(ready, ["ntfy://a-secret-topic"], record) == []
    words = "-n failure -t geusemaker: unhealthy -b prod: n8n is unhealthy."
    assert said.read_text().splitlines() == ["600", "ntfy://a-secret-topic", words]
    assert not list((machine.root / "run/geusemaker").glob("*.conf"))
    program.write_text("#!/bin/sh\nexit 1\n")
    assert verb.send(ready, ["ntfy://a-secret-topic"], record) == ["ntfy://…: did not take it"]
