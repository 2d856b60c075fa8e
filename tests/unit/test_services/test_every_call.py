"""Each changing verb, killed, interrupted and refused at each of its calls to the outside.

The places are not written down here: a verb is run once, and what it called is where it is then stopped. So a new call
is a new case. What has to hold afterwards is the same everywhere: nothing is lost and nothing is there twice, what was
said is so, and the next command works.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from geusemaker.errors import (
    DeploymentNotFoundError,
    EngineError,
    EnvironmentProblemError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.models.request import DeployRequest
from geusemaker.services.mark.service import MarkService
from geusemaker.services.rotate import RotateService
from tests.unit.fakes import Killed, World, login_of

SERVICES = ("postgresql", "n8n", "qdrant")


def deploy(world: World) -> Any:
    return world.deploy(DeployRequest(services=SERVICES))


def update(world: World) -> Any:
    """Another image, another type: everything that a change can do is in it."""
    return world.n8n("1.101.0", instance_type="t3.xlarge")


def failing_update(world: World) -> Any:
    return world.n8n("1.102.0-crash")


def rollback(world: World) -> Any:
    return world.rollback()


def recover(world: World) -> Any:
    return world.recover()


def reboot(world: World) -> Any:
    return world.recover(reboot=True)


def waits_for_a_reboot(world: World) -> None:
    world.machine.reboot = ["a newer kernel is installed"]


def rehearse(world: World) -> Any:
    return world.rehearse(n8n="n8nio/n8n:1.102.0")


def restore(world: World) -> Any:
    return world.restore()


def destroy(world: World) -> Any:
    return world.destroy()


def delete(world: World) -> Any:
    return world.destroy(delete_data=True)


def stop(world: World) -> Any:
    return world.stop("n8n")


def start(world: World) -> Any:
    return world.start("n8n")


def mark(world: World) -> Any:
    return MarkService(world.collaborators()).mark(1, bad=True, reason="broken")


def rotate_login(world: World) -> Any:
    return world.rotate("rotate-ssh")


def rotate_passphrase(world: World) -> Any:
    service = RotateService(world.collaborators())
    return service.passphrase("passphrase", "new", lambda text: True, lambda: None, lambda: None)


def rotate_password(world: World) -> Any:
    return world.rotate("rotate-database")


def no_credentials(world: World) -> None:
    world.machine.data["n8n"]["rows"] = {"credentials_entity": {"ids": []}}


def import_key(world: World) -> Any:
    return world.rotate("import-n8n-key", key="the key of before")


def set_secret(world: World) -> Any:
    """One that nothing has yet."""
    return world.set_secret("smtp", "a value of smtp")


def unused_secret(world: World) -> Any:
    return world.set_secret("mailer", "a value of mailer")


def delete_secret(world: World) -> Any:
    return world.delete_secret("mailer")


def set_used_secret(world: World) -> Any:
    """One that a variable has: an update."""
    return world.set_secret("n8n.SMTP_PASS", "another value")


def use_secret(world: World) -> Any:
    names, values = {"n8n": {"SMTP_PASS": "n8n.SMTP_PASS"}}, {"n8n.SMTP_PASS": SecretStr("the first value")}
    return world.update(secret_environment=names, secret_values=values)


def label(world: World) -> Any:
    return world.update(labels={"customer": "acme", "tier": "gold"})


def pin(world: World) -> Any:
    return MarkService(world.collaborators()).pin(1, pinned=True)


def pin_and_recover(world: World) -> None:
    pin(world)
    recover(world)


def killed_update(world: World) -> None:
    world.fail_at("up.apply", Killed())
    with pytest.raises(Killed):
        update(world)


def killed_engine(world: World) -> None:
    """At its deadline, so that nothing but the intent tells of it."""
    world.engine.outcomes.append("deadline-kill")
    assert world.n8n("1.101.0", auto_rollback=False).exit_code == 4


def terminate(world: World) -> None:
    """The instance is gone, by other means."""
    world.cloud.instance = None
    world.machine.services = {}


def unreachable(world: World) -> None:
    """Nobody gets in until the instance was stopped and started."""
    world.silent_until_restart = True


@dataclass(frozen=True)
class Verb:
    """A verb on a deployment, and what brings it to its end when it was stopped."""

    act: Callable[[World], Any]
    before: tuple[Callable[[World], Any], ...] = (deploy,)
    again: tuple[Callable[[World], Any], ...] = (recover,)
    """Each of these is to work afterwards."""


VERBS = {
    "deploy": Verb(deploy, before=(), again=(deploy,)),
    "deploy after a destroy": Verb(deploy, before=(deploy, destroy)),
    "update": Verb(update),
    "update that fails": Verb(failing_update),
    "rollback": Verb(rollback, before=(deploy, update), again=(recover, rollback)),
    "recover": Verb(recover, before=(deploy, killed_update)),
    "recover --reboot": Verb(reboot, before=(deploy, unreachable), again=(reboot,)),
    "recover --reboot of one that waits for it": Verb(
        reboot, before=(deploy, waits_for_a_reboot), again=(recover, reboot)
    ),
    "restore": Verb(restore, before=(deploy, update), again=(recover, restore)),
    "rehearse": Verb(rehearse, again=(rehearse, recover)),
    "destroy": Verb(destroy, again=(destroy,)),
    "destroy --delete-data": Verb(delete, again=(delete,)),
    "stop": Verb(stop, again=(recover, stop)),
    "start": Verb(start, before=(deploy, stop), again=(recover, start)),
    "mark": Verb(mark, before=(deploy, update), again=(mark, recover)),
    "secrets rotate ssh": Verb(rotate_login, again=(rotate_login, recover)),
    "secrets rotate database": Verb(rotate_password, again=(rotate_password, recover)),
    "secrets rotate-passphrase": Verb(rotate_passphrase, again=(rotate_passphrase, recover)),
    "secrets import": Verb(import_key, before=(deploy, no_credentials), again=(import_key, recover)),
    "secrets set": Verb(set_secret),
    "secrets set --delete": Verb(delete_secret, before=(deploy, unused_secret)),
    "secrets set of a used one": Verb(set_used_secret, before=(deploy, use_secret)),
    "update --label": Verb(label),
    "pin": Verb(pin, before=(deploy, update), again=(pin, recover)),
    "pin without an instance": Verb(pin, before=(deploy, update, terminate), again=(recover, pin_and_recover)),
    "pin after a killed update": Verb(pin, before=(deploy, killed_update), again=(recover,)),
    "pin after an update whose engine was killed": Verb(pin, before=(deploy, killed_engine), again=(recover,)),
}


def calls_of(world: World, act: Callable[[World], Any]) -> list[str]:
    """Every call that a verb makes, as ``name#N``."""
    world = copy.deepcopy(world)
    act(world)
    seen: Counter[str] = Counter()
    named = []
    for call in world.calls:
        seen[call] += 1
        named.append(f"{call}#{seen[call]}")
    return named


