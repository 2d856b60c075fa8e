"""Secrets over deploy, a failing update, a rollback and rotations: in no argument list, nothing printed, no file but
their own; what is rotated opens nothing any more. Of the operator's own a version has the name, and no value."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from geusemaker.local_cloud.amis import BARE_AMD64
from geusemaker.local_cloud.containers.services.pgbinaries import installed
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

HOLDERS = (
    # The passphrase opens the others.
    r"workspace/\.state/passphrase",
    # Of the instance, as on AWS: the services' env files, the host key, the container engine's own records.
    r"cloud/instances/[^/]+/disk/opt/geusemaker/[a-z0-9]+\.env",
    r"cloud/instances/[^/]+/disk/etc/ssh/ssh_host_ed25519_key",
    r"cloud/instances/[^/]+/disk/var/lib/docker/containers/.+",
    # EC2's own memory: an instance's user data holds its host key.
    r"cloud/aws\.pickle",
    # n8n writes its key beside its data.
    r"cloud/file_systems/[^/]+/n8n/config",
)
"""Where a secret may stand in clear; each of them is its owner's alone to read."""


FIRST = "the first 'value' of \"smtp\", with \\ and $HOME"
FAILING = "a value that came with a release which crashes"
TODAY = "the second 'value' of smtp: \\n is no line break"


class CommandLines:
    """The argument lists of all processes, looked at over and over."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.rounds = 0
        self._ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    self.seen.add((process / "cmdline").read_bytes())
                except OSError:
                    continue  # it has ended
            self.rounds += 1


@dataclass
class Told:
    """What is searched, and for what."""

    world: World
    values: dict[str, str]
    """Those that hold."""
    old: dict[str, str]
    """Those that were rotated."""
    command_lines: CommandLines
    other: World
    """Another machine, which knew the deployment before the rotations."""
    login: str
    """The old key itself."""
    smtp: dict[str, str]
    """When → what n8n's container had as SMTP_PASS; empty: nothing."""


@pytest.fixture(scope="module")
def told(world: World, tmp_path_factory: pytest.TempPathFactory) -> Told:
    command_lines = CommandLines()
    elsewhere = tmp_path_factory.mktemp("values") / "value"
    smtp: dict[str, str] = {}

    def given(value: str) -> str:
        elsewhere.write_text(f"{value}\n")
        return f"n8n.SMTP_PASS=@{elsewhere}"

    def note(when: str) -> None:
        lines = world.docker("exec", "geusemaker-n8n-1", "printenv").splitlines()
        smtp[when] = next((line.partition("=")[2] for line in lines if line.startswith("SMTP_PASS=")), "")

    with command_lines.watched():
        world.run("deploy", "shop", "--health-deadline", "30", "--secret-env", given(FIRST), "--yes")
        note("deployed")
        crashes = ("--image", "n8n=n8nio/n8n:2.43.0-crash", "--secret-env", given(FAILING))
        world.run("update", "shop", *crashes, "--yes", "--output", "json", code=3)
        note("after the way back")
        world.extra["SMTP"] = TODAY
        world.run(
            "update", "shop", "--image", "n8n=n8nio/n8n:2.43.0", "--secret-env", "n8n.SMTP_PASS=env:SMTP", "--yes"
        )
        note("updated")
        world.run("rollback", "shop", "--yes")
        note("rolled back")
        world.run("update", "shop", "--secret-env", "n8n.SMTP_PASS=", "--yes")
        note("taken out")
        world.run("rollback", "shop", "--yes")
        note("brought back")
        other = world.second_machine()
        other.run("status", "shop")
        before = read_secrets(world)
        world.run("secrets", "rotate", "ssh", "shop", "--yes")
        world.run("secrets", "rotate", "database", "shop", "--yes")
        for verb in ("inspect", "history", "status", "info", "logs", "env"):
            world.run(verb, "shop")
            if verb != "logs":
                world.run(verb, "shop", "--output", "json")
        world.run("secrets", "list", "shop")
        world.run("diff", "shop", "v1", "v6")
        world.run("export", "shop")
    after = read_secrets(world)
    rotated = {name for name in before if before[name] != after[name]}
    assert rotated == {"ssh_private_key", "postgresql_password"}
    values = {name: searched(text) for name, text in after.items()}
    values["passphrase"] = (world.home / ".state" / "passphrase").read_text().strip()
    old = {f"old {name}": searched(before[name]) for name in rotated} | {"first": FIRST, "failing": FAILING}
    assert len(values) == 8 and all(len(value) >= 20 for value in [*values.values(), *old.values()])
    return Told(world, values, old, command_lines, other, before["ssh_private_key"], smtp)


