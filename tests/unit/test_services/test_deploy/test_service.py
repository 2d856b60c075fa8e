"""DeployService."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.errors import (
    DeclinedError,
    DeploymentBusyError,
    EngineError,
    InvalidInputError,
    PlanRefusedError,
    RefusedError,
    ValidationFailedError,
    WorkspaceError,
)
from geusemaker.models.ownership import Tagged, is_own, own_tags
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import NEWEST_RENDERING
from geusemaker.services.configure import first_config
from geusemaker.services.deploy.service import DeployService
from geusemaker.services.secrets import public_keys
from tests.unit.fakes import ADDRESS, FILE_SYSTEM, INSTANCE, VOLUME, Killed, Shown, World, no, urn


def test_a_name_alone_is_enough(world: World) -> None:
    result = world.deploy()

    assert (result.success, result.kind, result.version, result.exit_code) == (True, "deploy", 1, 0)
    active = world.state().active
    assert active is not None and set(active.config.services) == set(SERVICE_NAMES)
    assert all(service.image.digest for service in active.config.services.values())
    assert active.config.ami == "ami-amd64" and active.provenance.actor == "ann"
    target = world.state().target
    assert target is not None and world.engine.secrets is not None
    assert (target.ssh_public_key, target.host_public_key) == public_keys(world.engine.secrets)
    assert (target.kind, target.ssh_port, target.become, target.subnet_id) == ("local", 2222, "", "subnet-1")
    assert target.data_volume_gib == 20
    assert world.records.records[-1].kind == "deploy" and not world.messages("warning")


def test_a_new_deployment_has_all_services_as_the_catalog_has_them(world: World) -> None:
    config = first_config(DeployRequest())
    assert config.images == {name: SERVICES[name].image for name in SERVICE_NAMES}
    assert config.rendering == NEWEST_RENDERING


def test_what_is_asked_for(world: World) -> None:
    world.become = "sudo -n"
    request = DeployRequest(
        target="aws",
        region="eu-central-1",
        instance_type="t4g.large",
        services=("n8n", "postgres"),
        images={"n8n": "n8nio/n8n:1.99.0"},
        environment={"n8n": {"TZ": "Europe/Berlin"}},
        ssh_cidrs=("192.0.2.0/24",),
        data_volume_gib=50,
        retention=3,
    )
    assert world.deploy(request).success

    state = world.state()
    assert state.active is not None and state.target is not None
    config = state.active.config
    assert set(config.services) == {"n8n", "postgresql"} and config.services["n8n"].image.tag == "1.99.0"
    zones = {"TZ": "Europe/Berlin", "GENERIC_TIMEZONE": "UTC"}
    assert config.services["n8n"].environment == zones and config.rollback.retention == 3
    assert (config.ami, config.instance.architecture) == ("ami-arm64", "arm64")
    assert (state.target.region, state.target.ssh_port, state.target.become, state.target.ssh_cidrs) == (
        "eu-central-1",
        22,
        "sudo -n",
        ("192.0.2.0/24",),
    )
    assert state.target.data_volume_gib == 50


@pytest.mark.parametrize("name", ["Prod", "1st", "a-", "x" * 41, "a_b", ""])
def test_bad_names(world: World, name: str) -> None:
    collaborators = world.collaborators()
    object.__setattr__(collaborators, "deployment", name)
    with pytest.raises(InvalidInputError, match="is no deployment name"):
        DeployService(collaborators).deploy(DeployRequest(), lambda plan: True)


def _no_subnet(world: World) -> None:
    world.cloud.subnets.clear()


def _no_ami(world: World) -> None:
    world.cloud.images.clear()


@pytest.mark.parametrize(
    ("spoil", "request_", "error", "said"),
    [
        (_no_subnet, {}, ValidationFailedError, "no subnet to deploy into"),
        (_no_ami, {}, ValidationFailedError, "no Debian 13 AMI for amd64"),
        (None, {"instance_type": "t9.huge"}, ValidationFailedError, "no instance type t9.huge"),
        (None, {"instance_type": "huge"}, InvalidInputError, "'huge' is not an instance type"),
        (None, {"images": {"n8n": "n8nio/n8n:1-missing"}}, ValidationFailedError, "no image n8nio/n8n:1-missing"),
        (None, {"images": {"n8n": "not an image"}}, InvalidInputError, "is not an image reference"),
        (None, {"services": ("n8n",)}, InvalidInputError, "n8n keeps its data in PostgreSQL"),
        (None, {"services": ("n9n",)}, InvalidInputError, "no service 'n9n'.*Did you mean n8n"),
        (None, {"data_volume_gib": 0}, InvalidInputError, "1 to 16384 GiB, not 0"),
        (None, {"ami": "ami-none"}, ValidationFailedError, "ami-none does not exist"),
        (None, {"ami": "ami-arm64"}, ValidationFailedError, "ami-arm64 is for arm64, but t3.large is amd64"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    world: World, spoil: Any, request_: dict[str, Any], error: type[Exception], said: str
) -> None:
    if spoil:
        spoil(world)
    with pytest.raises(error, match=said):
        world.deploy(DeployRequest(**request_))
    assert not world.engine.exists() and world.cloud.created == 0


def test_the_region_of_an_aws_deployment_has_to_be_given(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInputError, match="No AWS region"):
        world.deploy(DeployRequest(target="aws", ssh_cidrs=("192.0.2.7/32",)))

    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(InvalidInputError, match="over SSH"):
        world.deploy(DeployRequest(target="aws"))
    assert world.deploy(DeployRequest(target="aws", ssh_cidrs=("192.0.2.7/32",))).success
    target = world.state().target
    assert target is not None and target.region == "eu-west-1"


def test_declined_leaves_no_stack_behind(world: World) -> None:
    with pytest.raises(DeclinedError):
        world.deploy(confirm=no)
    assert not world.engine.exists() and world.engine.secrets is None


def test_a_dry_run_leaves_no_stack_behind(world: World) -> None:
    result = world.deploy(DeployRequest(dry_run=True))

    assert result.dry_run and result.success and result.version is None
    (plan,) = [event.plan for event in world.events if event.plan is not None]
    assert plan.downtime == "None: nothing runs yet." and "new encrypted file system" in plan.data_notice
    assert not world.engine.exists()


def test_a_preview_that_fails_names_its_reason(world: World) -> None:
    world.engine.preview_error = EngineError("The preview failed. boom", diagnostics=("boom",))
    with pytest.raises(EngineError, match="boom Nothing was changed"):
        world.deploy()


def test_a_preview_that_fails_on_protection_is_a_refusal(deployed: World) -> None:
    line = f'resource "{urn(FILE_SYSTEM, "data")}" cannot be deleted\nbecause it is protected. To unprotect …'
    deployed.engine.preview_error = EngineError("failed", diagnostics=("a warning", line))
    with pytest.raises(PlanRefusedError, match="would delete the file system data, which is protected") as refused:
        deployed.n8n("1.101.0")
    assert refused.value.exit_code == 5


def test_a_preview_that_fails_says_what_it_would_have_done_to_the_data(deployed: World) -> None:
    planned = ResourceOperation(
        op="replace", type=FILE_SYSTEM, name="data", urn="urn", replaces=("encrypted",), provider_id="fs-1"
    )
    deployed.engine.preview_error = EngineError("failed", diagnostics=("no",), operations=(planned,))
    with pytest.raises(PlanRefusedError, match="replace the file system fs-1, because encrypted changed"):
        deployed.n8n("1.101.0")


def test_a_preview_that_fails_for_another_reason_is_an_error_of_the_engine(deployed: World) -> None:
    deployed.engine.preview_error = EngineError("The preview failed. no such plugin", diagnostics=("no such plugin",))
    with pytest.raises(EngineError, match="no such plugin") as failed:
        deployed.n8n("1.101.0")
    assert failed.value.state == "Nothing was changed; v1 stays active."


def test_deployed_already(deployed: World) -> None:
    with pytest.raises(RefusedError, match="deployed already: v1 is active"):
        deployed.deploy()


def test_a_failed_first_deploy_says_there_is_nothing_to_go_back_to_and_can_be_repeated(world: World) -> None:
    world.machine.ill.add("qdrant")
    result = world.deploy()

    assert (result.success, result.exit_code, result.version) == (False, 4, None)
    assert "no earlier version to go back to" in result.next_step and "qdrant" in str(result.error_message)
    secrets = world.engine.secrets

    world.machine.ill.clear()
    again = world.deploy()
    assert again.success and again.version == 2 and world.engine.secrets == secrets and world.cloud.created == 1


@pytest.mark.parametrize("point", ["up.infrastructure", "up.apply", "up.gate"])
def test_a_killed_first_deploy_is_deployed_again_with_its_secrets(world: World, point: str) -> None:
    world.kill_at = point
    with pytest.raises(Killed):
        world.deploy()
    secrets = world.engine.secrets
    assert secrets is not None

    assert world.deploy().success

    if point != "up.infrastructure":
        assert world.engine.secrets == secrets
    target = world.state().target
    assert target is not None and target.ssh_public_key == public_keys(world.engine.load_secrets())[0]
    assert world.cloud.created == 1 and world.engine.lock is None


def test_a_first_deploy_that_still_runs_is_not_joined(world: World) -> None:
    world.kill_at = "up.apply"
    with pytest.raises(Killed):
        world.deploy()
    world.alive.add(world.pid)
    with pytest.raises(DeploymentBusyError, match="held by a deploy"):
        world.deploy()


def test_a_killed_update_is_recovered_not_deployed(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    with pytest.raises(RefusedError, match=r"was killed before it was done.*recover prod"):
        deployed.deploy()


def test_destroyed_and_deployed_again_has_the_same_data_and_secrets(deployed: World) -> None:
    secrets, image = deployed.engine.secrets, deployed.machine.services["n8n"]
    deployed.registry.move("n8nio/n8n:1.100.1")
    deployed.destroy()

    shown = Shown()
    result = deployed.deploy(confirm=shown)

    assert result.success and result.version == 2 and deployed.engine.secrets == secrets
    assert deployed.machine.services["n8n"] == image, "the config is taken up again, digests included"
    assert {operation.op for operation in shown.plans[0].operations if operation.type.startswith("aws:efs")} == {"same"}
    with pytest.raises(InvalidInputError, match="is on local"):
        deployed.destroy()
        deployed.deploy(DeployRequest(target="aws"))
    with pytest.raises(InvalidInputError, match="data volume has 20 GiB; that is chosen at the first deploy"):
        deployed.deploy(DeployRequest(data_volume_gib=40))


def test_a_deploy_after_a_destroy_that_failed_can_be_tried_again(deployed: World) -> None:
    deployed.destroy()
    deployed.machine.ill.add("n8n")
    assert deployed.deploy().exit_code == 4
    deployed.machine.ill.clear()
    assert deployed.deploy().success


def test_a_stack_without_anything_in_it_gets_its_secrets(world: World) -> None:
    world.engine.create()
    assert world.deploy().success


# --- secrets: made once, and only for a plan that was accepted -----------------------------------------------------


def test_a_declined_first_deploy_leaves_no_secrets(world: World) -> None:
    with pytest.raises(DeclinedError):
        world.deploy(confirm=no)
    assert world.engine.secrets is None and not world.engine.exists()
    assert world.deploy().success
    assert world.state().target is not None


def test_secrets_that_are_there_are_never_written_over(deployed: World) -> None:
    """The stack's checkpoint is lost; its config file is not."""
    secrets = deployed.engine.secrets
    deployed.engine.created, deployed.engine.entries, deployed.engine.intent_tag = False, [], ""
    with pytest.raises(RefusedError, match="There are secrets of prod on this machine") as refused:
        deployed.deploy()
    assert refused.value.exit_code == 5 and "doctor prod" in refused.value.next_step
    assert deployed.engine.secrets == secrets and not deployed.engine.created


