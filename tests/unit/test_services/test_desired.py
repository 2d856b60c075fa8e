"""A stack file made real: the whole desired state, what it keeps, what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.errors import GeusemakerError, InvalidInputError, RefusedError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnProbe, OwnService, OwnVolume
from geusemaker.models.request import ConfigRequest, DeployRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import NEWEST_RENDERING, TAKEN_BY_ITSELF, ServiceConfig, StackConfig
from geusemaker.models.stack_file import StackFile
from geusemaker.services.configure import changed_config
from geusemaker.services.desired import fact_changes, wished_config, with_facts
from geusemaker.services.desired.refusals import require_not_left
from geusemaker.services.diff.service import DiffService
from geusemaker.services.differences import same_system
from geusemaker.services.export import ExportService
from tests.unit.fakes import Shown, World
from tests.unit.samples import DIGEST, config, state, target, version
from tests.unit.test_models.test_stack_file import IMAGES, NAMES, TEXTS

BOTH = "services:\n  postgresql:\n  n8n:\n"


def exported(world: World, number: int | None = None) -> StackFile:
    """As somebody reads it who stored it."""
    return StackFile.parse(ExportService(world.collaborators()).export(number).to_yaml(), "stack.yaml")


def edited(world: World, old: str, new: str) -> StackFile:
    """The export with something else in it."""
    text = ExportService(world.collaborators()).export().to_yaml()
    assert old in text
    return StackFile.parse(text.replace(old, new), "stack.yaml")


def wished(text: str, base: StackConfig | None = None, **more: Any) -> StackConfig:
    return wished_config(ConfigRequest(desired=StackFile.parse(text, "stack.yaml"), **more), base)


# the config


@given(
    st.dictionaries(NAMES.filter(lambda name: name not in ("TZ", "GENERIC_TIMEZONE")), TEXTS),
    IMAGES,
    st.integers(1, NEWEST_RENDERING),
    st.booleans(),
    st.integers(5, 1800),
)
def test_what_was_exported_asks_for_nothing_new(
    environment: dict[str, str], image: str, rendering: int, returns: bool, deadline: int
) -> None:
    document = config().to_json()
    document["services"]["n8n"] = {"image": image, "environment": environment}
    document["rollback"]["auto_rollback_on_failure"] = returns
    document["health"]["deadline_seconds"] = deadline
    base = StackConfig.model_validate({**document, "rendering": rendering})
    text = StackFile.of(changed_config(ConfigRequest(), base), target()).to_yaml()
    assert wished(text, base) is base
    assert not fact_changes(StackFile.parse(text), target(), base, {})


def test_what_the_file_does_not_have_goes_away_or_stays() -> None:
    document = config(instance_type="t3.xlarge", retention=9).to_json()
    document["services"]["n8n"]["environment"] = {"A": "b", "GENERIC_TIMEZONE": "Europe/Berlin", "TZ": "UTC"}
    base = StackConfig.model_validate(document)
    assert wished(f"{BOTH}    environment:\n      GENERIC_TIMEZONE: Europe/Paris\n", base).services[
        "n8n"
    ].environment == {
        "GENERIC_TIMEZONE": "Europe/Paris",
        "TZ": "Europe/Paris",
    }
    bare = wished(BOTH, base)
    assert bare.services["n8n"].environment == {"GENERIC_TIMEZONE": "UTC", "TZ": "UTC"}
    assert bare.model_copy(update={"services": base.services}) == base, "images, types, settings stay"
    assert list(wished("services: {postgresql: }", base).services) == ["postgresql"]


def test_a_first_deploy_takes_the_defaults() -> None:
    first = wished("services: {postgresql: , n8n: }\nsettings: {retention: 7}")
    assert first.services["n8n"].environment == {"GENERIC_TIMEZONE": "UTC", "TZ": "UTC"}
    assert (first.instance_type, first.rollback.retention, first.rollback.deadline_minutes) == ("t3.large", 7, 15)
    assert first.rendering == NEWEST_RENDERING


def test_a_tag_keeps_the_digest_that_the_deployment_has_of_it() -> None:
    base = config(n8n="2.43.3")
    assert wished(f"{BOTH}    image: n8nio/n8n:2.43.3\n", base) is base
    assert wished(f"{BOTH}    image: n8nio/n8n:2.44.0\n", base).services["n8n"].image.digest is None
    other = "sha256:" + "cd" * 32
    assert wished(f"{BOTH}    image: n8nio/n8n:2.43.3@{other}\n", base).services["n8n"].image.digest == other


def test_a_service_that_comes_back_has_the_image_it_last_ran_with() -> None:
    alone = config().model_copy(update={"services": {"postgresql": config().services["postgresql"]}})
    file = StackFile.parse(BOTH)
    back = wished_config(ConfigRequest(desired=file), alone, [version(1, config=config(n8n="2.43.3"))])
    assert back.services["n8n"].image == config(n8n="2.43.3").services["n8n"].image


def test_a_secret_that_was_not_told_stays_and_another_is_refused() -> None:
    document = config().to_json()
    document["services"]["n8n"]["environment"] = {"SMTP_PASS": "hunter2"}
    base = StackConfig.model_validate(document)
    text = StackFile.of(base).to_yaml()
    assert "hunter2" not in text and wished(text, base) is base
    elsewhere = wished(text, config()).services["n8n"]
    assert elsewhere.environment == {}, "where there is none, it is a secret's name"
    assert elsewhere.secret_environment == {"SMTP_PASS": "n8n.SMTP_PASS"}


def test_a_secret_variable_is_in_the_file_by_its_secrets_name() -> None:
    document = config().to_json()
    document["services"]["n8n"]["secret_environment"] = {"A": "mail", "B": "postgresql_password"}
    base = StackConfig.model_validate(document)
    text = StackFile.of(base).to_yaml()
    assert 'A: "${secret:mail}"' in text and wished(text, base) is base
    assert wished(text.replace("secret:mail", "secret:post"), base).services["n8n"].secret_environment["A"] == "post"
    assert "A" not in wished(BOTH, base).services["n8n"].secret_environment


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("A: plain", "n8n.A is a secret variable, and this would put its value into the history"),
        ('B: "${secret:n8n_encryption_key!}"', ""),
        ('N8N_PATH: "${secret:mail}"', "n8n.N8N_PATH cannot be a secret"),
        ('N8N_ENCRYPTION_KEY: "${secret:mail}"', "n8n.N8N_ENCRYPTION_KEY is set by geusemaker"),
        ('B: "${secret:ssh_private_key}"', "ssh_private_key was generated"),
    ],
)
def test_what_no_secret_variable_may_be(variable: str, says: str) -> None:
    document = config().to_json()
    document["services"]["n8n"]["secret_environment"] = {"A": "mail"}
    text = f"{BOTH}    environment:\n      {variable}\n"
    if not says:
        assert not wished(text).services["n8n"].secret_environment, "no reference, but a text"
        return
    with pytest.raises(InvalidInputError) as caught:
        wished(text, StackConfig.model_validate(document))
    assert caught.value.message.startswith(f"stack.yaml:5: {says}")


def test_a_secrets_value_comes_from_the_environment_once(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = exported(deployed).to_yaml().replace("      TZ:", '      X: "${secret:mail.password}"\n      TZ:')
    file = StackFile.parse(text, "stack.yaml")
    with pytest.raises(GeusemakerError, match=r"mail\.password"):
        deployed.update(desired=file)
    monkeypatch.setenv("mail_password", "short")
    with pytest.raises(InvalidInputError, match="fewer than"):
        deployed.update(desired=file)
    monkeypatch.setenv("mail_password", "hunter2hunter2")
    assert deployed.update(desired=file).version == 2
    assert deployed.engine.load_secrets().find("mail.password") == "hunter2hunter2"
    monkeypatch.setenv("mail_password", "another-value")
    assert deployed.update(desired=file).version == 2, "one that is there stays"
    assert "hunter2" not in exported(deployed).to_yaml()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services:\n  n8n:\n", "stack.yaml:1: n8n keeps its data in PostgreSQL"),
        (f"{BOTH}instance_type: huge\n", "stack.yaml:4: 'huge' is not an instance type"),
        (
            f"{BOTH}    environment: {{N8N_ENCRYPTION_KEY: x}}\n",
            "stack.yaml:4: n8n.N8N_ENCRYPTION_KEY is set by geusemaker",
        ),
        (f"{BOTH}    environment:\n      TZ: Berlin\n", "stack.yaml:5: There is no time zone 'Berlin'"),
    ],
)
def test_what_cannot_be_had_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        wished(text, config())
    assert caught.value.message.startswith(says)


def test_what_a_config_of_before_has_may_stay_though_it_is_reserved_now() -> None:
    document = config().to_json()
    document["services"]["n8n"]["environment"] = {"HOME": "/x"}
    base = StackConfig.model_validate(document)
    assert wished(StackFile.of(base).to_yaml(), base) is base


@pytest.mark.parametrize(
    ("beside", "flag"),
    [
        ({"instance_type": "t3.large"}, "--instance-type"),
        ({"images": {"n8n": "n8nio/n8n:1"}}, "--image"),
        ({"services": ("n8n",)}, "--service"),
        ({"without": ("n8n",)}, "--without"),
        ({"environment": {"n8n": {"A": "b"}}}, "--env"),
        ({"ami": "newest"}, "--ami"),
        ({"secret_environment": {"n8n": {"A": "mail"}}}, "--secret-env"),
        ({"retention": 5}, "--retention"),
        ({"health_deadline_seconds": 30}, "--health-deadline"),
        ({"deadline_minutes": 15}, "--deadline"),
        ({"auto_rollback_on_failure": True}, "--auto-rollback-on-failure"),
        ({"settle_seconds": 3}, "--settle-seconds"),
        ({"ssh_cidrs": ("1.2.3.4/32",)}, "--ssh-cidr"),
    ],
)
def test_the_file_is_all_there_is_to_say(beside: dict[str, Any], flag: str) -> None:
    file = StackFile.parse(f"{BOTH}deployment: {{settle_seconds: 4, ssh_cidrs: [1.2.3.4/32]}}\n", "stack.yaml")
    with pytest.raises(
        InvalidInputError, match=f"^{flag} is given beside stack.yaml, which is the whole desired state"
    ):
        with_facts(DeployRequest(desired=file, **beside), config())


def test_a_fact_may_be_given_beside_a_file_that_does_not_have_it() -> None:
    request = DeployRequest(desired=StackFile.parse(BOTH), ssh_cidrs=("1.2.3.4/32",), data_volume_gib=30)
    found = with_facts(request, None)
    assert (found.ssh_cidrs, found.data_volume_gib, found.ami) == (("1.2.3.4/32",), 30, None)


def test_what_is_said_of_a_file_needs_one() -> None:
    for request in (ConfigRequest(prune=True), ConfigRequest(again=True)):
        with pytest.raises(InvalidInputError, match="none is given"):
            wished_config(request, config())


# made real


def test_a_deployment_is_what_its_export_says(deployed: World) -> None:
    assert deployed.update(desired=exported(deployed)).version == 1
    assert deployed.messages("note") == ["v1 of prod is that already."]
    assert len(deployed.state().versions) == 1


def test_an_edited_file_is_a_change_like_any_other(deployed: World) -> None:
    shown = Shown()
    file = edited(deployed, "retention: 5", "retention: 6")
    assert deployed.update(shown, desired=file).success
    assert [str(change) for change in shown.plans[0].changes] == ["settings.retention: 5 -> 6"]
    assert deployed.update(desired=file).version == 2, "once more, nothing is to be done"
    assert "retention: 5" in ExportService(deployed.collaborators()).export(1).to_yaml()
    with pytest.raises(RefusedError, match="no version 9"):
        ExportService(deployed.collaborators()).export(9)


def test_a_first_deploy_from_a_file(world: World) -> None:
    text = (
        f"{BOTH}deployment: {{data_volume_gib: 30, root_volume_gib: 50, settle_seconds: 3, ssh_cidrs: [127.0.0.0/16]}}"
    )
    assert world.deploy(DeployRequest(desired=StackFile.parse(text))).success
    state = world.state()
    assert state.active is not None and list(state.active.config.services) == ["postgresql", "n8n"]
    where = state.target
    assert where is not None
    assert (where.data_volume_gib, where.root_volume_gib, where.settle_seconds) == (30, 50, 3)
    assert where.ssh_cidrs == ("127.0.0.0/16",)
    assert world.update(desired=exported(world)).version == 1


def test_a_service_that_is_not_in_the_file_goes_when_that_is_said(deployed: World) -> None:
    file = StackFile.parse(BOTH, "stack.yaml")
    with pytest.raises(RefusedError, match=r"stack\.yaml does not have .*ollama.*, which would be taken out"):
        deployed.update(desired=file)
    dry = deployed.update(desired=file, dry_run=True)
    assert dry.success and any(change.startswith("ollama.image: ") for change in dry.changes)
    assert deployed.update(desired=file, prune=True).success
    active = deployed.state().active
    assert active is not None and set(active.config.services) == {"postgresql", "n8n"}


def test_facts_are_changed_and_no_version_has_them(deployed: World) -> None:
    text = exported(deployed).to_yaml()
    file = StackFile.parse(
        text.replace("127.0.0.0/8", "127.0.0.0/16")
        .replace("settle_seconds: 10", "settle_seconds: 4")
        .replace("data_volume_gib: 20", "data_volume_gib: 25"),
        "stack.yaml",
    )
    found = DiffService(deployed.collaborators()).file(file)
    assert found.same and [str(change) for change in found.changes] == [
        "ssh_cidrs: 127.0.0.0/8 -> 127.0.0.0/16",
        "data_volume_gib: 20 -> 25",
        "settle_seconds: 10 -> 4",
    ]
    shown = Shown()
    assert deployed.update(shown, desired=file).success
    assert {str(change) for change in shown.plans[0].changes} == {str(change) for change in found.changes}
    [check] = [check for check in shown.plans[0].checks if check.name == "addresses"]
    assert check.status == "warn" and "127.0.0.0/8 may not connect by SSH any more" in check.detail
    where = deployed.state().target
    assert where is not None and (where.ssh_cidrs, where.settle_seconds) == (("127.0.0.0/16",), 4)
    assert deployed.update(desired=file).version == 2
    smaller = StackFile.parse(f"{BOTH}deployment: {{data_volume_gib: 20}}", "stack.yaml")
    with pytest.raises(InvalidInputError, match="it only grows"):
        deployed.update(desired=smaller, prune=True)


def test_the_domains_of_a_file_are_all_of_them(deployed: World) -> None:
    text = exported(deployed).to_yaml()
    opened = StackFile.parse(f"{text}  domains:\n    n8n: n8n.example.com\n", "stack.yaml")
    found = DiffService(deployed.collaborators()).file(opened)
    assert "domain.n8n: (none) -> n8n.example.com" in [str(change) for change in found.changes]
    assert deployed.update(desired=opened).success
    again = exported(deployed)
    assert again.deployment.domains == {"n8n": "n8n.example.com"} and "caddy" not in again.services
    assert deployed.update(desired=again).version == 2
    silent = StackFile.parse(text, "stack.yaml")
    assert not DiffService(deployed.collaborators()).file(silent).changes, "a file without domains leaves them"
    closed = StackFile.parse(f"{text}  domains: {{}}\n", "stack.yaml")
    assert deployed.update(desired=closed).success
    where = deployed.state().target
    assert where is not None and where.site is None
    with pytest.raises(InvalidInputError, match="is given beside"):
        deployed.update(desired=closed, no_domain=True)


def test_nobody_is_shut_out_altogether(deployed: World) -> None:
    file = edited(deployed, "  ssh_cidrs:\n    - 127.0.0.0/8\n", "  ssh_cidrs: []\n")
    with pytest.raises(InvalidInputError, match=r"stack\.yaml:\d+: no address may reach the instance"):
        deployed.update(desired=file)


def test_a_change_that_fails_goes_back_to_the_addresses_of_before(deployed: World) -> None:
    tag = next(
        service.image.tag for name, service in deployed.state().versions[0].config.services.items() if name == "n8n"
    )
    text = exported(deployed).to_yaml().replace("127.0.0.0/8", "127.0.0.0/16")
    lines = ["    image: n8nio/n8n:9.9.9-crash" if f"n8n:{tag}" in line else line for line in text.splitlines()]
    assert deployed.update(desired=StackFile.parse("\n".join(lines))).exit_code == 3
    where = deployed.state().target
    assert where is not None and where.ssh_cidrs == ("127.0.0.0/8",)


# what was rolled back


def test_a_file_that_failed_is_refused_until_somebody_says_again(deployed: World) -> None:
    deployed.n8n("1.101.0")
    file = StackFile.parse(
        exported(deployed).to_yaml().replace(f"1.101.0@{digest(deployed)}", "1.102.0-crash"), "stack.yaml"
    )
    assert deployed.update(desired=file).exit_code == 3
    for _ in range(2):
        with pytest.raises(
            RefusedError, match=r"stack\.yaml asks for what prod went back from: v3, tried 20.* by "
        ) as caught:
            deployed.update(desired=file)
        assert "failed when it was last tried" in caught.value.message and "--again" in caught.value.next_step
        assert caught.value.exit_code == 5
    assert deployed.update(desired=file, again=True).exit_code == 3


def test_a_first_deploy_that_failed_is_done_again_without_a_word(world: World) -> None:
    text = "services: {postgresql: {image: postgres:16.9}, n8n: {image: n8nio/n8n:1.100.1-crash}}"
    for _ in range(2):
        assert world.deploy(DeployRequest(desired=StackFile.parse(text))).exit_code == 4


def test_a_file_that_somebody_rolled_back_is_refused(deployed: World) -> None:
    deployed.n8n("1.101.0")
    file = exported(deployed)
    deployed.rollback(reason="logins failed")
    with pytest.raises(RefusedError, match=r"v2 was left by the rollback v3 of .* UTC \(logins failed\)"):
        deployed.update(desired=file)
    found = DiffService(deployed.collaborators()).file(file)
    assert "An update with stack.yaml is refused without --again: v2 was left by the rollback v3" in found.note
    assert deployed.update(desired=exported(deployed)).version == 3, "what it was rolled back to is what runs"
    assert deployed.update(desired=file, again=True).version == 4
    deployed.n8n("1.103.0")
    assert deployed.update(desired=file).success, "a change since then: it is no longer what was just left"


def test_all_that_two_rollbacks_left_is_refused(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.n8n("1.102.0")
    file = exported(deployed)
    deployed.rollback()
    deployed.rollback()
    with pytest.raises(RefusedError, match="v3 was left by the rollback v4"):
        deployed.update(desired=file)


def test_a_file_of_a_version_that_is_marked_bad_is_refused(deployed: World) -> None:
    deployed.n8n("1.101.0")
    file = exported(deployed)
    deployed.n8n("1.102.0")
    deployed.mark(2, bad=True, reason="loses mail")
    with pytest.raises(
        RefusedError, match=r"v2, tried .* has the config of a version that is marked bad \(.*loses mail"
    ):
        deployed.update(desired=file)
    deployed.mark(2, bad=False)
    assert deployed.update(desired=file).success


def test_another_rendering_and_domains_hide_nothing() -> None:
    bad = version(2, config=config(n8n="1.2.0", rendering=1), bad=True)
    known = state(version(1), bad, version(3))
    request = ConfigRequest(desired=StackFile.parse(BOTH, "stack.yaml"))
    now = changed_config(ConfigRequest(), bad.config, (), Site(domains={"n8n": "n8n.example.com"}))
    assert now.rendering == TAKEN_BY_ITSELF and not same_system(now, bad.config)
    with pytest.raises(RefusedError, match=r"v2, tried .* marked bad"):
        require_not_left(request, known, now)
    require_not_left(request, known, config(n8n="1.1.0"))
    require_not_left(request.model_copy(update={"again": True}), known, now)


def test_a_comparison_tells_that_something_else_may_run(deployed: World) -> None:
    deployed.n8n("1.101.0-crash", auto_rollback=False)
    found = DiffService(deployed.collaborators()).file(exported(deployed))
    assert found.note.startswith("The latest operation failed or was interrupted") and not found.changes


def digest(world: World) -> str:
    active = world.state().active
    assert active is not None
    return str(active.config.services["n8n"].image.digest)


# what differs


def test_a_file_is_compared_with_what_runs(deployed: World) -> None:
    service = DiffService(deployed.collaborators())
    same = service.file(exported(deployed))
    assert (same.old, same.new, same.same, same.changes, same.compose) == ("v1", "stack.yaml", True, [], [])
    other = service.file(edited(deployed, "retention: 5", "retention: 6"))
    assert [str(change) for change in other.changes] == ["settings.retention: 5 -> 6"]
    fewer = service.file(StackFile.parse(BOTH, "stack.yaml"))
    assert any(change.path == "ollama.image" and change.new is None for change in fewer.changes)
    assert fewer.new_version is None and fewer.old_version == 1
    assert DIGEST not in str(fewer.changes)


# services of one's own

QUEUE = """\
  redis:
    image: redis:8.2
    command: redis-server --save 60 1
    ports: [16379:6379]
    volumes: ["data:/data"]
    uid: 999
    probe: {kind: tcp}
  worker:
    image: n8nio/n8n:2.43.3
    command: [worker]
    volumes:
      - {folder: files, path: /files, storage: volume}
    probe: {kind: command, command: test -e /tmp/ready}
    needs: [redis]
    environment:
      QUEUE_BULL_REDIS_HOST: redis