def read_secrets(world: World) -> dict[str, str]:
    """The deployment's secrets, as an operator reads them."""
    secrets: dict[str, Any] = json.loads(world.pulumi("shop", "config", "get", "geusemaker:secrets"))
    own = {name: one["value"] for name, one in secrets.pop("own", {}).items()}
    return {**secrets, **own}


def searched(text: str) -> str:
    """Of a key, a line from its middle: what stands around it differs by format."""
    return text.splitlines()[2] if "PRIVATE KEY" in text else text


def holders(told: Told) -> dict[Path, set[str]]:
    """File → the names of the secrets that stand in it in clear."""
    found: dict[Path, set[str]] = {}
    for path in told.world.folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:5] == b"PGDMP":  # compressed as well
            data = read_dump(path)
        # In a JSON text a key's line breaks are escaped; the line itself stands as it is.
        names = {name for name, value in (told.values | told.old).items() if any(form in data for form in forms(value))}
        if names:
            found[path] = names
    return found


def forms(value: str) -> set[bytes]:
    """A value as it is, as JSON has it, and as Compose's env file has it."""
    in_json = json.dumps(value)[1:-1]
    return {form.encode() for form in (value, in_json, json.dumps(in_json)[1:-1], re.sub(r'([\\"$])', r"\\\1", value))}


def read_dump(path: Path) -> bytes:
    """What a dump of PostgreSQL holds, as SQL."""
    program = Path(installed()[0].folder) / "pg_restore"
    return subprocess.run([program, "--file=-", path], capture_output=True, check=True).stdout


def test_a_version_brings_the_variable_and_the_deployment_todays_value(told: Told) -> None:
    assert told.smtp == {
        "deployed": FIRST,
        "after the way back": FIRST,
        "updated": TODAY,
        "rolled back": TODAY,
        "taken out": "",
        "brought back": TODAY,
    }
    versions = told.world.inspect("shop")["versions"]
    assert [version["set_secrets"] for version in versions] == [
        ["n8n.SMTP_PASS"],
        ["n8n.SMTP_PASS"],
        ["n8n.SMTP_PASS"],
        ["n8n.SMTP_PASS"],
        [],
        [],
        [],
    ]


def test_no_process_has_a_secret_among_its_arguments(told: Told) -> None:
    assert told.command_lines.rounds > 100
    lines = told.command_lines.seen
    for expected in (b"pulumi", b"geusemaker", b"docker", b"compose"):
        assert any(expected in line for line in lines), expected
    for name, value in (told.values | told.old).items():
        assert not any(form in line for line in lines for form in forms(value)), name


def test_nothing_that_was_printed_holds_one(told: Told) -> None:
    printed = "\n".join([*told.world.outputs, *told.other.outputs])
    everything = printed.encode()
    values = told.values | told.old
    assert [name for name, value in values.items() if any(form in everything for form in forms(value))] == []
    assert "n8n.SMTP_PASS" in printed and "(secret), changed" in printed


def test_no_file_holds_one_but_those_that_have_to(told: Told) -> None:
    strays = {
        str(path.relative_to(told.world.folder)): sorted(names)
        for path, names in holders(told).items()
        if not any(re.fullmatch(pattern, str(path.relative_to(told.world.folder))) for pattern in HOLDERS)
    }
    assert strays == {}