def test_data_whose_secrets_are_not_here_gets_no_new_ones(deployed: World) -> None:
    deployed.engine.created, deployed.engine.entries, deployed.engine.intent_tag = False, [], ""
    deployed.engine.secrets = None
    with pytest.raises(RefusedError, match=r"data of a prod already \(fs-1, vol-1\)"):
        deployed.deploy()
    assert not deployed.engine.has_secrets() and not deployed.engine.exists()


def test_a_history_whose_secrets_are_lost_gets_no_new_ones(deployed: World) -> None:
    deployed.engine.secrets = deployed.engine.stack_file = None
    deployed.engine.entries = [{**entry, "target": None} for entry in deployed.engine.entries]
    deployed.engine.state = {}
    deployed.engine.entries[0]["result"] = "failed"
    with pytest.raises(WorkspaceError, match="secrets of prod cannot be read"):
        deployed.deploy()
    assert deployed.engine.secrets is None


@pytest.mark.parametrize("size", [19, 16385])
def test_a_disk_that_cannot_be(world: World, size: int) -> None:
    with pytest.raises(InvalidInputError, match="own disk has 20 to 16384 GiB"):
        world.deploy(DeployRequest(root_volume_gib=size))


def test_the_disk_of_the_next_instance_is_never_smaller(world: World) -> None:
    world.deploy(DeployRequest(root_volume_gib=60))
    world.destroy()
    with pytest.raises(InvalidInputError, match="has 60 GiB, and it only grows"):
        world.deploy(DeployRequest(root_volume_gib=50))
    assert world.deploy(DeployRequest(root_volume_gib=80)).success and world.cloud.root_gib == 80


