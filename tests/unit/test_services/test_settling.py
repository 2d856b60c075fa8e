from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from geusemaker.agent.protocol.looks import Life, ServiceHealth
from geusemaker.services.facts import kept_beside_data, recorded_migrations
from geusemaker.services.settling import not_healthy, not_healthy_after_all, other_lives

LIFE = Life("a", "2026-01-01T00:00:00Z", restarts=0)


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (LIFE, LIFE, ""),
        (LIFE, replace(LIFE, container="b"), "replaced"),
        (LIFE, replace(LIFE, restarts=1), "started again"),
        (LIFE, replace(LIFE, started_at="2026-01-01T00:00:01Z"), "started again"),
        (LIFE, replace(LIFE, started_at=None), "started again"),
        (LIFE, None, "no container"),
        (Life(), LIFE, ""),
    ],
)
def test_another_life_of_a_container_is_told(before: Life, now: Life | None, says: str) -> None:
    found = other_lives({"n8n": before}, {"n8n": now} if now is not None else {})
    assert says in found.get("n8n", "") and bool(found) == bool(says)


def test_who_is_not_healthy_any_more_is_named_with_the_reason() -> None:
    life = asdict(LIFE)
    now = {
        "n8n": ServiceHealth(**life, healthy=True),
        "qdrant": ServiceHealth(**life, healthy=False, detail="HTTP 503"),
    }
    ill = not_healthy(("n8n", "qdrant", "ollama"), {"n8n": LIFE, "qdrant": LIFE}, now)
    assert ill == {"qdrant": "HTTP 503", "ollama": "there is no container"}
    outcome = not_healthy_after_all(ill)
    assert not outcome.succeeded and not outcome.timed_out
    assert outcome.agent_error is not None and outcome.agent_error["code"] == "unhealthy"


def test_migrations_are_a_fact_once_n8n_is_ready() -> None:
    def manifest(**facts: Any) -> dict[str, Any]:
        return {"services": {"n8n": {"migrations": ["B2", "A1"], **facts}}}

    assert recorded_migrations(manifest()) == frozenset({"A1", "B2"}), "an older record"
    assert recorded_migrations(manifest(ready=True)) == frozenset({"A1", "B2"})
    assert recorded_migrations(manifest(ready=False)) is None
    assert recorded_migrations(manifest(migrations=None)) is None
    assert kept_beside_data(manifest(ready=True)) == {"services": {"n8n": {"migrations": ["A1", "B2"]}}}
    assert kept_beside_data(manifest(ready=False)) is None