"""


def test_services_of_ones_own_stand_among_the_others() -> None:
    made = wished(f"{BOTH}{QUEUE}", config())
    assert list(made.services) == ["postgresql", "n8n", "redis", "worker"]
    redis, worker = made.services["redis"].own, made.services["worker"].own
    assert redis is not None and redis.command == ("redis-server", "--save", "60", "1") and redis.uid == 999
    assert worker is not None and worker.needs == ("redis",) and worker.volumes[0].storage == "volume"
    assert made.services["worker"].environment == {"QUEUE_BULL_REDIS_HOST": "redis"}
    text = StackFile.of(made).to_yaml()
    assert "      - data:/data\n" in text
    assert "      - folder: files\n        path: /files\n        storage: volume\n" in text
    assert wished(text, made) is made
    assert list(wished(BOTH, made).services) == ["postgresql", "n8n"]
    without_image = f"{BOTH}{QUEUE}".replace("    image: redis:8.2\n", "")
    assert wished(without_image, made) is made, "an image that is not there stays; all else is said whole"
    fewer = wished(f"{BOTH}  redis:\n", made).services["redis"].own
    assert fewer == OwnService()


def test_a_command_that_looks_like_a_secret_is_not_told_and_stays() -> None:
    made = wished(f"{BOTH}{QUEUE}".replace("--save 60 1", "--requirepass hunter2"), config())
    text = StackFile.of(made).to_yaml()
    assert "hunter2" not in text and wished(text, made) is made
    with pytest.raises(InvalidInputError, match="the command of redis is not told, and the deployment has none"):
        wished(text, config())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  n8m:\n", "stack.yaml:4: there is no service 'n8m', and of one's own the file has to say which image"),
        ("  caddy:\n    image: a\n", "stack.yaml:4: caddy comes and goes with the deployment's domains"),
        ("  all:\n    image: a\n", "stack.yaml:4: A service of one's own cannot be called 'all'"),
        ("  web:\n    image: a\n    ports: [5678]\n", "stack.yaml:4: web cannot publish port 5678: it is n8n's"),
        (
            "  web:\n    image: a\n    needs: [cache]\n",
            "stack.yaml:1: web needs cache, which is not among the services",
        ),
    ],
)
def test_what_no_service_of_ones_own_may_be(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        wished(f"{BOTH}{text}", config())
    assert caught.value.message.startswith(says)


PORTS = st.integers(20000, 29999).map(lambda port: f"{port}:{port - 19999}")
FOLDERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
PROBES = (
    st.just(OwnProbe(kind="tcp"))
    | st.from_regex(r"/[!-~]{0,9}", fullmatch=True).map(lambda path: OwnProbe(kind="http", path=path))
    | st.lists(TEXTS, min_size=1, max_size=3).map(lambda words: OwnProbe(kind="command", command=tuple(words)))
)


@given(
    st.lists(TEXTS, max_size=4),
    PORTS,
    st.dictionaries(FOLDERS, st.sampled_from(["efs", "volume"]), max_size=3),
    st.none() | PROBES,
    st.integers(0, 65535),
    st.integers(1, 300),
    st.lists(st.sampled_from(["postgresql", "n8n"]), unique=True),
)
def test_each_service_of_ones_own_is_the_same_after_it_was_written_and_read(
    words: list[str], port: str, volumes: dict[str, Any], probe: OwnProbe | None, uid: int, stop: int, needs: list[str]
) -> None:
    own = OwnService(
        command=tuple(words),
        ports=(port,),
        volumes=tuple(OwnVolume(folder=name, path=f"/data/{name}", storage=on) for name, on in volumes.items()),
        probe=probe,
        uid=uid,
        stop_seconds=stop,
        needs=tuple(needs),
    )
    image = ImageReference.parse(f"example.com/x:1@{DIGEST}")
    services = {**config().services, "x": ServiceConfig(image=image, own=own, secret_environment={"A": "mail"})}
    base = StackConfig.model_validate(config().model_copy(update={"services": services}).to_json())
    assert wished(StackFile.of(base).to_yaml(), base) is base


def test_the_examples_of_the_documentation_are_stack_files() -> None:
    text = (Path(__file__).parents[3] / "docs" / "stack-file.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert StackFile.parse(example).services["n8n"].environment["SMTP_PASS"] == "${secret:n8n.SMTP_PASS}"