# --- never a second of anything ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "found"),
    [(INSTANCE, "i-9 (running)"), (ADDRESS, "eipalloc-9"), (FILE_SYSTEM, "fs-9"), (VOLUME, "vol-9")],
)
def test_what_lives_under_the_name_elsewhere_is_never_doubled(world: World, kind: str, found: str) -> None:
    name, _, state = found.partition(" ")
    stranger = Tagged(type=kind, id=name, state=state.strip("()"), tags=own_tags("prod", "b2"))
    world.cloud.strangers = [stranger]
    with pytest.raises(RefusedError, match=f"second .* while {re.escape(found)} lives") as refused:
        world.deploy()
    assert refused.value.exit_code == 5 and "another workspace's" in refused.value.next_step
    assert "recover" not in refused.value.next_step, "which has nothing to recover to"
    assert world.cloud.created == 0 and not world.engine.created


def test_a_stack_gets_an_id_that_stays(world: World) -> None:
    world.deploy()
    target = world.state().target
    assert target is not None and len(target.stack_id) == 16
    assert is_own(world.cloud.tags, own_tags("prod", target.stack_id))
    world.n8n("1.100.2")
    world.destroy()
    world.deploy()
    after = world.state().target
    assert after is not None and after.stack_id == target.stack_id


def test_a_killed_first_deploy_goes_on_under_its_id(world: World) -> None:
    world.kill_at = "up.apply"
    with pytest.raises(Killed):
        world.deploy()
    before = dict(world.cloud.tags)
    assert world.deploy().success
    assert world.cloud.tags == before and world.cloud.created == 1


