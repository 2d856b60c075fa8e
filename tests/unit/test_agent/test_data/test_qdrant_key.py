"""Qdrant's key: found where the container has it, and sent with every question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geusemaker.agent.data import qdrant
from geusemaker.agent.env_files import env_file
from tests.unit.qdrant_server import QdrantServer
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent


def give(machine: Machine, plain: dict[str, str], secret: dict[str, str]) -> None:
    home = machine.root / "opt/geusemaker"
    (home / "compose.json").write_text(json.dumps({"services": {"qdrant": {"environment": plain}}}))
    (home / "qdrant.env").write_text(env_file(secret))


@pytest.mark.parametrize(
    ("plain", "secret", "key"),
    [
        ({}, {}, None),
        ({}, {"QDRANT__SERVICE__API_KEY": "gener'ated"}, "gener'ated"),
        ({}, {"qdrant__service__api_key": "mine"}, "mine"),
        ({"QDRANT__SERVICE__API_KEY": "plain"}, {"QDRANT__SERVICE__API_KEY": "other"}, "plain"),
        ({"QDRANT__LOG_LEVEL": "DEBUG"}, {"QDRANT__SERVICE__API_KEY": ""}, None),
    ],
)
def test_where_it_is(
    agent: DirectAgent, machine: Machine, plain: dict[str, str], secret: dict[str, str], key: str | None
) -> None:
    give(machine, plain, secret)
    assert qdrant.key_header(agent) == ({} if key is None else {"api-key": key})


def test_it_is_sent_with_every_question(
    agent: DirectAgent, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT__SERVICE__API_KEY", "a-key-of-qdrant")
    server = QdrantServer(tmp_path / "container", "v1.20.0", tmp_path / "storage")
    monkeypatch.setattr(qdrant, "QDRANT_PORT", server.port)
    give(machine, {}, {})
    kept = {"qdrant": ["from disk"]}
    assert qdrant.manifest(agent, {"qdrant": object()}, kept) == {  # type: ignore[dict-item]  # it only has to be there
        "collections": ["from disk"],
        "source": "disk: the service answered HTTP 401 Must provide an API key or an Authorization bearer token",
    }
    give(machine, {}, {"QDRANT__SERVICE__API_KEY": "a-key-of-qdrant"})
    assert server("PUT", "/collections/docs", {"vectors": {"size": 4}}, api_key="a-key-of-qdrant")[0] == 200
    found = qdrant.manifest(agent, {"qdrant": object()}, kept)  # type: ignore[dict-item]
    assert found == {"collections": ["docs"], "source": "service"}
    asked = qdrant.Qdrant(agent, 10)
    assert (asked.version(), asked.collections(), asked.points("docs")) == ("1.20.0", ["docs"], 0)
    digest = asked.save_snapshot("docs", tmp_path / "one.snapshot")
    asked.load_snapshot("docs", tmp_path / "one.snapshot", digest, "one.snapshot")