@pytest.fixture(params=VERBS)
def verb(request: pytest.FixtureRequest) -> Verb:
    return VERBS[request.param]


@pytest.fixture
def ready(world: World, verb: Verb) -> World:
    for step in verb.before:
        step(world)
    return world


def stopped(ready: World, verb: Verb, error: Callable[[str], BaseException]) -> Iterator[tuple[str, World, Any]]:
    """(call, the world after the verb was stopped there, what came of it) for each call."""
    calls = calls_of(ready, verb.act)
    assert len(calls) >= 10
    for call in calls:
        world = copy.deepcopy(ready)
        world.fail_at(call, error(call))
        outcome: Any
        try:
            outcome = verb.act(world)
        except (Killed, KeyboardInterrupt, Exception) as raised:
            outcome = raised
        yield call, world, outcome


def fingerprint(world: World) -> dict[str, Any]:
    """What an operator would call changed."""
    machine, cloud = world.machine, world.cloud
    return {
        "services": dict(machine.services),
        "instance": cloud.instance,
        "file system": cloud.file_system,
        "volume": cloud.volume,
        "data": copy.deepcopy(machine.data),
        "marks": (world.engine.bad, world.engine.pinned),
        "labels": world.engine.labels,
        "secrets": world.engine.secrets,
        "logins": set(machine.authorized),
        "password": machine.password,
    }


def check_nothing_is_lost_or_doubled(world: World, before: World, where: str) -> None:
    destroys = [entry for entry in world.engine.entries if entry["kind"] == "destroy"]
    assert world.cloud.created <= before.cloud.created + 1 + len(destroys), where
    assert world.cloud.instance is None or not world.cloud.instance.others, where
    assert world.cloud.file_system is None or world.cloud.file_system.id == "fs-1", where
    assert world.machine.data["n8n"]["workflows"] == ["Nightly"], where
    if before.engine.secrets is not None and world.engine.created:
        found, known = world.engine.secrets, before.engine.secrets
        kept = (known.n8n_encryption_key, "the key of before")
        assert found is not None and found.n8n_encryption_key in kept, where
        if not world.engine.rotations:
            assert found.generated == known.generated and found.own.keys() >= known.own.keys(), where
    if world.cloud.instance is not None and world.engine.secrets is not None:
        assert login_of(world.engine.secrets) in world.machine.authorized, f"{where}: what is stored does not log in"
    numbers = world.engine.numbers
    assert numbers == sorted(set(numbers)), where


