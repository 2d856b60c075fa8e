"""What a deployment's verbs that reach it are asked for, before anything is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.deployment import Deployment
from geusemaker.deployment.reach import Reach
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.errors import HostError, InvalidInputError
from geusemaker.host.connection import Login
from geusemaker.host.session import Command, Finished
from geusemaker.models.stack import Secrets
from geusemaker.services.reach.service import Way
from tests.unit.samples import config, target


@pytest.fixture
def prod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment of n8n and PostgreSQL whose way is known, and where nobody listens."""
    secrets = Secrets(
        ssh_private_key="a", host_private_key="b", postgresql_password="c", n8n_encryption_key="d", crawl4ai_token="e"
    )
    login = Login("127.0.0.1", 1, "admin", "no key", "no key")
    monkeypatch.setattr(Reach, "_way", lambda *_: Way("prod", target(), login, secrets, config()))
    return Deployment("prod", WorkspaceSettings(tmp_path))


def test_a_local_port_is_for_one_service(prod: Deployment) -> None:
    for services in ((), ("n8n", "postgresql")):
        with pytest.raises(InvalidInputError, match="A local port is for one service"):
            prod.tunnel(*services, port=7000)


@pytest.mark.parametrize("services", [("quadrant",), ("n8n", "qdrant")])
def test_there_is_no_way_to_what_is_not_there(prod: Deployment, services: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="prod has no service"):
        prod.tunnel(*services)


def test_a_browser_is_for_what_speaks_http(prod: Deployment) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prod.open("postgres")
    assert "`geusemaker tunnel prod postgresql`" in caught.value.next_step


@pytest.mark.parametrize("command", ["env", [], ()])
def test_a_command_in_a_container_is_words(prod: Deployment, command: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="list of words"):
        prod.exec("n8n", command)


def test_what_a_command_printed_is_text(prod: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Command, bytes]] = []

    def run(login: Login, command: Command, given: bytes) -> Finished:
        asked.append((command, given))
        return Finished(3, b"\xff\n", "ü".encode())

    monkeypatch.setattr("geusemaker.host.session.run", run)
    result = prod.exec("postgres", ["psql"], input="ä")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "\ufffd\n", "ü")
    assert prod.ssh("uptime").exit_code == 3
    expected = Command(service="postgresql", words=("psql",), become=target().become)
    assert asked == [(expected, "ä".encode()), (Command("uptime"), b"")]


def test_an_instance_that_does_not_answer_comes_with_what_to_type(
    prod: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Finished:
        raise HostError("away", code="unreachable")

    monkeypatch.setattr("geusemaker.host.session.run", away)
    with pytest.raises(HostError) as caught:
        prod.ssh("uptime")
    assert "`geusemaker status prod`" in caught.value.next_step
