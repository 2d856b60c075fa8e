"""What all verbs stand on: input, output, files, mount table, images."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.__main__ import main, perform
from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, read_document
from geusemaker.agent.env_files import env_file, parse_env_value
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, write_atomic
from geusemaker.agent.images import Image
from geusemaker.agent.mounts import Mount, find_mount
from geusemaker.agent.output import Reporter
from geusemaker.agent.verbs import lease as verbs_lease
from geusemaker.agent.version import agent_version
from tests.unit.test_host.conftest import Program
from tests.unit.test_host.support import DirectAgent, RecordingReporter

TABLE = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "40 22 0:40 / /mnt/efs rw,relatime shared:9 - nfs4 fs-0a.efs.us-east-1.amazonaws.com:/ rw,vers=4.1\n"
)


# input


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (lambda d: d.text("key"), {}),
        (lambda d: d.text("key"), {"key": 3}),
        (lambda d: d.text("key"), {"key": ""}),
        (lambda d: d.operation("key"), {"key": "../../etc"}),
        (lambda d: d.operation("key"), {"key": "-x"}),
        (lambda d: d.number("key", 1), {"key": "3"}),
        (lambda d: d.number("key", 1), {"key": True}),
        (lambda d: d.number("key", 1), {"key": -1}),
        (lambda d: d.mapping("key"), {"key": []}),
        (lambda d: d.items("key"), {"key": {}}),
        (lambda d: d.service_map("key"), {"key": {"../n8n": {}}}),
    ],
)
def test_input_that_cannot_be_used_is_refused_by_its_key(read: Any, document: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as caught:
        read(Document(document))
    assert caught.value.code == "bad_input"


def test_missing_values_have_defaults() -> None:
    document = Document({"key": None, "text": ""})
    assert (document.mapping("key"), document.items("key"), document.number("other", 7)) == ({}, [], 7)
    assert document.optional_text("text") is None


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_stdin_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(AgentError, match="stdin"):
        read_document(text)


def test_a_missing_document_is_an_empty_one() -> None:
    assert read_document(" \n").values == {}


def test_a_refusal_does_not_repeat_a_secret(run: Program) -> None:
    status, lines = run("apply", {"operation": "op", "environment": {"n8n": {"KEY": ["hunter2hunter2"]}}})
    assert status == 1
    assert "hunter2" not in json.dumps(lines)


# output


def test_secrets_leave_in_no_form() -> None:
    reporter = RecordingReporter()
    reporter.hide(["pass/word+1", "line one\nline two", "x"])
    reporter.note("postgres://u:pass%2Fword%2B1@db pass/word+1 x")
    reporter.emit("error", detail={"logs": ["line two"], "pair": ("pass/word+1",)})
    assert reporter.lines[0]["message"] == "postgres://u:***@db *** x"
    assert reporter.lines[1]["detail"] == {"logs": ["***"], "pair": ["***"]}


def test_half_a_character_leaves_as_one_that_can_be_written() -> None:
    """A service's answer may hold one, as JSON lets it; what a file takes does not."""
    reporter = RecordingReporter()
    reporter.emit("error", detail={"services": {"n8n": {"reason": json.loads('"no \\ud800 way \\ud83d\\ude00"')}}})
    reporter.result({"logs": ["\udcff"]})
    assert reporter.lines[0]["detail"]["services"]["n8n"]["reason"] == "no ? way \U0001f600"
    assert reporter.lines[1]["logs"] == ["?"]


def test_an_event_is_cut_to_the_length_of_a_line() -> None:
    reporter = RecordingReporter()
    reporter.emit("error", code="unhealthy", message="m", detail={"logs": ["é" * 3000] * 300})
    assert len(reporter.text[0]) < 16384
    assert reporter.lines[0]["code"] == "unhealthy"
    reporter.emit("note", message={str(key): "x" for key in range(5000)})
    assert len(reporter.text[1]) < 16384


@given(st.lists(st.text(max_size=3000), max_size=30))
def test_an_answer_of_any_length_arrives_whole(items: list[str]) -> None:
    reporter = RecordingReporter()
    reporter.result({"items": items})
    assert all(len(line) < 16384 for line in reporter.text)
    *pieces, last = reporter.lines
    assert last["event"] == "result"
    if "parts" in last:
        assert last["parts"] == len(pieces)
        assert json.loads("".join(piece["text"] for piece in pieces)) == {"items": items}
    else:
        assert last["items"] == items


def test_a_listener_that_hangs_up_does_not_end_the_work() -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    reporter = Reporter(broken)
    reporter.note("one")
    reporter.note("two")
    assert reporter.gone


# files


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write_atomic(path, "new", 0o600)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_too_long_for_a_line_keeps_its_code() -> None:
    lines: list[str] = []
    Reporter(lines.append).emit(
        "error", code="unhealthy", message="n8n died", detail={f"key {number}": "x" * 30 for number in range(2000)}
    )
    assert json.loads(lines[0]) == {"event": "error", "code": "unhealthy", "message": "n8n died"}