def check_it_goes_on(world: World, verb: Verb, before: World, where: str) -> None:
    """Every next step that is offered works, and the deployment can be changed after it."""
    try:
        world.inspect()
    except DeploymentNotFoundError:
        assert not world.engine.numbers or not world.engine.created, where
    for step in verb.again:
        after = copy.deepcopy(world)
        try:
            step(after)
        except (RefusedError, DeploymentNotFoundError) as refused:
            # It was done already, or there is nothing any more that it could be done to.
            done = ("deployed already", "There is no deployment", "nothing to go back to", "is active already")
            assert any(text in str(refused) for text in done) or step in (rollback,), f"{where}: {refused}"
            if step is rollback:
                after.recover()
        check_nothing_is_lost_or_doubled(after, before, where)
        assert after.engine.lock is None, where
        if not after.engine.created:
            assert after.cloud.instance is None, where
            continue
        if after.cloud.instance is not None:  # without one nobody could give it back, and a deploy takes it over
            assert (after.machine.lease or {}).get("state") != "held", f"{where}: the lease is held"
        state = after.state()
        assert not state.unsettled, f"{where}, then {step.__name__}: unsettled"
        if state.active is not None:
            assert after.machine.services == state.active.config.images, where
            assert after.n8n("1.107.0").success, where
            assert after.destroy().success, where
        elif state.destroyed:
            assert after.deploy().success, where


def test_killed_anywhere_the_next_command_goes_on(ready: World, verb: Verb) -> None:
    for call, world, outcome in stopped(ready, verb, lambda call: Killed()):
        assert isinstance(outcome, Killed) or call.startswith("host.end"), f"{call}: {outcome}"
        check_nothing_is_lost_or_doubled(world, ready, call)
        check_it_goes_on(world, verb, ready, f"killed at {call}")


def test_interrupted_anywhere_it_holds_nothing_and_says_what_is_so(ready: World, verb: Verb) -> None:
    before = fingerprint(ready)
    left_behind = {killed_update, killed_engine} & {*verb.before}
    for call, world, outcome in stopped(ready, verb, lambda call: KeyboardInterrupt()):
        where = f"Ctrl-C at {call}"
        assert isinstance(outcome, KeyboardInterrupt | GeusemakerError), f"{where}: {outcome}"
        if isinstance(outcome, InterruptedOperationError) and outcome.state.startswith("Nothing was changed"):
            assert fingerprint(world) == before, where
        if (ready.machine.lease or {}).get("state") != "held":
            assert (world.machine.lease or {}).get("state") != "held", f"{where}: the lease is held"
        check_nothing_is_lost_or_doubled(world, ready, where)
        if not left_behind:
            world.host_name = "another-machine"  # where nobody can see whether a process lives
        check_it_goes_on(world, verb, ready, where)


def trouble(call: str) -> BaseException:
    """What the outside answers when it does not do what it is asked."""
    if call.startswith(("host.", "up.")):
        return HostError("The instance cannot be reached.", code="unreachable")
    if call.startswith("cloud."):
        return EnvironmentProblemError("AWS refused a question.")
    if call.startswith(("journal.", "engine.write_candidate")):
        return OSError(28, "No space left on device")
    return EngineError("The engine failed.")


def test_refused_anywhere_the_exit_code_tells_whether_anything_was_changed(ready: World, verb: Verb) -> None:
    before = fingerprint(ready)
    for call, world, outcome in stopped(ready, verb, trouble):
        where = f"refused at {call}"
        assert isinstance(outcome, GeusemakerError | OSError) or not isinstance(outcome, BaseException), (
            f"{where}: {outcome!r}"
        )
        code = getattr(outcome, "exit_code", 1)
        if code in (1, 5, 6):
            assert fingerprint(world) == before, f"{where}: exit code {code}"
        elif code == 0:
            assert getattr(outcome, "success", False), where
        check_nothing_is_lost_or_doubled(world, ready, where)
        check_it_goes_on(world, verb, ready, where)
