"""One judgement of how a deployment is: a word, a sentence, an exit code, and what there is to repair."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geusemaker.agent.protocol.stored import Sentinel
from geusemaker.errors import GeusemakerError, HostError, RefusedError
from geusemaker.models.inspection import (
    DataVolumeState,
    FileSystemState,
    InstanceState,
    Interruption,
    ServiceState,
    StoppedService,
)
from geusemaker.models.result import OperationResult, RollbackResult
from geusemaker.models.stack import Target
from geusemaker.services.judgement import AS_IT_SHOULD_BE, Facts, Trouble, drift, judge
from tests.unit.fakes import DEPLOYMENT, FILE_SYSTEM, World
from tests.unit.samples import DIGEST, failed, state, version

RUNNING = InstanceState(id="i-1", type="t3.large", state="running", address="127.0.0.9")
MOUNTED = FileSystemState(id="fs-1", mounted=True, state="available")
VOLUME = DataVolumeState(
    id="vol-1", size_gib=20, state="in-use", availability_zone="a", attached_to="i-1", mounted=True
)
SENTINEL = Sentinel("prod", "fs-1")
HELD = Interruption(operation_id="op-3", kind="update", number=3, actor="bob", running=True, host="box", pid=7)
KILLED = HELD.model_copy(update={"running": False})
NOTE = StoppedService(by="ann", since="2025-01-21T02:00", reason="moving the database")


def service(name: str, **more: Any) -> ServiceState:
    images = {"n8n": f"n8nio/n8n:1.2.0@{DIGEST}", "postgresql": f"postgres:16.9@{DIGEST}"}
    values: dict[str, Any] = {"image": images[name], "healthy": True, "state": "running"}
    return ServiceState(**(values | more))


def facts(more: dict[str, Any] | None = None, **values: Any) -> Facts:
    """v2 runs, and all is well; ``more`` is about the state."""
    known = state(
        version(1), version(2), target=Target(kind="local", region="us-east-1", data_volume_gib=20), **(more or {})
    )
    well: dict[str, Any] = {
        "state": known,
        "instance": RUNNING,
        "file_system": MOUNTED,
        "volume": VOLUME,
        "services": {"n8n": service("n8n"), "postgresql": service("postgresql")},
        "asked": True,
        "sentinel": SENTINEL,
        "sentinel_known": True,
        "settle_seconds": 15.0,
    }
    return Facts(**(well | values))


def one(name: str, **more: Any) -> dict[str, Any]:
    """The services, of which one is otherwise."""
    return {"services": {"n8n": service("n8n"), "postgresql": service("postgresql"), name: service(name, **more)}}


DOWN: dict[str, Any] = {"healthy": False, "state": "exited", "detail": "exited (exit code 137)"}
OTHER = "n8nio/n8n:1.2.0@sha256:" + "0" * 64

CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, int, str]] = [
    ("well", {}, {}, "healthy", 0, "v2 is active and healthy."),
    ("one stopped", {}, one("n8n", **DOWN), "unhealthy", 7, "not healthy: n8n (exited (exit code 137))"),
    ("one removed", {}, {"services": {"postgresql": service("postgresql")}}, "unhealthy", 7, "there is no container"),
    ("other bytes", {}, one("n8n", image=OTHER), "drifted", 7, "n8n runs n8nio/n8n:1.2.0@sha256:000"),
    (
        "other type",
        {},
        {"instance": RUNNING.model_copy(update={"type": "m5.large"})},
        "drifted",
        7,
        "the instance is a m5.large, not a t3.large",
    ),
    (
        "two instances",
        {},
        {"instance": RUNNING.model_copy(update={"others": ("i-9",)})},
        "drifted",
        7,
        "i-9 carries the deployment's tag as well",
    ),
    (
        "larger volume",
        {},
        {"volume": VOLUME.model_copy(update={"size_gib": 40})},
        "drifted",
        7,
        "the data volume has 40 GiB, not 20",
    ),
    ("young", {}, one("n8n", age_seconds=14.0), "settling", 7, "n8n started less than that"),
    ("settled", {}, one("n8n", age_seconds=16.0), "healthy", 0, "healthy"),
    (
        "stopped on purpose",
        {},
        {**one("n8n", **DOWN), "stopped": {"n8n": NOTE}},
        "stopped",
        7,
        "n8n is stopped on purpose, by ann since 2025-01-21 02:00 UTC (moving the database). `geusemaker start prod",
    ),
    (
        "all stopped on purpose",
        {},
        {
            "services": {"n8n": service("n8n", **DOWN), "postgresql": service("postgresql", **DOWN)},
            "stopped": {"n8n": NOTE, "postgresql": NOTE},
        },
        "stopped",
        7,
        "`geusemaker start prod` starts it again",
    ),
    (
        "noted, and runs all the same",
        {},
        {"stopped": {"n8n": NOTE}},
        "healthy",
        0,
        "v2 is active and healthy",
    ),
    (
        "one on purpose, one not",
        {},
        {
            "services": {"n8n": service("n8n", **DOWN), "postgresql": service("postgresql", **DOWN)},
            "stopped": {"n8n": NOTE},
        },
        "unhealthy",
        7,
        "not healthy: postgresql (exited (exit code 137)). See `geusemaker logs prod postgresql`; `geusemaker recover "
        "prod` starts what should run. n8n is stopped on purpose",
    ),
    ("emptied", {}, {"sentinel": None}, "unhealthy", 7, "the sentinel file on fs-1 is gone"),
    (
        "another's data",
        {},
        {"sentinel": Sentinel("blog")},
        "unhealthy",
        7,
        "fs-1 holds the data of another deployment: blog",
    ),
    (
        "a copy of the data",
        {},
        {"sentinel": Sentinel("prod", "fs-9")},
        "unhealthy",
        7,
        "the data on fs-1 is a copy: it was made on fs-9",
    ),
    ("an agent of before", {}, {"sentinel": None, "sentinel_known": False}, "healthy", 0, "healthy"),
    (
        "hanging data",
        {},
        {"data_trouble": "fs-1 did not answer.", "sentinel_known": False, "sentinel": None},
        "unhealthy",
        7,
        "its data cannot be read: fs-1 did not answer.",
    ),
    (
        "a damaged lease",
        {},
        {"lease_damage": "The lease beside the data cannot be read."},
        "unhealthy",
        7,
        "The lease beside the data cannot be read.",
    ),
    (
        "not mounted",
        {},
        {"file_system": MOUNTED.model_copy(update={"mounted": False})},
        "unhealthy",
        7,
        "fs-1 is not mounted on the instance",
    ),
    ("file system gone", {}, {"file_system": None}, "unhealthy", 7, "its file system is gone"),
    ("data volume gone", {}, {"volume": None}, "unhealthy", 7, "its data volume is gone"),
    ("failed", {"last_failed": True}, {}, "failed", 7, "Run `geusemaker rollback prod`"),
    ("no instance", {}, {"instance": None, "asked": False}, "unreachable", 8, "there is no instance"),
    (
        "stopped instance",
        {},
        {"instance": RUNNING.model_copy(update={"state": "stopped"}), "asked": False},
        "unreachable",
        8,
        "the instance is stopped",
    ),
    (
        "no address",
        {},
        {"instance": RUNNING.model_copy(update={"address": ""}), "asked": False},
        "unreachable",
        8,
        "i-1 has no Elastic IP any more. `geusemaker recover prod`",
    ),
    ("destroyed", {"destroyed": True}, {"instance": None}, "destroyed", 7, "`geusemaker deploy prod` takes it up"),
    ("under way", {}, {"interruption": HELD}, "running", 7, "The update to v3 by bob is under way: process 7 on box"),
    ("killed", {}, {"interruption": KILLED}, "interrupted", 7, "v2 was the last healthy version. Run `geusemaker reco"),
    (
        "a restore under way",
        {},
        {"interruption": HELD.model_copy(update={"kind": "restore"})},
        "running",
        7,
        "A restore by bob is under way",
    ),
    (
        "a restore killed",
        {},
        {"interruption": KILLED.model_copy(update={"kind": "restore"})},
        "interrupted",
        7,
        "Run `geusemaker restore prod` again",
    ),
    (
        "a stop killed",
        {},
        {"interruption": KILLED.model_copy(update={"kind": "stop"})},
        "interrupted",
        7,
        "The stop by bob was killed before it was done. Run `geusemaker recover prod`.",
    ),
    ("a later schema", {"unreadable": "config: x"}, {}, "unreadable", 8, "cannot be read by this geusemaker"),
    ("left behind", {}, {"left_behind": "A lease is held."}, "healthy", 0, "v2 is active and healthy. A lease is held"),
]


@pytest.mark.parametrize(
    ("more", "values", "word", "code", "said"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_judge(more: dict[str, Any], values: dict[str, Any], word: str, code: int, said: str) -> None:
    judgement = judge(facts(more, **values))
    assert (judgement.status, judgement.exit_code) == (word, code)
    assert said in judgement.summary


TROUBLES = [
    (Trouble("unreachable", "127.0.0.9:22 cannot be reached: refused."), "unreachable", True),
    (Trouble("timeout", "It did not end in time."), "unreachable", True),
    (
        Trouble("host_key_mismatch", "127.0.0.9 shows another host key."),
        "unreachable",
        False,
    ),
    (Trouble("auth_failed", "127.0.0.9:22 refused the login of admin."), "unreachable", False),
    (
        Trouble("secrets", "The passphrase does not open it.", "Set PULUMI_CONFIG_PASSPHRASE."),
        "unreadable",
        False,
    ),
    (Trouble("secrets", "stacks/Pulumi.prod.yaml is empty.", "Move it away."), "unreadable", False),
    (Trouble("engine", "`pulumi config get` failed."), "unreadable", False),
    (Trouble("account", "These are the credentials of 222.", "Use those of 111."), "unreachable", False),
    (Trouble("aws", "AWS refused a question.", "Check the credentials."), "unreachable", False),
    (Trouble("install_failed", "The agent could not be installed: no space.", "Enlarge it."), "unreachable", False),
]


@pytest.mark.parametrize(("trouble", "word", "reboots"), TROUBLES, ids=[case[0].code for case in TROUBLES])
def test_advice_fits_the_cause(trouble: Trouble, word: str, reboots: bool) -> None:
    """A reboot is for an instance that is silent; whoever answers, or is not let in, is told apart."""
    judgement = judge(facts(asked=False, services={}, sentinel=None, sentinel_known=False, trouble=trouble))
    assert (judgement.status, judgement.exit_code) == (word, 8)
    assert trouble.message.rstrip(".") in judgement.summary and trouble.next_step in judgement.summary
    assert ("--reboot" in judgement.summary) is reboots


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ("2025-01-21T03:00:05.787+01:00", "2025-01-21 02:00 UTC"),
        ("2025-01-21T02:00", "2025-01-21 02:00 UTC"),
        ("?", "?"),
    ],
)
def test_since_when_it_is_stopped(noted: str, told: str) -> None:
    found = judge(facts(**one("n8n", **DOWN), stopped={"n8n": StoppedService(by="ann", since=noted)}))
    assert f"by ann since {told}." in found.summary


@pytest.mark.parametrize("code", ["host_key_mismatch", "auth_failed"])
def test_a_way_back_is_named_where_nobody_gets_in(code: str) -> None:
    judgement = judge(facts(asked=False, services={}, trouble=Trouble(code, "It refused.")))
    typed = re.findall(r"`([^`]+)`", judgement.summary)
    assert typed == [
        "aws ec2 terminate-instances --region us-east-1 --instance-ids i-1",
        "geusemaker recover prod",
    ]


def test_without_a_healthy_version() -> None:
    assert judge(Facts(state=state(failed(1)), instance=RUNNING)).status == "failed"
    assert "last healthy" not in judge(Facts(state=state(failed(1)), interruption=KILLED)).summary
    assert drift(Facts(state=state(failed(1)), instance=RUNNING)) == []


def test_what_hangs_is_started_once_more() -> None:
    hangs: dict[str, Any] = {"healthy": False, "state": "running", "detail": "no answer"}
    assert judge(facts(**one("n8n", **hangs))).restarts == ("n8n",)
    both = {"n8n": service("n8n", **hangs), "postgresql": service("postgresql", **DOWN)}
    assert judge(facts(services=both)).restarts == ("n8n",), "what it waits for may not be all that is wrong"
    assert judge(facts(**one("n8n", **DOWN))).restarts == ()


# --- status and recover agree ------------------------------------------------------------------------------------


def hurt(world: World, kind: str, name: str) -> None:
    """Something happens to the deployment by other means than geusemaker."""
    machine, cloud = world.machine, world.cloud
    if kind in ("instance stopped", "instance gone"):  # with it goes what was wrong with it alone
        machine.hung.clear()
        world.host_failures.clear()
        world.host_reachable = True
    runs = cloud.instance is not None and cloud.instance.state == "running"
    if not runs and kind in ("hangs", "deaf", "host_key_mismatch", "auth_failed", "agent_died"):
        return
    if kind == "docker stop":
        machine.exited.add(name)
    elif kind == "docker rm":
        machine.services.pop(name, None)
        machine.exited.discard(name)
    elif kind == "hangs":
        machine.hung.add(name)
    elif kind == "other image":
        machine.services[name] = f"x/{name}:0@sha256:" + "0" * 64
    elif kind == "unmounted":
        machine.mounted, machine.services = None, {}
    elif kind == "emptied":
        machine.sentinel = {"gone": True, "file_system_id": "fs-1"}
    elif kind == "foreign":
        machine.sentinel = {"deployment": "blog", "file_system_id": "fs-1"}
    elif kind == "data hangs":
        machine.data_hangs = True
    elif kind == "instance stopped" and cloud.instance is not None:
        cloud.instance = cloud.instance.model_copy(update={"state": "stopped"})
    elif kind == "instance gone":
        cloud.instance = None
    elif kind == "second instance" and cloud.instance is not None:
        cloud.instance = cloud.instance.model_copy(update={"others": ("i-9",)})
    elif kind == "deaf":
        world.host_reachable = False
    elif kind in ("host_key_mismatch", "auth_failed", "agent_died"):
        world.host_failures["health"] = HostError("It refused.", code=kind)
    elif kind == "aws away":
        cloud.reachable = False
    elif kind == "secrets lost":
        world.engine.secrets = None
    elif kind == "file system gone":
        cloud.file_system = None
    elif kind == "state lost":
        world.engine.lose(FILE_SYSTEM)
    elif kind == "stopped on purpose":
        machine.notes[name] = {"by": "ann", "since": "2025-01-21T02:00", "reason": ""}
        machine.exited.add(name)


HURTS = [
    *("docker stop", "docker rm", "hangs", "other image", "unmounted", "emptied", "foreign", "data hangs"),
    *("instance stopped", "instance gone", "second instance", "deaf", "host_key_mismatch", "auth_failed", "agent_died"),
    *("aws away", "secrets lost", "file system gone", "state lost", "stopped on purpose", "nothing"),
]
SERVICES = ["n8n", "postgresql", "qdrant", "ollama", "crawl4ai"]


@given(
    st.lists(st.tuples(st.sampled_from(HURTS), st.sampled_from(SERVICES)), min_size=1, max_size=3),
    st.sampled_from(["recover", "update", "rollback"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_status_and_the_repairing_verbs_agree(
    tmp_path_factory: pytest.TempPathFactory, hurts: list[tuple[str, str]], verb: str
) -> None:
    """What is not as it should be is repaired or refused, by each of them; never "nothing to repair"."""
    world = World(tmp_path_factory.mktemp("world"))
    world.deploy()
    for kind, name in sorted(hurts, key=lambda one: one[0] != "hangs"):
        hurt(world, kind, name)
    before = world.inspect()
    assert before.deployment == DEPLOYMENT and before.summary
    try:
        result: OperationResult | RollbackResult
        if verb == "recover":
            result = world.recover()
        elif verb == "update":
            result = world.update()
        else:
            result = world.rollback(to_version=1)
    except RefusedError as error:
        # What the state has lost only a plan tells: `status` asks AWS and the instance, not the engine.
        told = before.status not in AS_IT_SHOULD_BE or "state lost" in {kind for kind, _ in hurts}
        assert told or (verb == "rollback" and "is the active version" in error.message)
        return
    except GeusemakerError as error:
        assert before.status not in AS_IT_SHOULD_BE, error
        return
    if not result.success:  # an emptied file system is found by the instance that is made for it
        assert result.exit_code == 4 and {"instance gone", "instance stopped"} & {kind for kind, _ in hurts}
        return
    repaired = "engine.up" in world.calls
    assert repaired or before.status in AS_IT_SHOULD_BE
    assert world.inspect().status in AS_IT_SHOULD_BE