def test_secrets_are_hidden_whatever_lies_in_the_files_of_them(agent: Agent) -> None:
    agent.home.mkdir(parents=True, exist_ok=True)
    (agent.home / "n8n.env").write_bytes("A='pass\u2028word and more'\n".encode() + b"B=secret\xff\n")
    assert "pass\u2028word and more" in agent.secrets()


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_state_file_that_cannot_be_read_is_an_error_and_not_an_absence(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    with pytest.raises(AgentError) as caught:
        read_json(tmp_path / "lease.json")
    assert caught.value.code == "bad_state"
    assert read_json(tmp_path / "none.json") is None


# mount table


def test_the_mount_table_tells_the_file_system() -> None:
    mount = find_mount(TABLE, ["/mnt/efs"])
    assert mount is not None
    assert mount.file_system_id == "fs-0a"


@pytest.mark.parametrize(("kind", "known"), [("fuse.nfs4", True), ("fuse.sshfs", False), ("ext4", False)])
def test_only_an_nfs_client_mounts_efs_be_it_one_in_user_space(kind: str, known: bool) -> None:
    mount = Mount(kind, "fs-0a.efs.us-east-1.amazonaws.com:/")
    assert mount.file_system_id == ("fs-0a" if known else None)


def test_the_last_mount_on_the_same_point_counts() -> None:
    covered = TABLE + "41 40 0:41 / /mnt/efs rw - tmpfs tmpfs rw\n"
    mount = find_mount(covered, ["/mnt/efs"])
    assert mount is not None
    assert mount.file_system_id is None


@pytest.mark.parametrize("table", ["", "nonsense\n", TABLE.replace("/mnt/efs", "/mnt/efs2"), TABLE.replace(" - ", " ")])
def test_no_mount_is_found_where_there_is_none(table: str) -> None:
    assert find_mount(table, ["/mnt/efs"]) is None


def test_escapes_of_the_mount_table_are_read() -> None:
    mount = find_mount("1 0 0:1 / /a\\040b rw - nfs4 host:/x\\011y rw\n", ["/a b"])
    assert mount == Mount("nfs4", "host:/x\ty")


@given(st.text())
def test_any_mount_table_can_be_read(table: str) -> None:
    find_mount(table, ["/mnt/efs"])


# images


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("postgres:16@sha256:ab", "postgres@sha256:ab"),
        ("docker.io/library/postgres@sha256:ab", "postgres@sha256:ab"),
        ("docker.io/n8nio/n8n:1.2", "n8nio/n8n:1.2"),
        ("registry.example.com:5000/team/app@sha256:ab", "registry.example.com:5000/team/app@sha256:ab"),
        ("registry.example.com:5000/team/app", "registry.example.com:5000/team/app:latest"),
    ],
)
def test_images_are_compared_in_dockers_short_form(text: str, short: str) -> None:
    assert Image.parse(text).by_digest == short


def test_an_image_is_recognised_by_digest_and_repository() -> None:
    inspected = {"RepoDigests": ["postgres@sha256:ab"], "RepoTags": ["postgres:16"]}
    assert Image.parse("docker.io/library/postgres:17@sha256:ab").is_among(inspected)
    assert Image.parse("postgres:16").is_among(inspected)
    assert not Image.parse("postgres:16@sha256:cd").is_among(inspected)
    assert not Image.parse("other@sha256:ab").is_among(inspected)
    assert not Image.parse("postgres:16").is_among({"RepoTags": None})


# env files


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_an_env_file_gives_every_value_back(value: str) -> None:
    (line, *more) = env_file({"KEY": value}).split("\n")[:-1] if "\n" not in value else [""]
    if "\n" not in value and "\r" not in value:
        assert not more
        assert parse_env_value(line.partition("=")[2]) == value


def test_env_files_are_quoted_only_where_needed() -> None:
    text = env_file({"B": "it's $5\n", "A": "plain/1=", "C": "two words"})
    assert text == "A=plain/1=\n" + 'B="it\'s \\$5\\n"\n' + "C='two words'\n"


@pytest.mark.parametrize("variables", [{"1A": "x"}, {"A-B": "x"}, {"A": 1}, []])
def test_an_environment_that_is_none_is_refused(variables: Any) -> None:
    with pytest.raises(AgentError, match="environment"):
        env_file(variables)


# the program


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["lease", "more"], ["--root"], ["--other", "x", "lease"]])
def test_arguments_it_does_not_know_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == agent_version()


def test_another_version_than_the_expected_one_refuses_to_run(run: Program) -> None:
    status, lines = run("lease", {}, "--expect", "0000")
    assert (status, lines[-1]["code"]) == (1, "outdated")
    assert run("lease", {}, "--expect", agent_version())[1][-1]["code"] == "not_mounted"


def test_an_unforeseen_failure_is_one_line_and_not_a_traceback(
    agent: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(agent: Agent, document: Document) -> dict[str, Any]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(verbs_lease, "lease", broken)
    assert perform(agent, "lease", lambda: "{}") == 1
    assert agent.reporter.lines[-1]["code"] == "internal"
    assert "ZeroDivisionError: division by zero (test_agent.py, line " in agent.reporter.lines[-1]["message"]
