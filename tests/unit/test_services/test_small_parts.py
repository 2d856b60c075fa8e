"""The pure parts and small ones that services are made of."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from geusemaker.catalog import SERVICE_NAMES
from geusemaker.errors import HostError, InvalidInputError
from geusemaker.host.instance import Instance
from geusemaker.host.redaction import redaction
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.image import ImageReference
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import ConfigChange, Event, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import ConfigRequest
from geusemaker.models.shown import shown_value
from geusemaker.models.stack import TAKEN_BY_ITSELF, HealthSettings, ServiceConfig, StackConfig
from geusemaker.models.version import Version
from geusemaker.services import evidence, manifest, notices, secrets
from geusemaker.services.change import Change
from geusemaker.services.configure import changed_config, first_config
from geusemaker.services.differences import another_instance, config_changes, movements, same_system, secret_changes
from geusemaker.services.journal import FileJournal
from tests.unit.fakes import FakeHost, World, login_of
from tests.unit.samples import DIGEST, NIGHT, config, failed, state, target, version

OTHER_DIGEST = "sha256:" + "cd" * 32


def plan(**more: Any) -> Plan:
    """A plan to update n8n."""
    values: dict[str, Any] = {
        "deployment": "prod",
        "kind": "update",
        "operation_id": "op-2",
        "number": 2,
        "active_version": 1,
        "config": config(),
    }
    return Plan(**(values | more))


def with_service(base: StackConfig, name: str, image: str, **environment: str) -> StackConfig:
    """A config with a service more, or another image of one."""
    service = ServiceConfig(image=ImageReference.parse(image), environment=environment)
    return base.model_copy(update={"services": {**base.services, name: service}})


def test_movements_are_told_thing_by_thing() -> None:
    before = {"a": "1", "b": "1", "c": "1"}
    assert movements(before, dict(before)) == []
    assert movements(before, {"a": "1", "b": "2", "d": "1"}) == ["b was 1 and is 2", "c is gone", "d is new (1)"]


# --- differences -------------------------------------------------------------------------------------------------


def test_no_difference() -> None:
    assert config_changes(config(), config()) == ()


def test_every_difference_in_a_fixed_order() -> None:
    new = with_service(config(instance_type="t3.xlarge", retention=7), "qdrant", f"qdrant/qdrant:v1@{DIGEST}", A="b")
    without = new.model_copy(update={"services": {k: v for k, v in new.services.items() if k != "n8n"}})

    changes = config_changes(config(), without)

    assert [str(change) for change in changes] == [
        "instance_type: t3.large -> t3.xlarge",
        "n8n.image: n8nio/n8n:1.100.1@sha256:abababababab -> (none)",
        "qdrant.env.A: (none) -> b",
        "qdrant.image: (none) -> qdrant/qdrant:v1@sha256:abababababab",
        "settings.retention: 5 -> 7",
    ]


def test_a_moved_tag_is_a_difference_that_can_be_seen() -> None:
    moved = with_service(config(), "n8n", f"n8nio/n8n:1.100.1@{OTHER_DIGEST}")
    (change,) = config_changes(config(), moved)
    assert change.old != change.new and not same_system(config(), moved)


def test_an_image_without_a_digest_is_shown_as_it_is() -> None:
    assert config_changes(config(), with_service(config(), "n8n", "n8nio/n8n:2"))[0].new == "n8nio/n8n:2"


def test_settings_make_no_other_system() -> None:
    assert same_system(config(), config(retention=9, health=HealthSettings(deadline_seconds=60)))
    assert not same_system(config(), config(instance_type="t3.xlarge"))


@pytest.mark.parametrize(
    ("old", "new", "inputs"),
    [
        ({}, {}, ()),
        ({}, {"instance_type": "t3.xlarge"}, ()),
        ({}, {"ami": "ami-2"}, ("ami",)),
        ({}, {"purchase": "spot"}, ("instanceMarketOptions",)),
        ({"purchase": "spot"}, {"instance_type": "t3.xlarge"}, ("instanceMarketOptions",)),
        ({"purchase": "spot"}, {"purchase": "spot"}, ()),
        ({"purchase": "spot"}, {"purchase": "spot", "instance_type": "t3.xlarge"}, ("instanceType",)),
        ({"purchase": "spot"}, {"purchase": "spot", "ami": "ami-2"}, ("ami",)),
    ],
)
def test_what_takes_another_instance(old: dict[str, Any], new: dict[str, Any], inputs: tuple[str, ...]) -> None:
    assert another_instance(config(**old), config(**new)) == inputs


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("N8N_LOG_LEVEL", "debug", "debug"),
        ("A", "", ""),
        ("N8N_SMTP_PASS", "pa$word", "(secret)"),
        ("QDRANT__SERVICE__API_KEY", "x", "(secret)"),
        ("PROXY", "http://me:pw@proxy:3128", "(secret)"),
        ("A", "x" * 100, "x" * 60 + "… (100 characters)"),
        ("A", "one\ntwo", "one… (7 characters, 2 lines)"),
        ("A", "one\u2028two", "one… (7 characters, 2 lines)"),
    ],
)
def test_a_variables_value_as_a_person_sees_it(name: str, value: str, shown: str) -> None:
    assert shown_value(name, value) == shown


def with_environment(**variables: str) -> StackConfig:
    base = config()
    n8n = base.services["n8n"].model_copy(update={"environment": variables})
    return base.model_copy(update={"services": {**base.services, "n8n": n8n}})


def test_a_change_of_a_secret_is_shown_without_it() -> None:
    old, new = (
        with_environment(N8N_SMTP_PASS="old-word", A="a" * 99),
        with_environment(N8N_SMTP_PASS="new", A="a" * 100),
    )
    shown = [str(change) for change in config_changes(old, new)]
    assert shown[1] == "n8n.env.N8N_SMTP_PASS: (secret) -> (secret), changed"
    assert shown[0].endswith("(100 characters)") and "old-word" not in "".join(shown)
    gone = config_changes(new, with_environment(A="a" * 100))
    assert [(change.old, change.new) for change in gone] == [("(secret)", None)]
    assert [str(change) for change in secret_changes({"n8n": ["secrets"], "qdrant": ["definition"]})] == [
        "n8n.secrets: (secret) -> (secret), changed"
    ]
    assert secret_changes(None) == ()


def test_what_the_first_rendering_meant_is_what_counts_as_changed() -> None:
    old = with_environment(A="a$$b", B="x$y").model_copy(update={"rendering": 1})
    changes = {
        change.path: (change.old, change.new) for change in config_changes(old, changed_config(ConfigRequest(), old))
    }
    assert changes == {
        "rendering": ("1", str(TAKEN_BY_ITSELF)),
        "n8n.env.B": ("x", "x$y"),
        "n8n.env.GENERIC_TIMEZONE": (None, "America/New_York"),
        "n8n.env.TZ": (None, "UTC"),
    }
    assert not same_system(old, old.model_copy(update={"rendering": 2}))


@pytest.mark.parametrize(
    ("before", "asked", "zones"),
    [
        ({}, {"N8N_LOG_LEVEL": "debug"}, ("UTC", "UTC")),
        ({}, {"GENERIC_TIMEZONE": "Europe/Berlin"}, ("Europe/Berlin", "Europe/Berlin")),
        ({}, {"GENERIC_TIMEZONE": "Europe/Berlin", "TZ": "UTC"}, ("Europe/Berlin", "UTC")),
        ({"GENERIC_TIMEZONE": "Asia/Tokyo", "TZ": "UTC"}, {"TZ": "Asia/Tokyo"}, ("Asia/Tokyo", "Asia/Tokyo")),
        ({"GENERIC_TIMEZONE": "Asia/Tokyo", "TZ": "UTC"}, {"GENERIC_TIMEZONE": ""}, ("UTC", "UTC")),
    ],
)
def test_the_time_zone_is_always_said(before: dict[str, str], asked: dict[str, str], zones: tuple[str, str]) -> None:
    found = (
        changed_config(ConfigRequest(environment={"n8n": asked}), with_environment(**before))
        .services["n8n"]
        .environment
    )
    assert (found["GENERIC_TIMEZONE"], found["TZ"]) == zones


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"GENERIC_TIMEZONE": "Europe/Berln"}, "no time zone 'Europe/Berln'"),
        ({"A": "zero\0"}, "what is no text"),
        ({"A": "\udcff"}, "what is no text"),
    ],
)
def test_what_no_variable_can_be(variables: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        changed_config(ConfigRequest(environment={"n8n": variables}), config())


# --- notices -----------------------------------------------------------------------------------------------------


def test_downtime() -> None:
    resize = ResourceOperation(
        op="update", type="aws:ec2/instance:Instance", name="instance", urn="urn", changed=("instanceType",)
    )
    image = ConfigChange(path="n8n.image", old="a", new="b")
    gone = ConfigChange(path="qdrant.image", old="a", new=None)
    with_crawl4ai = with_service(config(), "crawl4ai", "unclecode/crawl4ai:0.9.5")

    assert notices.downtime(plan(active_version=None)).startswith("None: nothing runs yet")
    assert "resized" in notices.downtime(plan(operations=(resize,)))
    assert notices.downtime(plan(changes=(image,))).startswith("n8n: a few seconds")
    assert notices.downtime(plan(changes=(gone,))).startswith("qdrant: no longer runs; its data stays.")
    added = ConfigChange(path="crawl4ai.image", old=None, new="a")
    assert notices.downtime(plan(changes=(image, added), config=with_crawl4ai)) == (
        "crawl4ai: new, starts beside the others. n8n: a few seconds while the container is replaced. "
        "The others keep running."
    )
    every = tuple(with_crawl4ai.services)
    assert "others keep" not in notices.downtime(plan(changes=(image, added), config=with_crawl4ai, replaced=every))
    assert notices.downtime(plan()) == "None: no container is replaced."
    # What lies on the instance decides, where it could be asked.
    assert notices.downtime(plan(changes=(image,), replaced=())) == "None: no container is replaced."
    assert notices.downtime(plan(replaced=("postgresql",))).startswith("postgresql: a few seconds")
    rendering = ConfigChange(path="rendering", old="1", new="2")
    for replaced in (None, ("n8n", "postgresql")):
        assert notices.downtime(plan(changes=(image, rendering), replaced=replaced)).startswith("All services restart")
    stopped = InstanceState(id="i-1", type="t3.large", state="stopped", address="")
    assert notices.downtime(plan(changes=(image,)), stopped).startswith("Nothing runs now")


@pytest.mark.parametrize(
    ("kind", "has_data", "said"),
    [("deploy", False, "new encrypted"), ("update", True, "stays as it is."), ("rollback", True, "not older data")],
)
def test_data_notice(kind: str, has_data: bool, said: str) -> None:
    assert said in notices.data_notice(plan(kind=kind), has_data)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ({"timed_out": True}, "within its deadline of 15 minutes"),
        ({"agent_error": {"code": "no_space", "message": "The disk is full."}}, "The disk is full."),
        ({"agent_error": {"code": "efs_hung"}}, "efs_hung."),
        ({"diagnostics": ("AWS said\n  no",)}, "AWS said no"),
        ({"failure": "killed"}, "killed"),
        ({}, "The engine's run failed."),
    ],
)
def test_why_it_failed(outcome: dict[str, Any], said: str) -> None:
    assert said in notices.failure(ApplyOutcome(succeeded=False, **outcome), config())


def test_which_service_failed_and_how() -> None:
    services = {"n8n": {"state": "exited", "reason": "exit code 1"}, "qdrant": {"state": "healthy"}}
    error = {"code": "unhealthy", "message": "Not healthy.", "detail": {"services": services}}
    said = notices.failure(ApplyOutcome(succeeded=False, agent_error=error), config())
    assert "n8n" in said and "exit code 1" in said and "qdrant" not in said


def test_services_that_were_still_waited_for_are_not_blamed_for_anothers_failure() -> None:
    def said(services: dict[str, Any]) -> str:
        error = {"code": "unhealthy", "message": "Not healthy.", "detail": {"services": services}}
        return notices.failure(ApplyOutcome(succeeded=False, agent_error=error), config())

    waiting, exited = {"state": "waiting", "reason": "starting"}, {"state": "exited", "reason": "exit code 1"}
    assert said({"n8n": exited, "qdrant": waiting}) == "Not healthy: n8n: exit code 1."
    assert said({"n8n": waiting}) == "Not healthy: n8n: starting."


@pytest.mark.parametrize(
    ("kind", "versions", "said"),
    [
        ("deploy", (failed(1),), "no earlier version"),
        ("deploy", (version(1), failed(2)), "`geusemaker recover prod`"),
        ("update", (version(1), failed(2)), "`geusemaker rollback prod`: it goes back to v1"),
        ("recover", (version(1, bad=True), failed(2)), "v1 is marked bad. Choose one by number"),
    ],
)
def test_no_way_back(kind: Any, versions: tuple[Version, ...], said: str) -> None:
    after = state(*versions, last_failed=True)
    assert said in notices.no_way_back(Change(kind=kind, config=config(), target=target()), after)


# --- the data manifest -------------------------------------------------------------------------------------------

BEFORE: dict[str, Any] = {
    "file_system_id": "fs-1",
    "sentinel": {"deployment": "prod"},
    "services": {
        "postgresql": {"databases": {"n8n": ["public.workflow", "public.user"], "crm": []}, "bytes": 5},
        "qdrant": {"collections": ["docs"]},
        "ollama": {"models": ["llama3"]},
        "n8n": {"workflows": ["Nightly"]},
    },
}


def after(**services: Any) -> dict[str, Any]:
    """The manifest with other services' contents."""
    return {**BEFORE, "services": {**BEFORE["services"], **services}}


