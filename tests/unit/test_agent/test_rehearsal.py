"""What a rehearsal is made of: its room, its compose file, and what keeps a copy of n8n's database quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.agent.data.n8n_copy import copy_folder, folder_bytes
from geusemaker.agent.errors import AgentError
from geusemaker.agent.images import Image
from geusemaker.agent.rehearsal import Memory, Room, neutralising, parse_memory, rehearsal_project

MIB = 2**20
ROOM = Room(copy=100 * MIB, disk_free=2000 * MIB, memory=Memory(8000 * MIB, 3000 * MIB), memory_needed=700 * MIB)


def test_there_is_room_or_it_is_told_what_is_lacking() -> None:
    assert ROOM.lacks() == ""
    assert ROOM._replace(disk_free=1224 * MIB).lacks() == ""
    assert ROOM._replace(disk_free=1224 * MIB - 1).lacks() == (
        "The instance's disk has 1224 MiB free, and a rehearsal needs 1224 MiB: twice the 100 MiB that are copied, and "
        "1024 MiB in reserve"
    )
    assert ROOM._replace(memory=Memory(8000 * MIB, 1900 * MIB)).lacks() == ""
    assert ROOM._replace(memory=Memory(8000 * MIB, 1899 * MIB)).lacks() == (
        "The instance has 1899 MiB of memory available, and a rehearsal needs 1900 MiB: 700 MiB for its services, and "
        "1200 MiB in reserve"
    )


def test_the_memory_that_is_available_is_read() -> None:
    text = "MemTotal:        4005896 kB\nMemFree: 5 kB\nMemAvailable:    1000 kB\nHugePages_Total:       0\nx:\n"
    assert parse_memory(text) == Memory(4005896 * 1024, 1000 * 1024)
    for part in ("MemTotal: 1 kB\n", "MemAvailable: 1 kB\n"):
        with pytest.raises(AgentError, match="cannot be read"):
            parse_memory(part)


LIVE = {
    "postgresql": {
        "image": "postgres@sha256:1",
        "ports": ["127.0.0.1:5432:5432"],
        "restart": "unless-stopped",
        "networks": ["postgresql"],
        "mem_limit": "900m",
        "environment": {"POSTGRES_USER": "geusemaker"},
        "env_file": ["./postgresql.env"],
        "volumes": ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/postgresql:/var/lib/postgresql/data"],
    },
    "n8n": {"image": "n8nio/n8n@sha256:2", "ports": ["127.0.0.1:5678:5678"], "environment": {"A": "1", "B": "2"}},
    "ollama": {"image": "ollama/ollama@sha256:3"},
}
IMAGES = {"postgresql": Image.parse("postgres:17.5@sha256:4"), "n8n": Image.parse("n8nio/n8n@sha256:5")}


def test_it_is_as_what_runs_but_on_copies_in_a_network_that_leads_nowhere() -> None:
    made = rehearsal_project(LIVE, IMAGES, {"n8n": {"B": "3"}}, Path("/opt/$x"), "")
    assert (made["name"], made["networks"]) == ("geusemaker-rehearsal", {"inside": {"internal": True}})
    assert set(made["services"]) == {"postgresql", "n8n"}
    assert made["services"]["postgresql"] == {
        "image": "postgres@sha256:4",
        "labels": {"io.geusemaker.image": "postgres:17.5"},
        "restart": "no",
        "networks": ["inside"],
        "mem_limit": "900m",
        "environment": {"POSTGRES_USER": "geusemaker"},
        "env_file": ["./postgresql.env"],
        "volumes": ["/opt/$$x/data/postgresql:/var/lib/postgresql/data"],
        "cpu_shares": 128,
        "oom_score_adj": 1000,
    }
    n8n = made["services"]["n8n"]
    assert n8n["environment"] == {"A": "1", "B": "3"} and n8n["volumes"] == []
    assert not {"ports", "env_file"} & n8n.keys()


def test_where_instances_share_a_network_the_database_alone_has_another_port() -> None:
    services = rehearsal_project(LIVE, IMAGES, {}, Path("/x"), "127.9.9.9")["services"]
    assert services["postgresql"]["ports"] == ["127.9.9.9:15432:5432"] and "ports" not in services["n8n"]


@pytest.mark.parametrize(
    ("columns", "statements"),
    [
        ([], []),
        ([("workflow_entity", "active")], ["UPDATE public.workflow_entity SET active = false"]),
        (
            [("workflow_entity", "activeVersionId"), ("workflow_published_version", "id")],
            [
                'UPDATE public.workflow_entity SET "activeVersionId" = NULL',
                "DELETE FROM public.workflow_published_version",
            ],
        ),
        (
            [("execution_entity", "status"), ("execution_entity", "waitTill")],
            [
                "UPDATE public.execution_entity SET status = 'canceled' "
                "WHERE status IN ('new', 'running', 'waiting', 'unknown')",
                'UPDATE public.execution_entity SET "waitTill" = NULL',
            ],
        ),
    ],
)
def test_nothing_in_the_copy_begins_by_itself(columns: list[tuple[str, str]], statements: list[str]) -> None:
    assert neutralising(columns) == statements


def test_n8ns_folder_is_copied_without_what_its_executions_made(tmp_path: Path) -> None:
    source, target = tmp_path / "n8n", tmp_path / "copy"
    (source / "nodes/deep").mkdir(parents=True)
    (source / "nodes/deep/package.json").write_text("{}")
    (source / "config").write_text("key")
    (source / "config").chmod(0o600)
    (source / "link").symlink_to("config")
    (source / "crash.journal").write_text("x" * 100)
    (source / "binaryData/w").mkdir(parents=True)
    (source / "binaryData/w/file").write_text("x" * 1000)
    target.mkdir()
    assert folder_bytes(source) == 5
    copy_folder(source, target)
    found = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert found == {"nodes", "nodes/deep", "nodes/deep/package.json", "config", "link", "binaryData"}
    assert (target / "config").stat().st_mode & 0o777 == 0o600 and (target / "link").read_text() == "key"
    assert folder_bytes(tmp_path / "nothing") == 0
    copy_folder(tmp_path / "nothing", target)