def test_what_is_searched_is_what_there_is(told: Told) -> None:
    """State, history, backups, both journals, evidence and the checkpoint were all there to be searched."""
    world, names = told.world, {str(path.relative_to(told.world.folder)) for path in told.world.folder.rglob("*")}
    for pattern in (
        r"workspace/\.state/backend/\.pulumi/stacks/.+\.json",
        r"workspace/\.state/backend/\.pulumi/history/.+\.checkpoint\.json",
        r"workspace/\.state/backend/\.pulumi/backups/.+",
        r"workspace/\.state/journal/shop\.jsonl",
        r"workspace/\.state/evidence/shop/.+",
        r"workspace/stacks/Pulumi\.shop\.yaml",
        r"cloud/file_systems/[^/]+/\.geusemaker/journal\.jsonl",
        r"cloud/file_systems/[^/]+/\.geusemaker/checkpoints/.+\.dump",
        r"cloud/daemon\.log",
    ):
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert not list((world.home / ".state").rglob("Pulumi.shop.op-*.yaml")), "no candidate is left"


def test_files_that_hold_one_are_readable_by_their_owner_alone(told: Told) -> None:
    found = holders(told)
    # The search finds each kind of them where it has to be. The login key is nowhere in clear, nor is an old secret.
    assert {name for names in found.values() for name in names} == told.values.keys() - {"ssh_private_key"}
    open_to_others = {
        str(path.relative_to(told.world.folder)): oct(path.stat().st_mode & 0o777)
        for path in found
        if path.stat().st_mode & 0o077
    }
    assert open_to_others == {}
    # Encrypted ones, too: the passphrase may be weak.
    assert (told.world.home / "stacks" / "Pulumi.shop.yaml").stat().st_mode & 0o077 == 0


def logs_in(told: Told, key: str) -> bool:
    """Whether a key opens the instance."""
    info = told.world.json("info", "shop")

    async def attempt() -> bool:
        try:
            async with asyncssh.connect(
                info["address"],
                2222,
                username="admin",
                client_keys=[asyncssh.import_private_key(key)],
                known_hosts=None,
                config=None,
                agent_path=None,
            ):
                return True
        except asyncssh.PermissionDenied:
            return False

    return asyncio.run(attempt())


def test_the_old_key_is_refused_and_the_new_one_logs_in(told: Told) -> None:
    assert logs_in(told, read_secrets(told.world)["ssh_private_key"])
    assert not logs_in(told, told.login)


def test_the_old_password_is_refused_and_the_new_one_taken(told: Told) -> None:
    """Over TCP, as n8n connects; not from within the database's container, which trusts its local users."""
    address = told.world.inspect("shop")["services"]["postgresql"]["address"].partition(":")[0]

    def asked_with(password: str) -> str:
        client = ("psql", "-At", "-h", address, "-U", "geusemaker", "-d", "n8n", "-c", "SELECT 'let in'")
        environment = ("-e", f"PGPASSWORD={password}")
        return told.world.docker("exec", *environment, "geusemaker-postgresql-1", *client)

    assert asked_with(told.values["postgresql_password"]) == "let in\n"
    with pytest.raises(AssertionError, match="password authentication failed"):
        asked_with(told.old["old postgresql_password"])


def test_a_machine_of_before_goes_on_with_what_holds_and_nothing_is_replaced(told: Told) -> None:
    world, other = told.world, told.other
    instance = world.inspect("shop")["instance"]["id"]
    plan = other.json("update", "shop", "--image", "n8n=n8nio/n8n:2.43.0", "--dry-run")["plan"]
    changed = {(one["type"], one["op"]) for one in plan["operations"] if one["op"] != "same"}
    assert changed == {("command:remote:Command", "update")}
    assert plan["replaced"] == ["n8n"]
    assert other.json("update", "shop", "--image", "n8n=n8nio/n8n:2.43.0", "--yes")["success"] is True
    assert world.json("rollback", "shop", "--yes")["success"] is True
    found = world.inspect("shop")
    assert (found["status"], found["instance"]["id"]) == ("healthy", instance)
    assert logs_in(told, read_secrets(world)["ssh_private_key"])