def test_a_deployment_of_before_gets_an_id_with_its_next_change(deployed: World) -> None:
    for entry in deployed.engine.entries:
        stored = json.loads(entry["target"])
        del stored["stack_id"]
        entry["target"] = json.dumps(stored)
    deployed.cloud.tags = own_tags("prod", "")
    before = deployed.cloud.instance
    assert deployed.n8n("1.100.2").success
    target = deployed.state().target
    assert target is not None and deployed.cloud.tags == own_tags("prod", target.stack_id) and target.stack_id
    assert deployed.cloud.instance == before


def test_the_images_of_a_new_instance_are_pulled_before_anything_starts(world: World) -> None:
    world.deploy()
    calls = [name for name in world.calls if name.startswith(("up.", "host.", "engine.up"))]
    assert "host.begin" not in calls, "apply takes the lease"
    assert calls.index("up.infrastructure") < calls.index("host.prefetch")
    assert calls.index("host.prefetch") < calls.index("up.apply")
    world.calls.clear()
    world.n8n("1.101.1")
    assert world.calls.count("host.prefetch") == 1, "of one that runs, while it runs"


def test_a_first_deploy_whose_images_do_not_fit_ends_before_they_are_pulled(world: World) -> None:
    world.machine.free_bytes = 2**30
    world.registry.layer_bytes = 2**30
    failed = world.deploy(DeployRequest(root_volume_gib=200))
    assert (failed.success, failed.exit_code) == (False, 4)
    told = failed.error_message or ""
    assert "The new instance's disk is too small: 1.0 GiB free, but images to pull take about" in told
    assert "host.prefetch" not in world.calls and "--root-volume" in told
    world.machine.free_bytes = 100 * 2**30
    assert world.deploy(DeployRequest(root_volume_gib=300)).success


def test_what_does_not_fit_on_the_new_disk_is_refused_beforehand(world: World) -> None:
    world.registry.layer_bytes = 4 * 2**30
    with pytest.raises(ValidationFailedError, match="for the images: give --root-volume"):
        world.deploy()
    assert "engine.up" not in world.calls and world.cloud.instance is None
