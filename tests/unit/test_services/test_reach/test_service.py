"""ReachService: the way to an instance, whatever else goes on."""

from __future__ import annotations

import pytest

from geusemaker.errors import DeploymentNotFoundError, HostError, InvalidInputError, RefusedError
from geusemaker.services.reach.service import ReachService, Way
from tests.unit.fakes import Killed, World


def find(world: World) -> Way:
    return ReachService(world.collaborators()).find()


def test_the_way_is_by_the_keys_of_the_deployment(deployed: World) -> None:
    way = find(deployed)
    target, secrets = way.target, deployed.engine.load_secrets()
    assert (way.login.address, way.login.port, way.login.user) == ("127.0.0.9", target.ssh_port, target.ssh_user)
    assert (way.login.private_key, way.login.host_key) == (secrets.ssh_private_key, target.host_public_key)
    assert secrets.ssh_private_key not in repr(way)


def test_it_takes_no_lease_and_is_found_while_another_operation_holds_the_deployment(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    before = deployed.machine.store.lease
    assert find(deployed).service("n8n") == "n8n"
    assert deployed.machine.store.lease == before


def test_services_have_their_names_and_those_that_people_use(deployed: World) -> None:
    way = find(deployed)
    assert way.service("postgres") == "postgresql"
    with pytest.raises(InvalidInputError) as caught:
        way.service("quadrant")
    assert "no service 'quadrant'" in caught.value.message and "Did you mean qdrant? It has " in caught.value.next_step
    with pytest.raises(InvalidInputError, match="It has no services yet"):
        Way(way.deployment, way.target, way.login, way.secrets, None).service("n8n")


@pytest.mark.parametrize("state", ["stopped", None])
def test_an_instance_that_does_not_run_is_told(deployed: World, state: str | None) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": state}) if state else None
    with pytest.raises(HostError, match=state or "there is none") as caught:
        find(deployed)
    assert caught.value.code == "unreachable" and "`geusemaker status prod`" in caught.value.next_step


def test_what_is_not_there_and_what_is_elsewhere_is_refused(world: World) -> None:
    world.engine.create()
    with pytest.raises(DeploymentNotFoundError):
        find(world)
    world.deploy()
    world.cloud.account_id = "999999999999"
    with pytest.raises(RefusedError):
        find(world)


def test_an_error_tells_what_to_type_next(deployed: World) -> None:
    way = find(deployed)
    assert way.told(HostError("gone", code="unreachable", next_step="x")).next_step == (
        "`geusemaker status prod` says how it is."
    )
    aws = Way(
        "prod",
        way.target.model_copy(update={"kind": "aws", "ssh_cidrs": ("1.2.3.4/32",)}),
        way.login,
        way.secrets,
        None,
    )
    assert "1.2.3.4/32" in aws.told(HostError("gone", code="unreachable")).next_step
    assert way.told(HostError("no", code="not_running")).next_step == "`geusemaker status prod` says why."
    assert way.told(HostError("no", code="auth_failed", next_step="key")).next_step == "key"