def test_a_new_instance_takes_the_new_key_alone(told: Told) -> None:
    world = told.world
    assert world.json("update", "shop", "--ami", BARE_AMD64, "--allow-replace", "--yes")["success"] is True
    assert logs_in(told, read_secrets(world)["ssh_private_key"])
    assert not logs_in(told, told.login)


def test_a_secret_for_later_and_another_value_from_another_machine(told: Told) -> None:
    """One that nothing has is stored; one that a variable has restarts its service, and no other."""
    world, other = told.world, told.other
    other.extra["LATER"] = "a value for later"
    before = {name: one["started_at"] for name, one in world.inspect("shop")["services"].items()}
    stored = other.json("secrets", "set", "shop", "mailer", "--from", "env:LATER")
    assert stored["kind"] == "set-secret" and stored["success"] is True
    assert world.run("secrets", "show", "shop", "mailer", "--reveal").stdout == "a value for later\n"

    other.extra["LATER"] = "a third value of smtp"
    changed = other.json("secrets", "set", "shop", "n8n.SMTP_PASS", "--from", "env:LATER", "--yes")
    assert changed["kind"] == "update" and changed["changes"] == [
        "n8n.secret_env.SMTP_PASS: (secret) -> (secret), changed"
    ]
    assert "SMTP_PASS=a third value of smtp" in world.docker("exec", "geusemaker-n8n-1", "printenv").splitlines()
    after = {name: one["started_at"] for name, one in world.inspect("shop")["services"].items()}
    assert {name for name in after if after[name] != before[name]} == {"n8n"}
    assert "secret n8n.SMTP_PASS set" in other.run("history", "shop").stdout
    listed = {one["name"]: one for one in world.json("secrets", "list", "shop")["secrets"]}
    assert listed["mailer"]["used_by"] == [] and listed["n8n.SMTP_PASS"]["used_by"] == ["n8n.SMTP_PASS"]

    kept = world.run("secrets", "set", "shop", "n8n.SMTP_PASS", "--delete", "--yes", code=5)
    assert "versions that are kept have it" in kept.stderr
    gone = world.json("secrets", "set", "shop", "mailer", "--delete", "--yes")
    assert gone["kind"] == "delete-secret" and gone["changes"] == ["secret mailer: deleted"]
    assert "mailer" not in [one["name"] for one in other.json("secrets", "list", "shop")["secrets"]]


def test_the_key_of_an_n8n_of_before_is_taken_over_while_there_are_no_credentials(told: Told) -> None:
    world, key = told.world, "the key of an n8n of before"
    world.extra["KEY"] = key
    result = world.json("secrets", "import", "shop", "--from", "env:KEY", "--yes")
    assert result["success"] is True and result["health_status"]["n8n"] is True
    [file] = world.cloud.glob("file_systems/*/n8n/config")
    assert json.loads(file.read_text())["encryptionKey"] == key == read_secrets(world)["n8n_encryption_key"]
    assert file.stat().st_mode & 0o077 == 0
    assert f"N8N_ENCRYPTION_KEY={key}" in world.docker("exec", "geusemaker-n8n-1", "printenv").splitlines()

    made = "INSERT INTO credentials_entity (id, name, data) VALUES ('1', 'mail', 'closed')"
    client = ("psql", "-U", "geusemaker", "-d", "n8n", "-c", made)
    world.docker("exec", "geusemaker-postgresql-1", *client)
    world.extra["KEY"] = "the key of yet another one"
    refused = world.run("secrets", "import", "shop", "--from", "env:KEY", "--yes", code=5)
    assert "holds 1 credential, encrypted with the key that it has" in refused.stderr
    assert world.json("update", "shop", "--image", "n8n=n8nio/n8n:2.43.0", "--yes")["success"] is True
