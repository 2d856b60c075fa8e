from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.local_cloud.docker.command import Docker, DockerError

_PROGRAM = """#!/bin/sh
case "$*" in
  "version --format {{.Server.Version}}") echo 'Cannot connect to the Docker daemon.' >&2; exit 1 ;;
  "image inspect here:1") echo '[{"Id": "sha256:1"}]' ;;
  "image inspect gone:1") echo 'Error response from daemon: No such image: gone:1' >&2; exit 1 ;;
  "network inspect gone") echo 'Error response from daemon: network gone not found' >&2; exit 1 ;;
  "start --attach x") cat; echo 'Setting up a'; echo 'E: no room' >&2; exit 3 ;;
  "host") echo "$DOCKER_HOST" ;;
  "slow") exec sleep 60 ;;
  *) echo "unknown: $*" >&2; echo "See 'docker --help'." >&2; exit 125 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A client whose docker command says what these tests need."""
    program = tmp_path / "docker"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_HOST", "unix:///the/users.sock")
    return Docker()


def test_a_daemon_that_does_not_answer_is_told_with_a_way_out(docker: Docker) -> None:
    with pytest.raises(DockerError, match=r"No Docker daemon answers: .*Cannot connect") as raised:
        docker.check()
    assert "DOCKER_HOST" in str(raised.value.next_step)


def test_no_docker_command_is_told_in_the_same_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerError, match="not installed"):
        Docker().check()


def test_what_is_not_there_is_told_from_what_cannot_be_asked(docker: Docker) -> None:
    assert docker.find("image", "here:1") == {"Id": "sha256:1"}
    assert docker.find("image", "gone:1") is None
    assert docker.find("network", "gone") is None
    with pytest.raises(DockerError, match=r"docker volume failed: unknown: volume inspect x$"):
        docker.find("volume", "x")


def test_a_followed_command_hands_on_its_lines_and_ends_with_its_last_words(docker: Docker) -> None:
    lines: list[str] = []
    with pytest.raises(DockerError, match="Setting up a / E: no room"):
        docker.follow("start", "--attach", "x", stdin=b"given\n", on_line=lines.append)
    assert lines == ["given", "Setting up a", "E: no room"]


def test_the_daemon_is_the_one_that_was_chosen(docker: Docker) -> None:
    assert docker.run("host") == "unix:///the/users.sock"
    assert Docker("unix:///another.sock").run("host") == "unix:///another.sock"


def test_a_command_has_its_time(docker: Docker) -> None:
    with pytest.raises(DockerError, match="docker slow did not end within 0 s") as raised:
        docker.run("slow", timeout=0.2)
    assert "run the same command again" in raised.value.next_step
