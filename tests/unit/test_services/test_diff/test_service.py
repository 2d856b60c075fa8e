"""Which versions are compared, and what is found between them."""

from __future__ import annotations

import pytest

from geusemaker.errors import DeploymentNotFoundError, RefusedError
from geusemaker.models.comparison import Comparison
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import RollbackSettings, ServiceConfig, StackConfig
from geusemaker.services.diff.compare import Side, compare
from geusemaker.services.diff.service import DiffService
from tests.unit.fakes import World
from tests.unit.samples import config


def between(old: StackConfig, new: StackConfig) -> Comparison:
    return compare("prod", Side("v1", old, 1), Side("v2", new, 2), data_volume=False)


def with_environment(**environment: str) -> StackConfig:
    made = config()
    n8n = made.services["n8n"].model_copy(update={"environment": environment})
    return made.model_copy(update={"services": {**made.services, "n8n": n8n}})


class TestService:
    @pytest.fixture
    def three(self, world: World) -> World:
        world.deploy()
        world.n8n("1.101.0")
        world.n8n("1.102.0")
        return world

    @pytest.mark.parametrize(
        ("numbers", "sides"),
        [((), ("v3", "v2")), ((1,), ("v1", "v3")), ((1, 2), ("v1", "v2")), ((3, 1), ("v3", "v1"))],
    )
    def test_the_sides(self, three: World, numbers: tuple[int, ...], sides: tuple[str, str]) -> None:
        found = DiffService(three.collaborators()).diff(*numbers)
        assert (found.old, found.new) == sides and found.services == ["n8n"] and not found.same

    def test_a_version_that_there_is_not(self, three: World) -> None:
        with pytest.raises(RefusedError, match="no version 7; there are: v1, v2, v3"):
            DiffService(three.collaborators()).diff(7)

    def test_with_nothing_to_go_back_to_numbers_are_asked_for(self, deployed: World) -> None:
        with pytest.raises(RefusedError, match="would go to no other version"):
            DiffService(deployed.collaborators()).diff()

    def test_without_an_active_version_two_are_asked_for(self, world: World) -> None:
        with pytest.raises(DeploymentNotFoundError):
            DiffService(world.collaborators()).diff()


class TestCompare:
    def test_the_same_config_twice(self) -> None:
        found = between(config(), config())
        assert found.same and not (found.changes or found.services or found.compose or found.resources)

    def test_settings_alone_are_the_same_system_and_no_other_container(self) -> None:
        found = between(config(), config(rollback=RollbackSettings(retention=9)))
        assert found.same and [str(change) for change in found.changes] == ["settings.retention: 5 -> 9"]
        assert not (found.services or found.compose or found.resources)

    def test_another_type_stops_the_instance_and_another_ami_replaces_it(self) -> None:
        [resized] = between(config(), config(instance_type="t3.xlarge")).resources
        [replaced] = between(config(), config(instance_type="t3.xlarge", ami="ami-2")).resources
        assert (resized.op, resized.changed, resized.replaces) == ("update", ("instanceType",), ())
        assert (replaced.op, replaced.replaces) == ("replace", ("ami",))
        [bought] = between(config(), config(instance_type="t3.xlarge", purchase="spot")).resources
        assert (bought.op, bought.replaces) == ("replace", ("instanceMarketOptions",))

    def test_the_compose_file_is_a_unified_diff(self) -> None:
        found = between(config(n8n="1.100.1"), config(n8n="1.101.0"))
        assert found.compose[:2] == ["--- v1/compose.yaml", "+++ v2/compose.yaml"]
        assert "-      io.geusemaker.image: n8nio/n8n:1.100.1" in found.compose
        assert [operation.name for operation in found.resources] == ["apply"]

    def test_another_order_of_services_is_no_difference_and_a_new_one_is_added(self) -> None:
        old = config()
        crawl4ai = ServiceConfig(image=ImageReference.parse("unclecode/crawl4ai:0.9.5"))
        services = {"crawl4ai": crawl4ai, **dict(reversed(old.services.items()))}
        found = between(old, old.model_copy(update={"services": services}))
        changed = [row for row in found.compose[2:] if row[0] in "+-"]
        assert all(row.startswith("+") or "mem_limit" in row for row in changed), found.compose
        assert "+  crawl4ai:" in changed and not any(row.endswith("n8n:") for row in changed)

    def test_a_secret_that_changes_is_told_and_not_shown(self) -> None:
        found = between(with_environment(API_KEY="hunter2"), with_environment(API_KEY="hunter3", TZ="UTC"))
        assert "hunter" not in found.model_dump_json()
        assert "+      API_KEY: (secret), changed" in found.compose

    def test_a_secret_that_stays_is_no_difference(self) -> None:
        found = between(with_environment(API_KEY="hunter2"), with_environment(API_KEY="hunter2", TZ="UTC"))
        assert not [row for row in found.compose if "API_KEY" in row and row[0] in "+-"]
