"""What would only look as if it worked is refused, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.checks.fitness import (
    check_callers,
    check_environment,
    check_memory,
    check_settling,
)
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import (
    InstanceFacts,
    RollbackSettings,
    ServiceConfig,
    ServiceName,
    StackConfig,
)
from tests.unit.samples import config

TYPES = {"t3.small": 2048, "t3.medium": 4096, "t3.large": 8192, "t3.xlarge": 16384, "t4g.medium": 4096}


def find_type(name: str) -> InstanceFacts | None:
    return InstanceFacts(memory_mib=TYPES[name]) if name in TYPES else None


def on(instance_type: str, n8n: str = "2.42.6", **more: Any) -> StackConfig:
    facts = InstanceFacts(memory_mib=TYPES[instance_type])
    return config(n8n, instance_type=instance_type, **{"instance": facts, "rendering": 2, **more})


def with_variables(service: ServiceName, **variables: str) -> StackConfig:
    base = config()
    asked = base.services.get(service, ServiceConfig(image=ImageReference(repository="a/b", tag="1")))
    changed = asked.model_copy(update={"environment": variables})
    return base.model_copy(update={"services": {**base.services, service: changed}})


@pytest.mark.parametrize(
    ("service", "tag", "least"),
    [
        ("n8n", "1.123.81", 300),
        ("n8n", "1.100.1-crash", 300),
        ("n8n", "2.0.0", 600),
        ("n8n", "latest", 600),
        ("n8n", "stable", 600),
        ("postgresql", "17.12", 128),
    ],
)
def test_the_least_memory_is_of_service_and_version(service: ServiceName, tag: str, least: int) -> None:
    assert SERVICES[service].least_memory(ImageReference(repository="a/b", tag=tag)) == least


def test_what_an_instance_type_cannot_hold_is_refused_and_one_that_can_is_named() -> None:
    found = check_memory(on("t3.medium"), None, find_type, proven=False)
    assert found.status == "fail"
    assert found.detail == (
        "t3.medium leaves n8n 421 MiB, and n8nio/n8n:2.42.6 needs 600; "
        "--instance-type t3.large is the smallest of its family that holds them"
    )
    assert check_memory(on("t3.large"), None, find_type, proven=False).status == "pass"
    assert check_memory(on("t3.medium", "1.123.5"), None, find_type, proven=False).status == "pass"
    assert check_memory(on("t4g.medium"), None, find_type, proven=False).detail.endswith("; none fits")


def test_what_runs_with_so_little_already_may_go_on() -> None:
    running = on("t3.medium", "2.41.3")
    assert check_memory(on("t3.medium"), running, find_type, proven=False).status == "warn"
    assert check_memory(on("t3.medium"), None, find_type, proven=True).status == "warn", "a way back"
    assert check_memory(on("t3.medium"), on("t3.medium", "1.100.1"), find_type, proven=False).status == "fail"
    assert check_memory(on("t3.medium"), on("t3.large"), find_type, proven=False).status == "fail"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"EXECUTIONS_MODE": "queue"}, "needs Redis and workers"),
        ({"EXECUTIONS_MODE": "Queue "}, "take it out with --env n8n.EXECUTIONS_MODE="),
        ({"N8N_RUNNERS_MODE": "external"}, "needs a container of runners"),
        ({"DB_TABLE_PREFIX": "x_"}, "only geusemaker sets that"),
        ({"N8N_ENDPOINT_HEALTH": "up"}, "only geusemaker sets that"),
        ({"N8N_ENCRYPTION_KEY_FILE": "/key"}, "only geusemaker sets that"),
        ({"N8N_USER_FOLDER": "/tmp"}, "only geusemaker sets that"),
        ({"HOME": "/tmp"}, "only geusemaker sets that"),
        ({"N8N_STORAGE_PATH": "/files"}, "only geusemaker sets that"),
        ({"N8N_BINARY_DATA_STORAGE_PATH_FILE": "/files"}, "only geusemaker sets that"),
    ],
)
def test_what_an_environment_must_not_ask_for(variables: dict[str, str], words: str) -> None:
    found = check_environment(with_variables("n8n", **variables))
    assert found.status == "fail" and words in found.detail


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("postgresql", "POSTGRES_INITDB_WALDIR"),
        ("postgresql", "POSTGRES_INITDB_WALDIR_FILE"),
        ("ollama", "HOME"),
        ("qdrant", "QDRANT__STORAGE__STORAGE_PATH"),
        ("qdrant", "qdrant__storage__storage_path"),
    ],
)
def test_no_service_keeps_its_data_where_its_container_ends(service: ServiceName, name: str) -> None:
    found = check_environment(with_variables(service, **{name: "/elsewhere"}))
    assert found.status == "fail" and f"{service}.{name} decides where data is" in found.detail


@pytest.mark.parametrize(
    ("given", "status"), [("--waldir=/wal", "fail"), ("-k -X /wal", "fail"), ("--data-checksums -E UTF8-X", "pass")]
)
def test_what_initdb_is_told_may_not_take_the_write_ahead_log_off_the_file_system(given: str, status: str) -> None:
    asked = with_variables("postgresql", POSTGRES_INITDB_ARGS=given)
    assert check_environment(asked).status == status
    assert check_environment(asked, proven=True).status == ("warn" if status == "fail" else "pass")


@pytest.mark.parametrize("name", ["DB_TABLE_PREFIX", "N8N_ENDPOINT_HEALTH", "N8N_ENCRYPTION_KEY_FILE"])
def test_a_rule_that_came_late_stops_no_version_of_before(name: str) -> None:
    old = with_variables("n8n", **{name: "x"})
    assert check_environment(old, old).status == "warn"
    assert check_environment(old, proven=True).status == "warn"
    assert check_environment(old, with_variables("n8n", **{name: "y"})).status == "fail"
    assert check_environment(with_variables("n8n", EXECUTIONS_MODE="queue"), proven=True).status == "warn"
    assert check_environment(with_variables("n8n", EXECUTIONS_MODE="regular")).status == "pass"


@pytest.mark.parametrize(
    ("settle", "minutes", "fits"), [(15, 5, True), (180, 5, True), (181, 5, False), (300, 7, True)]
)
def test_a_settle_time_that_fills_the_deadline_is_refused_before_anything_is_done(
    settle: int, minutes: int, fits: bool
) -> None:
    asked = config(rollback=RollbackSettings(deadline_minutes=minutes))
    found = check_settling(asked, settle, proven=False)
    assert [one.status for one in found] == ([] if fits else ["fail"])
    assert fits or "--settle-seconds 180" in found[0].detail
    assert [one.status for one in check_settling(asked, settle, proven=True)] == ([] if fits else ["warn"]), (
        "a way back"
    )


@pytest.mark.parametrize(
    ("before", "after", "warned"),
    [
        ("0.7.0", "0.9.5", True),
        ("0.8.6", "0.8.7", True),
        ("0.8.6", "latest", True),
        ("0.8.7", "0.9.5", False),
        ("0.7.0", "0.8.6", False),
        ("0.9.5", "0.7.0", False),
        ("latest", "0.9.5", False),
        ("0.7.0", "0.7.0", False),
        (None, "0.9.5", False),
        ("0.7.0", None, False),
    ],
)
def test_where_crawl4ais_token_begins_to_count(before: str | None, after: str | None, warned: bool) -> None:
    def of(tag: str | None) -> StackConfig:
        base = config()
        if tag is None:
            return base
        image = ImageReference.parse(f"unclecode/crawl4ai:{tag}")
        return base.model_copy(update={"services": {**base.services, "crawl4ai": ServiceConfig(image=image)}})

    found = check_callers(of(after), of(before))
    assert bool(found) is warned and check_callers(of(after), None) == []
    assert all(check.status == "warn" and "Authorization: Bearer" in check.detail for check in found)


def test_every_service_has_a_least_memory() -> None:
    assert (
        min(SERVICES[name].least_memory(ImageReference(repository="a", tag="latest")) for name in SERVICE_NAMES) >= 128
    )


def test_services_that_ran_healthy_in_two_versions_are_judged_together_and_each_by_what_it_ran_with() -> None:
    late = with_variables("n8n", N8N_STORAGE_PATH="/data")
    assert check_environment(late, proven=True, mixed=True).status == "warn", "it ran with that"
    queue = with_variables("n8n", EXECUTIONS_MODE="queue")
    assert check_environment(queue, proven=True).status == "warn"
    assert check_environment(queue, proven=True, mixed=True).status == "fail", "its worker may not be there any more"