@pytest.mark.parametrize(
    ("now", "gone"),
    [
        (BEFORE, []),
        (None, []),
        ({**BEFORE, "file_system_id": "fs-2"}, ["the file system is another one (fs-1 before, fs-2 now)"]),
        ({**BEFORE, "sentinel": {"deployment": "prod", "postgresql": True, "data_volume": {"uuid": "1"}}}, []),
        ({**BEFORE, "sentinel": {"deployment": "other"}}, ["the sentinel file is another one"]),
        ({**BEFORE, "sentinel": None}, ["the sentinel file is another one"]),
        (after(postgresql={"databases": {"n8n": ["public.user", "public.workflow"]}}), ["lost database crm"]),
        (after(postgresql={"databases": {"n8n": ["public.user"], "crm": []}}), ["lost table n8n.public.workflow"]),
        (after(qdrant={"collections": ["new"]}), ["qdrant lost collection docs"]),
        (after(ollama={"models": []}), ["ollama lost model llama3"]),
        (after(n8n={"workflows": []}), ["n8n lost workflow Nightly"]),
        (after(n8n={"workflows": None}, qdrant=None, postgresql={"databases": None}), []),
        (after(postgresql={"databases": BEFORE["services"]["postgresql"]["databases"], "bytes": 1}), []),
    ],
)
def test_losses(now: dict[str, Any] | None, gone: list[str]) -> None:
    found = manifest.compare(BEFORE, now).losses
    assert len(found) == len(gone) and all(part in said for part, said in zip(gone, found, strict=True))


