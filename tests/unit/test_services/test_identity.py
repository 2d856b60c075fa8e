"""Every verb looks first whose credentials these are: none acts on another account than the deployment's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import geusemaker.services
from geusemaker.errors import RefusedError
from geusemaker.models.stack import Target
from geusemaker.services.identity import account_text, require_account
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.mark.service import MarkService
from geusemaker.services.reach.logs import Asked, read_logs
from geusemaker.services.restore.service import RestoreService
from tests.unit.fakes import ACCOUNT, FILE_SYSTEM, INSTANCE, Killed, World
from tests.unit.samples import target

ANOTHER = "999988887777"

Verb = Callable[[World], Any]

VERBS: dict[str, Verb] = {
    "update": lambda world: world.n8n("1.101.0"),
    "rollback": lambda world: world.rollback(to_version=1, allow_archived=True),
    "recover": lambda world: world.recover(),
    "recover after a kill": lambda world: world.recover(),
    "destroy": lambda world: world.destroy(),
    "destroy with data": lambda world: world.destroy(delete_data=True),
    "restore": lambda world: world.restore(),
    "checkpoints": lambda world: RestoreService(world.collaborators()).list(),
    "stop": lambda world: world.stop("n8n"),
    "start": lambda world: world.start("n8n"),
    "mark": lambda world: MarkService(world.collaborators()).mark(1, bad=True),
    "pin": lambda world: MarkService(world.collaborators()).pin(1, pinned=True),
    "logs": lambda world: read_logs(world.collaborators(), Asked()),
    "info": lambda world: InspectService(world.collaborators()).info("/home", "file:///b"),
}


AFTER_THE_LOOK = {
    *("states.py", "mending.py", "adopt.py", "before.py", "costs.py"),
    *("deploy/place.py", "deploy/first_secrets.py", "destroy/steps.py", "destroy/ending.py", "rest/instance.py"),
    "recover/returned.py",
}
STEPS = {"power", "connection", "recheck", "meanwhile", "capacity", "verify", "fail", "bake"}
"""Of a change. Both come after the look that asks whose it is."""


def forget_account(world: World) -> None:
    """The history as a geusemaker of before wrote it."""
    for entry in world.engine.entries:
        stored = json.loads(entry["target"])
        del stored["account_id"], stored["partition"]
        entry["target"] = json.dumps(stored)


def whole(world: World) -> Any:
    """All that a verb could have changed."""
    engine, machine = world.engine, world.machine
    return json.dumps(
        [engine.entries, engine.state, engine.intent_tag, engine.bad, engine.pinned, machine.lease, machine.services]
    ), (world.cloud.instance, world.cloud.file_system, engine.secrets, engine.lock)


@pytest.mark.parametrize("of_before", [False, True], ids=["account known", "of before"])
@pytest.mark.parametrize("verb", VERBS)
def test_with_another_accounts_credentials_nothing_is_done(deployed: World, verb: str, of_before: bool) -> None:
    deployed.n8n("1.100.2")
    if verb == "recover after a kill":
        deployed.kill_at = "up.apply"
        with pytest.raises(Killed):
            deployed.n8n("1.101.0")
    if of_before:
        forget_account(deployed)
    deployed.cloud.account_id = ANOTHER
    before = whole(deployed)

    with pytest.raises(RefusedError) as refused:
        VERBS[verb](deployed)

    assert whole(deployed) == before
    assert refused.value.exit_code == 5 and ANOTHER in refused.value.message
    assert (ACCOUNT if not of_before else "fs-1") in refused.value.message
    assert "GEUSEMAKER_LOCAL_DIR" in refused.value.next_step
    assert not [call for call in deployed.calls if call.startswith(("host.", "engine.up", "engine.clear"))]


def test_looking_says_that_it_cannot_judge(deployed: World) -> None:
    deployed.cloud.account_id = ANOTHER
    found = deployed.inspect()
    assert found.status == "unreachable" and found.problems and found.instance is None
    assert "could not be judged" in found.summary and ACCOUNT in found.summary and ANOTHER in found.summary
    assert "recover" not in found.summary


def test_a_deployment_of_before_learns_its_account_with_its_next_change(deployed: World) -> None:
    forget_account(deployed)
    learned = deployed.state().target
    assert learned is not None and learned.account_id == "", "as it was stored"

    assert deployed.n8n("1.101.0").success

    learned = deployed.state().target
    assert learned is not None and (learned.account_id, learned.partition) == (ACCOUNT, "aws")


def test_without_its_file_system_in_the_state_an_account_is_not_learned(deployed: World) -> None:
    forget_account(deployed)
    deployed.engine.lose(FILE_SYSTEM)
    deployed.recover()
    stored = json.loads(deployed.engine.entries[0]["target"])
    assert stored["account_id"] == "", "the instance alone was found there"
    deployed.n8n("1.101.0")
    assert json.loads(deployed.engine.entries[0]["target"])["account_id"] == ACCOUNT


def test_what_is_left_of_a_destroyed_one_tells_the_account(deployed: World) -> None:
    deployed.destroy()
    forget_account(deployed)
    assert INSTANCE not in {each["type"] for each in deployed.engine.state.values()}
    deployed.cloud.account_id = ANOTHER
    with pytest.raises(RefusedError, match=f"is in the AWS account {ANOTHER}"):
        deployed.deploy()
    deployed.cloud.account_id = ACCOUNT
    assert deployed.deploy().success


def test_a_killed_first_deploy_is_not_gone_on_with_elsewhere(world: World) -> None:
    world.kill_at = "up.apply"
    with pytest.raises(Killed):
        world.deploy()
    world.cloud.account_id = ANOTHER
    before = whole(world)
    with pytest.raises(RefusedError, match=ANOTHER):
        world.deploy()
    assert whole(world) == before


def test_no_service_asks_aws_without_asking_whose_it_is() -> None:
    """Of a verb that is added and forgets it, this tells; what a change calls is asked for by the change."""
    services = Path(geusemaker.services.__file__).parent
    asking = {file for file in services.rglob("*.py") if ".cloud(" in file.read_text(encoding="utf-8")}
    forgetful = {file for file in asking if "require_account(" not in file.read_text(encoding="utf-8")}
    assert len(asking) > 8
    steps = {f"change/{step}.py" for step in STEPS}
    assert {file.relative_to(services).as_posix() for file in forgetful} <= AFTER_THE_LOOK | steps


@pytest.mark.parametrize(
    ("own", "found", "text"),
    [
        (target(account_id="1" * 12, partition="aws"), ("2" * 12, "aws"), "2" * 12),
        (target(account_id="1" * 12, partition=""), ("2" * 12, "aws"), "2" * 12),
        (target(account_id="1" * 12, partition="aws-cn"), ("2" * 12, "aws"), f"{'2' * 12} (aws)"),
        (target(account_id="1" * 12, partition="aws"), ("2" * 12, "aws-us-gov"), f"{'2' * 12} (aws-us-gov)"),
    ],
)
def test_the_partition_is_told_where_it_matters(own: Target, found: tuple[str, str], text: str) -> None:
    assert account_text(*found, own) == text


def test_on_aws_the_credentials_are_what_to_look_at(deployed: World) -> None:
    deployed.cloud.account_id = ANOTHER
    own = target(kind="aws", account_id=ACCOUNT, partition="aws")
    with pytest.raises(RefusedError) as refused:
        require_account(deployed.collaborators(), own)
    assert "aws sts get-caller-identity" in refused.value.next_step


def test_a_state_that_has_lost_everything_teaches_no_account(deployed: World) -> None:
    deployed.engine.state.clear()
    assert require_account(deployed.collaborators(), target()).account_id == ""
    deployed.engine.entries.clear()
    assert require_account(deployed.collaborators(), target()).account_id == ACCOUNT, "nothing is anywhere yet"
