"""The operator's own tests, which are really run."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.clock import wait_until
from geusemaker.agent.processes import find_process
from geusemaker.errors import InvalidInputError
from geusemaker.models.bake import FailedTest
from geusemaker.services.bake import trials
from geusemaker.services.bake.trials import Address, Call, Command, Place, Rounds, trials_of
from tests.unit.samples import config

PLACE = Place("shop", 8, {"n8n": "http://localhost:5678", "my-tool": "localhost:99"})


def as_it_is(value: Any) -> Any:
    return value


@pytest.fixture
def server() -> Iterator[str]:
    class Hook(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.rpartition("/")[2]))
            self.end_headers()

        def log_message(self, *words: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_a_command_learns_where_the_services_are() -> None:
    line = (
        'test "$GEUSEMAKER_ADDRESS_N8N $GEUSEMAKER_ADDRESS_MY_TOOL" = "http://localhost:5678 localhost:99" && '
        'test "$GEUSEMAKER_DEPLOYMENT v$GEUSEMAKER_VERSION" = "shop v8"'
    )
    assert Command(line).run(PLACE) is None


def test_a_command_that_fails_is_told_with_exit_code_and_last_lines() -> None:
    failed = Command("for n in $(seq 30); do echo line $n; done; echo at last >&2; exit 7").run(PLACE)
    assert failed is not None and (failed.exit_code, failed.message) == (7, "exit code 7")
    assert failed.lines[-2:] == ["line 30", "at last"] and len(failed.lines) == 10
    killed = Command("kill -9 $$").run(PLACE)
    assert killed is not None and (killed.exit_code, killed.message) == (-9, "ended by signal 9")
    unusable = Command("echo \0").run(PLACE)
    assert unusable is not None and unusable.message.startswith("the shell cannot run it")


def test_a_command_that_does_not_end_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TRIAL_SECONDS", 0.3)
    failed = Command("echo begun; sleep 600").run(PLACE)
    assert failed == FailedTest(test="echo begun; sleep 600", message="it did not end within 0.3 s", lines=["begun"])


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = Command(f"sleep 600 & echo $! > {note}.new; mv {note}.new {note}; wait")
    thread = threading.Thread(target=command.run, args=(PLACE,))
    thread.start()
    while not note.exists():
        time.sleep(0.01)
    command.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert wait_until(lambda: find_process(int(note.read_text())) is None, 20)
    command.stop()  # again is fine


def test_a_command_that_was_stopped_before_it_began_does_not_last() -> None:
    command = Command("sleep 600")
    command.stop()
    assert command.run(PLACE) is not None


def test_an_address_has_to_answer_below_400(server: str) -> None:
    place = Place("shop", 8, {"n8n": server})
    assert Address(f"{server}/204", config()).run(place) is None
    assert Address("n8n/200", config()).run(place) is None
    failed = Address("n8n/404", config()).run(place)
    assert failed == FailedTest(test="n8n/404", message="HTTP 404")
    nobody = Address("http://127.0.0.1:1/", config()).run(place)
    assert nobody is not None and nobody.message.startswith("no answer: ")
    Address("n8n", config()).stop()


@pytest.mark.parametrize("text", ["", "nobody/healthz", "postgresql/", "ftp://example.com/", "https://", "file:///etc"])
def test_what_is_no_address_is_refused_before_anything_changes(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no address that can be asked"):
        trials_of((), (text,), None, config())


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="without a command"):
        trials_of((" ",), (), None, config())


def test_a_function_says_no_by_raising_or_by_false() -> None:
    seen: list[Mapping[str, str]] = []

    def says_nothing(addresses: Mapping[str, str]) -> None:
        seen.append(addresses)

    def raises(addresses: Mapping[str, str]) -> None:
        raise AssertionError("no workflows\nat all")

    assert Call(says_nothing).run(PLACE) is None and seen == [PLACE.addresses]
    assert Call(raises).run(PLACE) == FailedTest(
        test="raises", message="it raised", lines=["AssertionError: no workflows", "at all"]
    )
    failed = Call(lambda addresses: False).run(PLACE)
    assert failed is not None and failed.message == "it returned False"
    Call(raises).stop()


def test_rounds_go_on_until_one_fails_and_secrets_are_taken_out(tmp_path: Path) -> None:
    count = tmp_path / "count"
    line = f"echo x >> {count}; test $(wc -l < {count}) -lt 3 || {{ echo hunter22; exit 1; }}"
    rounds = Rounds([Command(line)], PLACE, lambda value: {**value, "lines": ["***"]})
    assert rounds.are_needed
    rounds.begin(0.0)
    deadline = time.monotonic() + 20
    while rounds.failed is None and time.monotonic() < deadline:
        rounds.wait(0.1)
        time.sleep(0.01)
    rounds.end()
    assert rounds.passed == 2 and rounds.failed is not None and rounds.failed.lines == ["***"]
    assert not rounds.are_needed


def test_a_round_that_is_ended_from_here_has_not_failed(tmp_path: Path) -> None:
    note = tmp_path / "begun"
    rounds = Rounds([Command(f"touch {note}; sleep 600")], PLACE, as_it_is)
    rounds.begin(0.0)
    while not note.exists():
        time.sleep(0.01)
    rounds.end()
    assert rounds.failed is None and rounds.passed == 0 and rounds.are_needed


def test_without_tests_nothing_is_waited_for() -> None:
    rounds = Rounds([], PLACE, as_it_is)
    rounds.begin(0.0)
    rounds.wait(60)
    rounds.end()
    assert not rounds.are_needed
