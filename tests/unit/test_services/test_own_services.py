"""Services of an operator's own: asked for, rendered, compared, refused."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.agent.protocol.looks import Health, Mount
from geusemaker.catalog import SERVICES
from geusemaker.checks.fitness import check_environment, check_memory
from geusemaker.checks.host import check_volumes
from geusemaker.errors import InvalidInputError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.plan import Plan
from geusemaker.models.request import UpdateRequest
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.program.compose import data_directories, limits, probes, render, secret_environment
from geusemaker.services.configure import changed_config
from geusemaker.services.differences import config_changes, migrated_services
from geusemaker.services.manifest import Comparison, compare
from geusemaker.services.rest.plan import to_start, to_stop
from geusemaker.services.secrets import generate
from tests.unit.fakes import World
from tests.unit.samples import DIGEST, config, target, version


def own(image: str = "redis:7.4", environment: dict[str, str] | None = None, **values: Any) -> ServiceConfig:
    return ServiceConfig(
        image=ImageReference.parse(image), environment=environment or {}, own=OwnService.model_validate(values)
    )


REDIS = own(
    command="redis-server --appendonly yes",
    ports=[6379],
    volumes=["data:/data"],
    uid=999,
    probe={"kind": "tcp"},
)
WORKER = own(f"n8nio/n8n:1.100.1@{DIGEST}", {"A": "$B"}, command="worker", memory_share=2, needs=["redis", "n8n"])


def changed(base: StackConfig | None = None, **values: Any) -> StackConfig:
    return changed_config(UpdateRequest(**values), base or config())


@pytest.fixture
def queued() -> StackConfig:
    return changed(own_services={"worker": WORKER, "redis": REDIS})


def test_they_come_after_the_catalogues_and_are_rendered_with_what_was_said(queued: StackConfig) -> None:
    assert list(queued.services) == ["postgresql", "n8n", "redis", "worker"]
    services = render(queued, data_volume=True)["services"]
    assert services["redis"] == {
        "image": "redis:7.4",
        "restart": "unless-stopped",
        "ports": ["${GEUSEMAKER_LOOPBACK:-127.0.0.1}:6379:6379"],
        "environment": {},
        "mem_limit": "451m",
        "stop_grace_period": "20s",
        "labels": {"io.geusemaker.image": "redis:7.4"},
        "volumes": ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/own/redis/data:/data"],
        "command": ["redis-server", "--appendonly", "yes"],
        "logging": services["n8n"]["logging"],
        "networks": ["n8n", "redis"],
    }
    assert services["worker"]["environment"] == {"A": "$$B"} and services["worker"]["ports"] == []
    assert data_directories(queued, data_volume=True)[0] == {
        "path": "own/redis/data", "uid": 999, "gid": 999, "mode": 0o750, "on": "efs",
    }  # fmt: skip
    asked = probes(queued)
    assert asked["redis"]["probe"] == {"kind": "tcp", "port": 6379}
    assert asked["worker"]["depends_on"] == ["redis", "n8n"] and asked["worker"]["probe"]["kind"] == "running"


def test_those_of_the_catalogue_stay_as_they_are_while_there_is_room(queued: StackConfig) -> None:
    before, after = (render(one, data_volume=True)["services"] for one in (config(), queued))
    assert all(after[name] == before[name] for name in before)


def test_data_that_nfs_does_not_do_for_lies_on_the_data_volume() -> None:
    chat = own(ports=[8080], volumes=[{"folder": "data", "path": "/app", "storage": "volume"}])
    for there, place in ((True, "data"), (False, "efs")):
        found = render(changed(own_services={"chat": chat}), data_volume=there)["services"]["chat"]["volumes"]
        assert found == [f"${{GEUSEMAKER_INSTANCE_ROOT:-}}/mnt/{place}/own/chat/data:/app"]


def test_whoever_takes_more_memory_than_is_left_makes_all_limits_smaller_and_that_is_told() -> None:
    new = changed(own_services={"big": own(memory_share=21)})
    assert limits(new) == {"postgresql": 614, "n8n": 614, "big": 6451}
    told = [str(change) for change in config_changes(config(), new)]
    assert told[:4] == [
        "postgresql.memory_mib: 903 -> 614", "n8n.memory_mib: 903 -> 614",
        "big.image: (none) -> redis:7.4", "big.memory_share: (none) -> 21",
    ]  # fmt: skip
    larger = changed(own_services={"big": own(memory_share=30)}, images={"n8n": "n8nio/n8n:2.42.6"})
    check = check_memory(larger, config(), lambda _: None, proven=False)
    assert check.status == "fail" and "leaves n8n 451 MiB" in check.detail


def test_an_image_that_is_asked_for_again_keeps_its_digest() -> None:
    pinned = REDIS.model_copy(update={"image": REDIS.image.pinned(DIGEST)})
    base = changed(own_services={"redis": pinned})
    assert changed(base, own_services={"redis": REDIS}).services["redis"].image.digest == DIGEST
    assert changed(base, own_services={"redis": own("redis:8")}).services["redis"].image.digest is None


def test_options_reach_those_that_there_are(queued: StackConfig) -> None:
    new = changed(queued, images={"redis": "redis:8"}, environment={"worker": {"X": "1", "A": ""}})
    assert new.services["redis"].image.tag == "8" and new.services["worker"].environment == {"X": "1"}
    with pytest.raises(InvalidInputError, match=r"'reddis'; the services are .*, redis, worker") as caught:
        changed(queued, images={"reddis": "redis:8"})
    assert caught.value.next_step == "Did you mean redis?"


def test_one_that_is_taken_out_can_be_enabled_again_as_it_was(queued: StackConfig) -> None:
    without = changed(queued, without=["worker", "redis"])
    assert "redis" not in without.services
    versions = [version(1, config=queued), version(2, config=without)]
    again = changed_config(UpdateRequest(services=("redis",)), without, versions)
    assert again.services["redis"] == REDIS
    with pytest.raises(InvalidInputError, match="There is no service 'redis'"):
        changed_config(UpdateRequest(services=("redis",)), without, [])
    failed = [version(1, config=queued, status="failed", healthy=False)]
    with pytest.raises(InvalidInputError, match="never ran healthy"):
        changed_config(UpdateRequest(services=("redis",)), without, failed)
    with pytest.raises(InvalidInputError, match="needs redis"):
        changed(queued, without=["redis"])


@pytest.mark.parametrize(
    "name", ["n8n", "postgres", "caddy", "settings", "ami", "region", "Redis", "a_b", "-a", "a" * 31, ""]
)
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be called"):
        changed(own_services={name: REDIS})


def test_a_port_of_the_catalogues_is_refused_also_while_it_is_not_used() -> None:
    with pytest.raises(InvalidInputError, match="port 6333: it is Qdrant's") as caught:
        changed(own_services={"other": own(ports=[6333])})
    assert "16333:6333" in caught.value.next_step
    with pytest.raises(InvalidInputError, match="says nothing of what it is"):
        changed(own_services={"other": ServiceConfig(image=ImageReference.parse("a:1"))})


def test_differences_tell_what_it_is(queued: StackConfig) -> None:
    assert [str(change) for change in config_changes(config(), queued)][:6] == [
        "redis.command: (none) -> redis-server --appendonly yes",
        "redis.image: (none) -> redis:7.4",
        "redis.memory_share: (none) -> 1",
        "redis.ports: (none) -> 6379:6379",
        "redis.probe: (none) -> tcp",
        "redis.uid: (none) -> 999",
    ]


def test_a_database_is_copied_before_what_uses_it_changes(queued: StackConfig) -> None:
    user = changed(own_services={"app": own(needs=["postgresql"])})
    assert migrated_services(user, changed(user, images={"app": "redis:8"})) == ("postgresql",)
    assert migrated_services(queued, changed(queued, images={"redis": "redis:8"})) == ()


def test_what_needs_it_stops_and_starts_with_it(queued: StackConfig) -> None:
    assert to_stop(queued, ["redis"]) == (("redis", "worker"), ("worker stops as well: it needs redis",))
    assert to_start(queued, ["worker"], ["redis", "worker"])[0] == ("redis", "worker")


def volumes(config: StackConfig, there: list[str]) -> str:
    health = Health(services={}, mount=Mount(), volumes={"redis": there})
    return check_volumes(health, config, target()).status


def test_its_data_does_not_move_but_it_may_get_another_folder(queued: StackConfig) -> None:
    here = "${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/own/redis"
    assert volumes(queued, []) == "pass"
    assert volumes(queued, [f"{here}/data:/data", f"{here}/more:/more"]) == "pass"
    assert volumes(queued, [f"{here}/other:/data"]) == "fail"


# n8n's queue mode

N8N = {"EXECUTIONS_MODE": "queue", "QUEUE_BULL_REDIS_HOST": "redis"}


def test_a_queue_without_redis_or_worker_is_refused() -> None:
    lacking = changed(environment={"n8n": {"EXECUTIONS_MODE": "queue"}})
    check = check_environment(lacking)
    assert check.status == "fail"
    assert "a service that n8n.QUEUE_BULL_REDIS_HOST names nor one with n8n's image" in check.detail
    no_worker = changed(environment={"n8n": N8N}, own_services={"redis": REDIS})
    assert "there is not one with n8n's image and the command worker" in check_environment(no_worker).detail


def test_n8n_waits_for_its_redis(queued: StackConfig) -> None:
    queue = changed(queued, environment={"n8n": N8N})
    assert probes(queue)["n8n"]["depends_on"] == ["postgresql", "redis"]
    assert to_stop(queue, ["redis"])[0] == ("n8n", "redis", "worker")


def test_a_worker_is_told_what_it_has_to_share_with_n8n(queued: StackConfig) -> None:
    detail = check_environment(changed(queued, environment={"n8n": N8N})).detail
    assert "worker.DB_POSTGRESDB_HOST has to be postgresql" in detail and "worker.QUEUE_BULL_REDIS_HOST" in detail
    assert "worker.N8N_ENCRYPTION_KEY has to be the generated secret n8n_encryption_key" in detail


def test_a_worker_that_shares_what_it_has_to_fits() -> None:
    n8n = SERVICES["n8n"]
    shared = {key: value for key, value in n8n.environment.items() if key != "N8N_PORT"}
    worker = WORKER.model_copy(
        update={
            "environment": {**shared, "QUEUE_BULL_REDIS_HOST": "redis"},
            "secret_environment": dict(n8n.secrets),
        }
    )
    apart = changed(own_services={"redis": REDIS, "worker": worker}, environment={"n8n": N8N})
    assert "which worker does not reach: add postgresql to its needs" in check_environment(apart).detail
    assert worker.own is not None
    needs = worker.own.model_copy(update={"needs": ("postgresql", "redis", "n8n")})
    worker = worker.model_copy(update={"own": needs})
    queue = changed(own_services={"redis": REDIS, "worker": worker}, environment={"n8n": N8N})
    assert check_environment(queue).status == "pass"
    secrets = generate()
    assert secret_environment(queue, secrets)["worker"] == {
        "DB_POSTGRESDB_PASSWORD": secrets.postgresql_password,
        "N8N_ENCRYPTION_KEY": secrets.n8n_encryption_key,
    }
    assert render(queue, data_volume=True)["services"]["worker"]["env_file"] == ["./worker.env"]
    newer = changed(queue, images={"n8n": "n8nio/n8n:2.42.6"})
    assert "--image worker=n8nio/n8n:2.42.6" in check_environment(newer).detail
    files = changed(queue, environment={"n8n": {"N8N_DEFAULT_BINARY_DATA_MODE": "filesystem"}})
    assert "do not see them" in check_environment(files).detail


# a deployment that has some


@pytest.fixture
def lived_in(deployed: World) -> World:
    """v2 has Redis, healthy."""
    assert deployed.update(own_services={"redis": REDIS}).health_status["redis"]
    return deployed


def test_a_rollback_that_takes_one_out_leaves_its_data_and_says_so(lived_in: World) -> None:
    shown: list[Plan] = []

    def confirm(plan: Plan) -> bool:
        shown.append(plan)
        return True

    result = lived_in.rollback(confirm)
    assert result.success and "redis" not in result.health_status
    kept = (
        "redis is taken out, and what it keeps stays in its folder own/redis on /mnt/efs: `geusemaker update prod "
        "--service redis` has it run on that again."
    )
    assert result.data_kept == [kept] and kept in shown[0].data_notice
    assert shown[0].downtime.startswith("redis: no longer runs")
    again = lived_in.update(services=("redis",))
    assert again.health_status["redis"] and again.data_kept == []
    active = lived_in.state().active
    assert active is not None and active.config.services["redis"].own == REDIS.own


def test_a_change_that_fails_with_one_goes_back_and_says_where_its_data_is(deployed: World) -> None:
    ill = REDIS.model_copy(update={"image": ImageReference.parse("redis:7.4-unhealthy")})
    result = deployed.update(own_services={"redis": ill})
    assert (result.success, result.exit_code, result.rolled_back_to) == (False, 3, 1)
    assert "own/redis" in result.data_kept[0]


def test_its_folders_are_never_lost_silently() -> None:
    before = {"services": {"redis": {"folders": ["efs/data", "volume/db"]}}}
    assert compare(before, {"services": {"redis": {"folders": ["efs/data"]}}}).losses == (
        "redis lost its folder volume/db",
    )
    assert compare(before, {"services": {"n8n": {}}}).losses == (
        "redis lost its folder efs/data",
        "redis lost its folder volume/db",
    )
    assert compare({"services": {"n8n": {}}}, before) == Comparison()


def test_its_images_go_with_the_versions_that_had_it_and_nobody_elses(lived_in: World) -> None:
    lived_in.machine.images.add(f"redis@{DIGEST}")  # somebody's, by hand
    state = lived_in.state()
    [redis] = {version.config.services["redis"].image.by_digest for version in state.versions if version.number == 2}
    for number in range(6):
        assert lived_in.update(
            without=("redis",) if number == 0 else (), environment={"n8n": {"A": str(number)}}
        ).success
        assert (redis in lived_in.machine.images) == (number < 5)
    assert f"redis@{DIGEST}" in lived_in.machine.images
