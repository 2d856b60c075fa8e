"""Services of an operator's own, as the examples have them: n8n's queue mode, then a chat in its place, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
QUEUE, CHAT = "n8n-queue.yaml", "open-webui.yaml"


def environment(world: World, service: str) -> dict[str, str]:
    """What a service's container has in its environment."""
    [found] = json.loads(world.docker("inspect", f"geusemaker-{service}-1"))
    return dict(entry.split("=", 1) for entry in found["Config"]["Env"])


def starts(world: World, service: str) -> int:
    """How often a service was started on the folder that it keeps."""
    [file] = world.cloud.glob(f"**/own/{service}/data/stand-in.starts")
    return len(file.read_text().splitlines())


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """Everything that happens, once."""
    seen: dict[str, Any] = {}
    for name in (QUEUE, CHAT):
        shutil.copy(EXAMPLES / name, world.folder)
    world.extra["chat_WEBUI_SECRET_KEY"] = "a-key-of-the-chat"
    seen["deploy"] = world.json("deploy", "shop", "--yes", "-f", QUEUE)
    seen["n8n"], seen["worker"] = environment(world, "n8n"), environment(world, "worker")
    seen["logs"] = world.run("logs", "shop", "worker").stdout
    seen["differs"] = world.run("diff", "shop", "-f", QUEUE).code
    seen["no such"] = world.run("update", "shop", "--yes", "--image", "reddis=redis:8", code=2).stderr
    seen["crash"] = world.json("update", "shop", "--yes", "--image", "redis=redis:7.4.11-crash", code=3)
    seen["starts before"] = starts(world, "redis")
    seen["plan"] = world.run("update", "shop", "--dry-run", "--prune", "-f", CHAT).stdout
    seen["chat"] = world.json("update", "shop", "--yes", "--prune", "-f", CHAT)
    seen["chat's"] = environment(world, "chat")
    seen["v3"] = world.inspect("shop")
    seen["kept"] = starts(world, "redis")
    seen["back"] = world.json("rollback", "shop", "--yes")
    seen["starts after"] = starts(world, "redis")
    seen["chat kept"] = starts(world, "chat")
    return seen


def test_redis_and_a_worker_run_beside_n8n(told: dict[str, Any]) -> None:
    assert told["deploy"]["health_status"] == dict.fromkeys(("postgresql", "n8n", "redis", "worker"), True)
    assert "n8n worker is now ready" in told["logs"]
    assert told["differs"] == 0


def test_a_worker_has_the_secrets_of_n8n_and_nobody_prints_them(told: dict[str, Any], world: World) -> None:
    for variable in ("N8N_ENCRYPTION_KEY", "DB_POSTGRESDB_PASSWORD"):
        assert told["worker"][variable] == told["n8n"][variable] != ""
        assert not any(told["worker"][variable] in output for output in world.outputs)
    assert told["chat's"]["WEBUI_SECRET_KEY"] == "a-key-of-the-chat"
    assert not any("a-key-of-the-chat" in output for output in world.outputs)


def test_a_name_that_nobody_has_is_refused_with_the_nearest(told: dict[str, Any]) -> None:
    assert "There is no service 'reddis'" in told["no such"] and "Did you mean redis?" in told["no such"]


def test_one_that_crashes_brings_the_version_before_back(told: dict[str, Any]) -> None:
    assert told["crash"]["rolled_back_to"] == 1 and "redis" in told["crash"]["error_message"]
    assert told["crash"]["health_status"]["redis"] and told["crash"]["health_status"]["worker"]


def test_what_a_file_does_not_have_goes_and_leaves_its_data(told: dict[str, Any]) -> None:
    assert told["chat"]["health_status"] == {"ollama": True, "chat": True}
    [kept] = told["chat"]["data_kept"]
    assert kept.startswith(
        "redis is taken out, and what it keeps stays in its folder own/redis on /mnt/efs and /mnt/data"
    )
    assert "own/redis" in told["plan"]
    assert told["v3"]["services"]["chat"]["address"].endswith(":3000")
    assert told["kept"] == told["starts before"]


def test_a_rollback_has_them_run_on_the_same_data_and_leaves_the_others(told: dict[str, Any]) -> None:
    assert told["back"]["health_status"] == told["deploy"]["health_status"]
    assert told["starts after"] == told["kept"] + 1
    assert told["chat kept"] == 1 and "own/chat" in told["back"]["data_kept"][0]
