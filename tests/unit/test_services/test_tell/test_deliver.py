"""Hooks are run and addresses told, by the process that does it; what is not delivered is noted, without secrets."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geusemaker.host.redaction import redaction
from geusemaker.models.history import Intent
from geusemaker.models.plan import Event
from geusemaker.models.secrets import NOTIFY, OwnSecret, Secrets
from geusemaker.services.journal import FileJournal
from geusemaker.services.tell import deliver
from geusemaker.services.tell.also import Also
from geusemaker.services.tell.deliver import note_failures
from geusemaker.services.tell.teller import Teller

SECRETS = Secrets(
    ssh_private_key="ssh-private-half",
    host_private_key="host-private-half",
    postgresql_password="correct-horse-battery",
    n8n_encryption_key="staple-of-n8n",
    crawl4ai_token="token-of-crawl4ai",
)
DOCUMENT = {"event": "failed", "text": "prod: update (v3) of ann failed.", "deployment": "prod"}
INTENT = Intent(
    operation_id="op-1",
    kind="update",
    number=3,
    actor="ann",
    host="box",
    pid=1,
    started_at=datetime(2025, 1, 21, tzinfo=UTC),
)


class Hook:
    """A webhook on this machine."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(json.loads(body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}/services/T0/secret-part"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_webhook_gets_the_document(hook: Hook) -> None:
    assert deliver.deliver(DOCUMENT, [], [f"http://{hook.address}"]) == []
    assert hook.got == [DOCUMENT]


def test_an_address_of_apprise_gets_the_sentence(hook: Hook) -> None:
    assert deliver.deliver(DOCUMENT, [], [f"json://{hook.address}"]) == []
    assert hook.got[0]["message"] == DOCUMENT["text"] and hook.got[0]["type"] == "failure"


def test_a_command_gets_the_document(tmp_path: Path) -> None:
    told = script(tmp_path / "hook", f"cat > {tmp_path}/got")
    assert deliver.deliver(DOCUMENT, [[str(told)], ["/bin/sh", "-c", f"cat > {tmp_path}/too"]], []) == []
    assert json.loads((tmp_path / "got").read_text()) == json.loads((tmp_path / "too").read_text()) == DOCUMENT


def test_what_fails_is_said_without_the_secret_part(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "COMMAND_SECONDS", 2)
    hook.status = 500
    bad, slow = script(tmp_path / "bad", "echo no such room >&2; exit 3"), script(tmp_path / "slow", "exec sleep 60")
    said = deliver.deliver(
        DOCUMENT,
        [[str(bad)], [str(slow)], [str(tmp_path / "none")]],
        [f"http://{hook.address}", f"json://{hook.address}", "nonsense://secret-part"],
    )
    assert said[0] == f"{bad}: ended with 3 (no such room)" and "did not end within" in said[1]
    assert "cannot be run" in said[2] and said[3] == "http://127.0.0.1/…: did not take it (500)"
    assert said[4] == "json://…: did not take it" and "Apprise" in said[5]
    assert "secret-part" not in " ".join(said)


def test_what_was_not_delivered_is_noted_until_something_is(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "prod")
    assert journal.undelivered == ""
    note_failures(journal.undelivered_file, DOCUMENT, ["https://hooks.example.com/…: did not take it (500)"])
    assert "Not told of failed at" in journal.undelivered and "hooks.example.com" in journal.undelivered
    assert stat.S_IMODE(journal.undelivered_file.stat().st_mode) == 0o600
    journal.undelivered_file.write_text("{")
    assert journal.undelivered == ""
    note_failures(journal.undelivered_file, DOCUMENT, [])
    assert not journal.undelivered_file.exists()


Make = Callable[..., Teller]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def teller(own: dict[str, OwnSecret] | None = None, also: Also | None = None) -> Teller:
        held = SECRETS.model_copy(update={"own": own or {}})
        place, noted = tmp_path / "hooks", tmp_path / "undelivered"
        return Teller("prod", place, noted, lambda: held, redaction, lambda: also or Also(), lambda event: None)

    return teller


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def keeps(folder: Path, name: str) -> str:
    """A command that keeps what it gets in a file which is there when it is whole."""
    return f"cat > {folder / name}.part && mv {folder / name}.part {folder / name}"


def test_all_are_told_by_a_process_of_its_own(make: Make, hook: Hook, tmp_path: Path) -> None:
    script(tmp_path / "hooks/before-change", keeps(tmp_path, "got"))
    own = {NOTIFY: OwnSecret(value=f"http://{hook.address}\n")}
    make(own, Also(commands=(keeps(tmp_path, "too"),))).begins(INTENT)
    wait_for(lambda: hook.got and (tmp_path / "got").exists() and (tmp_path / "too").exists())
    assert hook.got[0]["text"] == "prod: update (v3) of ann begins."


def test_a_return_by_itself_is_not_told_before_it_is_done(make: Make, hook: Hook) -> None:
    teller = make({NOTIFY: OwnSecret(value=f"http://{hook.address}")})
    teller.begins(INTENT.model_copy(update={"trigger": "timeout"}))
    teller.interrupted(INTENT)
    teller.interrupted(INTENT)
    wait_for(lambda: hook.got)
    assert [document["event"] for document in hook.got] == ["interrupted"]


def test_that_a_process_gave_up_is_told(make: Make, hook: Hook) -> None:
    make({NOTIFY: OwnSecret(value=f"http://{hook.address}")}).gave_up("prod: three times.")
    wait_for(lambda: hook.got)
    assert hook.got == [{"event": "gave-up", "text": "prod: three times.", "deployment": "prod"}]


def test_secrets_are_taken_out_of_what_is_told(make: Make, tmp_path: Path) -> None:
    script(tmp_path / "hooks/interrupted", keeps(tmp_path, "got"))
    password = SECRETS.postgresql_password
    make().interrupted(INTENT.model_copy(update={"actor": password}))
    wait_for((tmp_path / "got").exists)
    assert password not in (tmp_path / "got").read_text()


def test_what_stands_in_the_way_of_telling_is_a_warning(tmp_path: Path) -> None:
    events: list[Event] = []

    def locked() -> Secrets:
        raise OSError("locked")

    Teller("prod", tmp_path, tmp_path / "x", locked, redaction, Also, events.append).begins(INTENT)
    assert [event.kind for event in events] == ["warning"] and "locked" in events[0].message
