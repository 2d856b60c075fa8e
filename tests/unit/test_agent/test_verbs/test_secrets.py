"""Secrets that the instance knows: who may log in, and the database's password."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.verbs.secrets import authorized_keys
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, DirectAgent, apply_document, do

OLD, NEW, NEWER, ANNS = (f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43}" for letter in "onwa")
IMAGES = {"postgresql": POSTGRES, "n8n": N8N}


def key(line: str) -> str:
    return line.split()[1]


@pytest.mark.parametrize(
    ("before", "gone", "after"),
    [
        pytest.param(f"{OLD}\n", None, f"{OLD}\n{NEW} geusemaker:op-2\n", id="beside the old one"),
        pytest.param("", None, f"{NEW} geusemaker:op-2\n", id="the first"),
        pytest.param(f"{OLD} prod\n{NEW} geusemaker:op-2\n", [OLD], f"{NEW} geusemaker:op-2\n", id="the old one goes"),
        pytest.param(f"{NEW} x\n", [OLD, NEW], f"{NEW} x\n", id="what is let in never goes"),
        pytest.param(
            f"{OLD}\n{NEWER} geusemaker:op-1\n# {OLD}\n\n{ANNS} ann@desk\n",
            [OLD],
            f"# {OLD}\n\n{ANNS} ann@desk\n{NEW} geusemaker:op-2\n",
            id="what a killed rotation left goes, and others stay",
        ),
        pytest.param(
            f'no-pty,command="echo no" {OLD} prod\n{ANNS}\n', [OLD], f"{ANNS}\n{NEW} geusemaker:op-2\n", id="options"
        ),
        pytest.param(f"{ANNS}", None, f"{ANNS}\n{NEW} geusemaker:op-2\n", id="a last line without its end"),
    ],
)
def test_lines_of_authorized_keys(before: str, gone: list[str] | None, after: str) -> None:
    keys = None if gone is None else [key(line) for line in gone]
    assert authorized_keys(before, f"{NEW} geusemaker:op-2", keys) == after
    assert authorized_keys(after, f"{NEW} geusemaker:op-2", keys) == after, "again is no different"


@pytest.fixture
def held(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """An operation holds the lease of an instance with a database and n8n."""
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **document("op-1", "old-word"))
    do(mounted, "end", operation="op-1", outcome="done")
    do(mounted, "begin", operation="op-2")
    return mounted


def document(operation: str, word: str) -> dict[str, Any]:
    environment = {"postgresql": {"POSTGRES_PASSWORD": word}, "n8n": {"DB_POSTGRESDB_PASSWORD": word}}
    return apply_document(operation, IMAGES, environment=environment, kind="update")


@pytest.fixture
def home(held: DirectAgent) -> Path:
    folder = held.root / "home/admin/.ssh"
    folder.mkdir(parents=True)
    (folder / "authorized_keys").write_text(f"{OLD} prod\n{ANNS}\n")
    (held.root / "root/.ssh").mkdir(parents=True)
    (held.root / "root/.ssh/authorized_keys").write_text(f'command="echo no" {OLD} prod\n')
    return folder


def test_another_key_logs_in_beside_the_old_one_and_then_alone(held: DirectAgent, home: Path) -> None:
    login = {"operation": "op-2", "user": "admin", "key": NEW}
    assert do(held, "authorize", **login) == {"others": 2}
    file, roots = home / "authorized_keys", held.root / "root/.ssh/authorized_keys"
    assert OLD in file.read_text() and NEW in file.read_text() and OLD in roots.read_text()
    assert do(held, "authorize", **login, remove=[OLD]) == {"others": 1}
    assert file.read_text() == f"{ANNS}\n{NEW} geusemaker:op-2\n" and roots.read_text() == ""
    assert file.stat().st_mode & 0o777 == 0o600
    lease = do(held, "end", operation="op-2", outcome="done")["lease"]
    assert lease["last_changed"] == "op-2", "a plan that was made before it does not hold any more"


@pytest.mark.parametrize(
    "wrong", [{"user": "../root"}, {"key": "ssh-ed25519"}, {"key": "ssh-ed25519 AAAA\nx"}, {"remove": ["x"]}]
)
def test_what_is_no_key_or_no_user_is_refused(held: DirectAgent, home: Path, wrong: dict[str, Any]) -> None:
    before = (home / "authorized_keys").read_text()
    with pytest.raises(AgentError) as refused:
        do(held, "authorize", **{"operation": "op-2", "user": "admin", "key": NEW, **wrong})
    assert refused.value.code == "bad_input" and (home / "authorized_keys").read_text() == before


@pytest.mark.parametrize("verb", ["authorize", "password", "key"])
def test_only_whoever_has_the_lease_may(held: DirectAgent, home: Path, verb: str) -> None:
    with pytest.raises(AgentError) as refused:
        do(held, verb, operation="op-other", user="admin", key=NEW)
    assert refused.value.code == "lease_lost"


def told(machine: Machine) -> str:
    """What psql was given on its stdin last."""
    return str(machine.state.get("loaded", {}).get("postgres", ""))


def test_without_a_change_of_it_the_database_is_told_nothing(held: DirectAgent, machine: Machine) -> None:
    do(held, "apply", **document("op-2", "old-word"))
    assert told(machine) == ""


def test_from_its_beginning_to_its_end_apply_puts_the_password_into_the_database(
    held: DirectAgent, machine: Machine
) -> None:
    do(held, "password", operation="op-2")
    do(held, "end", operation="op-2", outcome="failed")  # killed, say; another operation goes on
    do(held, "begin", operation="op-3")
    do(held, "apply", **document("op-3", "new-word"))
    statement = told(machine)
    assert statement.startswith('ALTER ROLE "postgres" WITH PASSWORD \'SCRAM-SHA-256$4096:')
    assert "new-word" not in statement, "a server may log what it is told"
    assert not any("new-word" in word or "SCRAM" in word for call in machine.calls() for word in call)
    assert "new-word" not in "".join(held.reporter.text) and "SCRAM" not in "".join(held.reporter.text)
    machine.update(loaded={})
    do(held, "apply", **document("op-3", "new-word"))
    assert told(machine) == "", "it is done"


def test_the_database_has_it_before_anything_else_is_started(held: DirectAgent, machine: Machine) -> None:
    do(held, "password", operation="op-2")
    do(held, "apply", **document("op-2", "new-word"))
    ups = [call for call in machine.calls("docker", "compose") if "up" in call]
    assert ups[-2][-1] == "postgresql" and ups[-1][-1] != "postgresql"
    words = [" ".join(call) for call in machine.calls()]
    told_at = max(place for place, text in enumerate(words) if "exec -i" in text and "ON_ERROR_STOP" in text)
    assert words.index(" ".join(ups[-2])) < told_at


def test_one_that_rests_takes_it_when_it_starts(held: DirectAgent, machine: Machine) -> None:
    do(held, "password", operation="op-2")
    do(held, "stop", operation="op-2", services=["postgresql"], by="ann", reason="")
    do(held, "apply", **document("op-2", "new-word"))
    assert told(machine) == ""
    do(held, "start", operation="op-2", services=["postgresql"])
    assert told(machine).startswith("ALTER ROLE")


def test_a_database_that_does_not_take_it_is_told_of_and_nothing_is_forgotten(
    held: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.agent.data.password.PASSWORD_PATIENCE", 0)
    do(held, "password", operation="op-2")
    machine.fail("docker exec -i", "psql: error: no such role")
    with pytest.raises(AgentError, match="did not take its new password: psql: error: no such role"):
        do(held, "apply", **document("op-2", "new-word"))
    assert held.store.password_changes()


def with_key(operation: str, value: str) -> dict[str, Any]:
    found = document(operation, "old-word")
    found["environment"]["n8n"]["N8N_ENCRYPTION_KEY"] = value
    return found


@pytest.mark.parametrize("text", ['{"encryptionKey": "old", "tunnelSubdomain": "x"}', "no JSON", "[]"])
def test_from_its_beginning_to_its_end_apply_puts_the_key_into_n8ns_own_file(held: DirectAgent, text: str) -> None:
    file = held.efs / "n8n" / "config"
    file.parent.mkdir()
    file.write_text(text)
    do(held, "apply", **with_key("op-2", "another key"))
    assert file.read_text() == text, "without a change of it the file is n8n's"

    do(held, "key", operation="op-2")
    do(held, "end", operation="op-2", outcome="failed")  # killed, say; another operation goes on
    do(held, "begin", operation="op-3")
    do(held, "apply", **with_key("op-3", "another key"))
    kept = json.loads(file.read_text())
    assert kept["encryptionKey"] == "another key" and kept.get("tunnelSubdomain") == ("x" if text[0] == "{" else None)
    assert file.stat().st_mode & 0o777 == 0o600 and not held.store.key_changes()
    assert "another key" not in "".join(held.reporter.text)


def test_without_a_file_n8n_makes_it_of_the_key_that_it_is_given(held: DirectAgent) -> None:
    do(held, "key", operation="op-2")
    do(held, "apply", **with_key("op-2", "another key"))
    assert not (held.efs / "n8n" / "config").exists() and not held.store.key_changes()


def test_without_a_key_nothing_is_applied(held: DirectAgent) -> None:
    do(held, "key", operation="op-2")
    with pytest.raises(AgentError, match="its environment has none"):
        do(held, "apply", **document("op-2", "old-word"))
    assert held.store.key_changes()