@pytest.mark.parametrize(
    ("then", "now", "gone"),
    [
        (["binaryData"], [], 1),
        (["binaryData"], ["storage"], 0),  # n8n 3 renames it
        (["binaryData", "storage"], ["storage"], 0),
        ([], [], 0),
        (["binaryData"], None, 0),  # by an agent that did not look
        (None, [], 0),
    ],
)
def test_the_end_of_all_folders_of_n8n_s_files_is_loss(
    then: list[str] | None, now: list[str] | None, gone: int
) -> None:
    one, two = (after(n8n={"workflows": [], "file_folders": folders}) for folders in (then, now))
    assert len(manifest.compare(one, two).losses) == gone


def test_without_a_manifest_before_nothing_is_lost() -> None:
    assert manifest.compare(None, BEFORE) == manifest.Comparison()


# --- configure ---------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert list(first_config(ConfigRequest()).services) == list(SERVICE_NAMES)
    others = [name for name in SERVICE_NAMES if name not in ("postgresql", "n8n")]
    assert list(first_config(ConfigRequest(without=("n8n", "postgres"))).services) == others


def test_every_setting_arrives() -> None:
    request = ConfigRequest(auto_rollback_on_failure=False, deadline_minutes=9, retention=2, health_deadline_seconds=33)
    changed = changed_config(request, config())
    assert (changed.rollback.auto_rollback_on_failure, changed.rollback.deadline_minutes) == (False, 9)
    assert (changed.rollback.retention, changed.health.deadline_seconds) == (2, 33)
    assert same_system(changed, config())
    assert same_system(changed.model_copy(update={"root_volume_gib": 99}), config()), "a disk is no part of a version"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"retention": 0}, "rollback.retention"),
        ({"deadline_minutes": 4}, "rollback.deadline_minutes"),
        ({"without": ("postgresql",)}, "n8n keeps its data in PostgreSQL"),
        ({"without": ("n8n", "postgresql")}, "no service is enabled"),
        ({"environment": {"n8n": {"A-B": "x"}}}, "not an environment variable name"),
        ({"services": ("zzz",)}, "no service 'zzz'"),
    ],
)
def test_values_that_cannot_be(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        changed_config(ConfigRequest(**request_), config())
    assert said in refused.value.message and refused.value.exit_code == 2


# --- secrets, evidence, journal ----------------------------------------------------------------------------------


def test_secrets_are_new_each_time_and_never_shown() -> None:
    one, two = secrets.generate(), secrets.generate()
    values = one.texts
    assert len(set(values)) == 6 and not set(values) & set(two.texts)
    assert not [value for value in values if value in f"{one!r} {one}"]
    login, host = secrets.public_keys(one)
    assert login != host and login.startswith("ssh-ed25519 ") and secrets.public_keys(one) == (login, host)


def test_evidence_without_an_instance(tmp_path: Path) -> None:
    outcome = ApplyOutcome(succeeded=False, failure="The update failed.", diagnostics=("one", "two"))
    assert evidence.collect(lambda: tmp_path, outcome, None, plan(), lambda event: None).folder == str(tmp_path)
    assert (tmp_path / "diagnostics.txt").read_text() == "The update failed.\none\ntwo"
    assert {file.name for file in tmp_path.iterdir()} == {"diagnostics.txt", "plan.json"}


def test_the_last_lines_of_each_log_are_told_without_secrets_and_dockers_times(world: World, tmp_path: Path) -> None:
    world.deploy()
    secrets_ = world.engine.load_secrets()
    host = Instance(FakeHost(world, login_of(secrets_)))
    logged = [f"2025-01-21T02:03:{second:02}.123456789Z line {second}" for second in range(12)]
    world.machine.evidence_logs["n8n"] = [*logged, "2025-01-21T02:03:59Z ", f"key {secrets_.n8n_encryption_key}"]
    kept = evidence.collect(
        lambda: tmp_path, ApplyOutcome(succeeded=False), host, plan(), lambda event: None, redaction(secrets_)
    )
    assert kept.folder == str(tmp_path) and kept.tails["n8n"][:2] == ["line 3", "line 4"]
    assert len(kept.tails["n8n"]) == 10 and secrets_.n8n_encryption_key not in kept.tails["n8n"][-1]


def test_evidence_that_cannot_be_had_hinders_nothing(world: World, tmp_path: Path) -> None:
    world.deploy()
    world.host_failures["evidence"] = HostError("docker hangs.", code="docker_failed")
    events: list[Event] = []
    host = Instance(FakeHost(world, login_of(world.engine.load_secrets())))
    evidence.collect(lambda: tmp_path, ApplyOutcome(succeeded=False), host, plan(), events.append)
    assert [event.message for event in events] == ["Evidence on the instance could not be collected: docker hangs."]


def record(operation_id: str, reason: str = "") -> OperationRecord:
    """A line of the journal."""
    return OperationRecord(
        operation_id=operation_id,
        deployment="prod",
        kind="update",
        number=2,
        actor="ann",
        started_at=NIGHT,
        success=True,
        reason=reason,
    )


def test_the_journal_keeps_its_lines_and_reads_over_broken_ones(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "prod")
    assert journal.read() == []
    journal.append(record("op-1"))
    file = tmp_path / "journal" / "prod.jsonl"
    with file.open("a") as lines:
        lines.write('{"operation_id": "op-cut\n{"schema": "another"}\n')
    journal.append(record("op-2"))

    assert [found.operation_id for found in journal.read()] == ["op-1", "op-2"]
    assert journal.damage.startswith("2 lines of the journal ") and str(file) in journal.damage
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert FileJournal(tmp_path, "other").read() == []


def test_of_an_operation_the_journal_tells_the_latest_record(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "prod")
    for operation, reason in (("op-1", "its gate passed"), ("op-2", ""), ("op-1", "its bake did not")):
        journal.append(record(operation, reason))
    assert [(found.operation_id, found.reason) for found in journal.read()] == [
        ("op-1", "its bake did not"),
        ("op-2", ""),
    ]


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b'{"operation_id": "op-', b"[" * 100_000 + b"\n", b"\0\n", b"{}"])
def test_whatever_is_in_the_journal_the_rest_is_read(tmp_path: Path, damage: bytes) -> None:
    journal = FileJournal(tmp_path, "prod")
    journal.append(record("op-1"))
    file = tmp_path / "journal" / "prod.jsonl"
    with file.open("ab") as lines:
        lines.write(damage)
    journal.append(record("op-2", reason="a\u2028b"))
    assert [found.operation_id for found in journal.read()] == ["op-1", "op-2"]
    assert journal.damage.startswith("1 line of the journal ")
    file.write_bytes(b"\n".join(line for line in file.read_bytes().splitlines() if b"op-1" in line))
    assert len(journal.read()) == 1 and journal.damage == ""


def test_a_journal_that_is_no_file_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "journal" / "prod.jsonl").mkdir(parents=True)
    journal = FileJournal(tmp_path, "prod")
    assert journal.read() == [] and "cannot be read (Is a directory)" in journal.damage


def test_what_unicode_counts_as_the_end_of_a_line_ends_no_record(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "prod")
    odd = "a\u2028b\u2029c\x85d\x0b\x1c\u202ee\nf"
    journal.append(record("op-1").model_copy(update={"reason": odd}))
    assert [found.reason for found in journal.read()] == [odd]


def test_evidence_that_is_no_text_is_kept_as_it_can_be(tmp_path: Path) -> None:
    told: list[Event] = []
    outcome = ApplyOutcome(succeeded=False, failure="no \ud800 way", agent_error={"code": "unhealthy"})
    evidence.collect(lambda: tmp_path, outcome, None, plan(), told.append)
    assert (tmp_path / "diagnostics.txt").read_text() == r"no \ud800 way" and not told


def test_evidence_folders_are_private(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "prod")
    folder = journal.evidence_folder("op-1")
    assert folder == journal.evidence_folder("op-1") and stat.S_IMODE(folder.stat().st_mode) == 0o700
