"""What becomes of the data: what may not run on it, the dump before it is touched, and where a rollback goes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from geusemaker.local_cloud.containers.services.pgbinaries import installed
from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow  # minutes; its decisions are unit-tested as tables

MIGRATION = "AddFolders1700000000001"


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """PostgreSQL and n8n; v1, then v2 with a newer n8n, which migrates its database."""
    seen: dict[str, Any] = {}
    services = ("--service", "postgresql", "--service", "n8n")
    world.json("deploy", "box", "--target", "local", *services, "--image", "n8n=n8nio/n8n:1.100.0", "--yes")
    world.http("box", "n8n", "/rest/workflows", {"name": "invoices", "nodes": []})
    seen["v1"] = world.inspect("box")
    seen["refused"] = world.run("update", "box", "--image", "postgres=postgres:18.4", "--yes", "-o", "json", code=5)
    seen["after refusal"] = world.inspect("box")
    seen["dumps after refusal"] = dumps(world)
    with asking(world) as seen["asked"]:
        seen["rehearsed"] = world.json("rehearse", "box", "--image", "n8n=n8nio/n8n:1.123.5")
    seen["after rehearsal"] = world.inspect("box")
    seen["left"] = left_by_rehearsals(world)
    shown = world.run("update", "box", "--image", "n8n=n8nio/n8n:1.123.5", "--dry-run")
    seen["plan"] = " ".join(shown.stdout.split())
    world.json("update", "box", "--image", "n8n=n8nio/n8n:1.101.0", "--yes")
    seen["dumps"] = dumps(world)
    seen["back"] = world.json("rollback", "box", "--yes")
    seen["v3"] = world.inspect("box")
    return seen


@contextmanager
def asking(world: World) -> Iterator[list[str]]:
    """Ask n8n for its workflows again and again meanwhile; what came of each."""
    address = world.inspect("box")["services"]["n8n"]["address"]
    done, found = threading.Event(), list[str]()

    def ask() -> None:
        while not done.wait(0.2):
            try:
                with urllib.request.urlopen(f"http://{address}/rest/workflows", timeout=30) as answer:
                    found.append(f"{answer.status} {[one['name'] for one in json.loads(answer.read())['data']]}")
            except OSError as error:
                found.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def left_by_rehearsals(world: World) -> list[str]:
    """Containers, networks and files of one, on the instance."""
    shown = world.docker("ps", "-a", "--format", "{{.Names}}") + world.docker("network", "ls", "--format", "{{.Name}}")
    folders = world.cloud.glob("instances/*/disk/opt/geusemaker/rehearsal")
    return [name for name in (*shown.split(), *map(str, folders)) if "rehearsal" in name]


def dumps(world: World) -> dict[str, Path]:
    """``vN/DATABASE.dump`` → the dump."""
    found = world.cloud.glob("file_systems/*/.geusemaker/checkpoints/v*/*/*.dump")
    return {f"{path.parents[1].name}/{path.name}": path for path in found}


def data_check(document: dict[str, Any]) -> dict[str, Any]:
    checks = document["plan"]["checks"] if "plan" in document else document["checks"]
    [check] = [check for check in checks if check["name"] == "n8n data"]
    assert isinstance(check, dict)
    return check


def migrate(world: World) -> None:
    """A newer n8n's migration."""
    statement = f"INSERT INTO migrations (timestamp, name) VALUES (1700000000001, '{MIGRATION}')"
    world.docker("exec", "geusemaker-postgresql-1", "psql", "-U", "geusemaker", "-d", "n8n", "-c", statement)


def test_another_postgresql_major_is_refused_and_nothing_is_changed(told: dict[str, Any]) -> None:
    document = told["refused"].document
    assert "the data is of PostgreSQL 17" in document["error_message"]
    assert {check["status"] for check in document["checks"]} == {"pass", "fail"}
    for what in ("versions", "services", "instance"):
        assert told["after refusal"][what] == told["v1"][what]
    assert told["dumps after refusal"] == {}


def test_a_rehearsal_measures_the_way_back_and_touches_nothing(told: dict[str, Any]) -> None:
    found = told["rehearsed"]
    assert found["starts"] and "RemoveOldRoleColumn1750252139170" in found["migrations"] and not found["isolated"]
    # It is ready, and lets nobody in: that is not what its health API tells.
    assert found["back"]["n8n"]["problem"] == "it is ready, and does not work (POST /rest/login: HTTP 500)"
    assert found["way_back"]["commands"] == ["geusemaker rollback box v1 --with-data"]
    for what in ("versions", "services", "instance", "status"):
        assert told["after rehearsal"][what] == told["v1"][what] or what == "services"
    running = [
        {name: (one["image"], one["state"], one["pid"]) for name, one in told[when]["services"].items()}
        for when in ("v1", "after rehearsal")
    ]
    assert running[0] == running[1] and told["left"] == []
    assert len(told["asked"]) > 5 and set(told["asked"]) == {"200 ['invoices']"}
    assert "rehearsed at 20" in told["plan"] and "a rollback needs the data of before (n8n 1.100.0 on" in told["plan"]


def test_postgresql_is_dumped_before_n8n_changes(told: dict[str, Any]) -> None:
    dump = told["dumps"]["v1/n8n.dump"]
    assert dump.stat().st_mode & 0o777 == 0o600
    read = [f"{installed()[0].folder}/pg_restore", "--file=-", "--data-only", "--table=workflow_entity", str(dump)]
    assert "invoices" in subprocess.run(read, capture_output=True, text=True, check=True).stdout


def test_n8n_goes_back_where_nothing_was_migrated(world: World, told: dict[str, Any]) -> None:
    assert told["back"]["success"] and data_check(told["back"])["status"] == "pass"
    assert told["v3"]["services"]["n8n"]["image"].startswith("n8nio/n8n:1.100.0@")
    assert [found["name"] for found in world.http("box", "n8n", "/rest/workflows")["data"]] == ["invoices"]


def test_marks_and_migrations_decide_where_a_rollback_goes(world: World, told: dict[str, Any]) -> None:
    world.json("update", "box", "--image", "n8n=n8nio/n8n:1.102.0", "--yes")
    assert world.json("mark", "box", "3", "bad", "--reason", "loses webhooks")["default_target"] == 2
    # v3 is v1 under another number, and what is said of it holds for both.
    assert world.json("mark", "box", "2", "bad")["default_target"] is None
    assert world.json("mark", "box", "2", "good")["default_target"] == 2
    assert world.json("pin", "box", "1")["pinned"] is True
    assert world.json("mark", "box", "9", "bad", code=5)["error_type"] == "RefusedError"
    versions = {version["number"]: version for version in world.inspect("box")["versions"]}
    assert versions[3]["bad"] and versions[3]["note"].startswith("loses webhooks (")
    assert versions[1]["pinned"] and versions[1]["bad"] and versions[3]["same_as"] == 1 and not versions[2]["bad"]
    assert "superseded, bad" in world.run("history", "box", "--all-columns").stdout

    migrate(world)
    refused = world.json("rollback", "box", "--yes", code=5)
    assert MIGRATION in data_check(refused)["detail"] and "geusemaker restore box" in refused["error_message"]
    assert "a rollback to it with --with-data" in refused["error_message"]
    elsewhere = world.second_machine()
    assert MIGRATION in elsewhere.json("rollback", "box", "--yes", code=5)["error_message"]
    allowed = world.json("rollback", "box", "--yes", "--allow-data-downgrade")
    assert (allowed["success"], allowed["source_version"], data_check(allowed)["status"]) == (True, 2, "warn")
    assert allowed["newer_data"]["migrations"] == [MIGRATION] and allowed["warnings"]
    assert "on newer data" in elsewhere.run("history", "box").stdout
    assert {name for name in dumps(world) if name.endswith("/n8n.dump")} >= {"v1/n8n.dump", "v4/n8n.dump"}


def sql(world: World, database: str, statement: str) -> list[str]:
    """The rows that psql prints."""
    argv = ("exec", "geusemaker-postgresql-1", "psql", "-At", "-U", "geusemaker", "-d", database, "-c", statement)
    return world.docker(*argv).splitlines()


def write(world: World, number: int) -> None:
    """A workflow, a row and a point."""
    world.http("box", "n8n", "/rest/workflows", {"name": f"flow {number}", "nodes": []})
    sql(world, "reports", f"INSERT INTO sales VALUES ({number})")
    file = n8n_files(world) / f"workflows/w/executions/{number}/binary_data/f"
    file.parent.mkdir(parents=True)
    file.write_text(str(number))
    point = {"id": number, "vector": [0.1, 0.2]}
    world.http("box", "qdrant", "/collections/docs/points", {"points": [point]}, method="PUT")


def n8n_files(world: World) -> Path:
    """Where n8n 2 keeps what its executions received and made."""
    [home] = world.cloud.glob("file_systems/*/n8n")
    return home / "binaryData"


def written(world: World) -> tuple[set[str], list[str], int]:
    """The workflows, the rows, and how many points there are."""
    workflows = {found["name"] for found in world.http("box", "n8n", "/rest/workflows")["data"]}
    points = world.http("box", "qdrant", "/collections/docs")["result"]["points_count"]
    files = {path.read_text() for path in n8n_files(world).rglob("f")}
    assert files == {name.removeprefix("flow ") for name in workflows if name.startswith("flow ")}
    return workflows - {"invoices"}, sql(world, "reports", "SELECT x FROM sales ORDER BY 1"), points


EARLY = ({"flow 1"}, ["1"], 1)
LATE = ({"flow 1", "flow 2"}, ["1", "2"], 2)


def test_what_a_checkpoint_holds_is_restored_on_request_and_nothing_is_lost(world: World, told: dict[str, Any]) -> None:
    old = world.json("update", "box", "--service", "qdrant", "--image", "qdrant=qdrant/qdrant:v1.14.1", "--yes")
    vectors = {"vectors": {"size": 2, "distance": "Dot"}}
    world.http("box", "qdrant", "/collections/docs", vectors, method="PUT")
    sql(world, "postgres", "CREATE DATABASE reports")
    sql(world, "reports", "CREATE TABLE sales (x INT)")
    write(world, 1)

    images = ("--image", "qdrant=qdrant/qdrant:v1.15.0", "--image", "n8n=n8nio/n8n:1.103.0")
    updated = world.json("update", "box", *images, "--yes")
    [warned] = [check for check in updated["checks"] if check["name"] == "Qdrant data"]
    assert warned["status"] == "warn" and "only the snapshots that are taken first lead back" in warned["detail"]
    write(world, 2)
    checkpoint = world.json("checkpoints", "box")["default"]
    assert checkpoint.startswith(f"v{old['version']}/")

    # Back over a minor version of Qdrant: refused, with the way named; going back brings no data back.
    back = ("rollback", "box", "--to-version", str(old["version"]), "--yes")
    refused = world.json(*back, code=5)["error_message"]
    assert f"geusemaker restore box --checkpoint {checkpoint} --service qdrant" in refused
    assert world.json(*back, "--allow-data-downgrade")["success"]
    assert written(world) == LATE

    # Neither unasked, nor what the Qdrant that runs now cannot read: the rollback's own checkpoint is the newest.
    assert world.json("restore", "box", "--checkpoint", checkpoint, code=1)["error_type"] == "ConfirmationNeededError"
    assert "not within one minor version" in world.json("restore", "box", "--yes", code=5)["error_message"]
    assert written(world) == LATE

    restored = world.json("restore", "box", "--checkpoint", checkpoint, "--yes")
    assert restored["success"] and set(restored["health_status"].values()) == {True}
    assert written(world) == EARLY
    assert sql(world, restored["kept"]["reports"], "SELECT x FROM sales ORDER BY 1") == ["1", "2"]
    [aside] = restored["set_aside"]
    assert (n8n_files(world).parents[1] / aside / "workflows/w/executions/2/binary_data/f").read_text() == "2"
    assert "flow 2" in sql(world, restored["kept"]["n8n"], "SELECT name FROM workflow_entity")

    # Killed in the middle, it says so and nothing else is let in; then it runs again.
    assert restored["taken"] in world.run("history", "box").stdout
    undo = ("restore", "box", "--checkpoint", restored["taken"], "--yes")
    running = world.start(*undo)
    world.wait_for_line("postgresql dumping")
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert world.inspect("box")["status"] == "interrupted"
    assert "geusemaker restore box" in world.json("update", "box", *images, "--yes", code=5)["next_step"]
    assert world.json(*undo)["success"] and written(world) == LATE
    assert not any("_before_" in name for name in dumps(world)), "what a restore kept stays where it is"
    assert not any("_restoring_" in name for name in sql(world, "postgres", "SELECT datname FROM pg_database"))


def test_a_backup_brings_the_exact_rows_back_and_a_damaged_one_is_refused(world: World, told: dict[str, Any]) -> None:
    before = world.inspect("box")
    disk = world.instance_disk()
    units = disk / "etc/systemd/system"
    (units / "geusemaker-backup.timer.d").mkdir()
    (units / "geusemaker-backup.timer.d/soon.conf").write_text("[Timer]\nOnActiveSec=1\nOnUnitActiveSec=2\n")
    world.json("backup", "box", "--every", "24h", "--keep", "1")
    done = "file_systems/*/.geusemaker/backup.json"
    wait_until(lambda: any(world.cloud.glob(done)), 180, (disk / "var/log/syslog").read_text)
    planned = world.json("backup", "box", "--every", "off")["backups"]
    assert planned["last"] and planned["every_seconds"] is None and not (units / "geusemaker-backup.timer").exists()

    made = world.json("backup", "box")
    after = world.inspect("box")
    assert (after["versions"], after["status"]) == (before["versions"], "healthy"), "nothing is changed by it"
    assert after["backups"]["last"] == made["backup"]
    [newest, first] = world.json("backup", "box", "--list")["backups"]
    assert (newest["operation"], newest["planned"]) == (made["backup"], False)
    assert (first["operation"], first["planned"]) == (planned["last"], True)
    assert newest["version"] == first["version"] == after["active_version"]
    assert [held["name"] for held in newest["holds"]] == [held["name"] for held in first["holds"]]
    write(world, 9)
    sql(world, "reports", "DELETE FROM sales WHERE x = 1")
    restored = world.json("restore", "box", "--backup", planned["last"], "--yes")
    assert restored["success"] and written(world) == LATE
    assert sql(world, restored["kept"]["reports"], "SELECT x FROM sales ORDER BY 1") == ["2", "9"]

    [copy] = world.cloud.glob(f"file_systems/*/.geusemaker/checkpoints/{made['checkpoint']['checkpoint']}")
    data = bytearray((copy / "reports.dump").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "reports.dump").write_bytes(data)
    refused = world.json("restore", "box", "--backup", "latest", "--yes", code=1)["error_message"]
    assert "reports.dump" in refused and made["backup"] in refused
    assert written(world) == LATE and world.inspect("box")["status"] == "healthy"


REMOVED = "RemoveOldRoleColumn1750252139170"
"""What n8n 1.111.0 runs; its stand-in takes the column away as the real one does."""


def test_software_and_data_go_back_in_one_operation_killed_or_not(world: World, told: dict[str, Any]) -> None:
    base = world.json("update", "box", "--image", "n8n=n8nio/n8n:1.104.0", "--yes")["version"]
    updated = world.json("update", "box", "--image", "n8n=n8nio/n8n:1.111.0", "--yes")
    back = f"geusemaker rollback box v{base} --with-data"
    assert (updated["way_back"]["kind"], updated["undo"]) == ("with-data", back)
    write(world, 3)
    late = ({"flow 1", "flow 2", "flow 3"}, ["1", "2", "3"], 3)
    assert back.partition("box ")[2].split()[1] in data_check(world.json("rollback", "box", "--yes", code=5))["detail"]

    # Killed when the databases are about to change places: the instance goes on by itself, recover puts all back.
    words = (*back.split()[1:], "--yes")
    running = world.start(*words)
    world.wait_for_line("n8n stopping")
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert world.inspect("box")["status"] == "interrupted"
    assert world.json("recover", "box", "--yes")["success"]
    assert written(world) == late and "n8nio/n8n:1.111.0@" in world.inspect("box")["services"]["n8n"]["image"]
    assert REMOVED in sql(world, "n8n", "SELECT name FROM migrations")

    shown = world.json(*words, "--dry-run")["plan"]["data_return"]
    assert shown["checkpoint"] == f"v{base}/{updated['operation_id']}"
    done = world.json(*words)
    assert done["success"] and (done["restored"], done["source_version"]) == (shown["checkpoint"], base)
    assert written(world) == ({"flow 1", "flow 2"}, ["1", "2"], 3), "the collections stay"
    assert REMOVED not in sql(world, "n8n", "SELECT name FROM migrations"), "no newer n8n was started on it"
    assert sql(world, "n8n", 'SELECT count(role) FROM "user"') == ["0"], "the column is there"
    assert sql(world, done["kept"]["reports"], "SELECT x FROM sales ORDER BY 1") == ["1", "2", "3"]
    assert "flow 3" in sql(world, done["kept"]["n8n"], "SELECT name FROM workflow_entity")
    [aside] = done["set_aside"]
    assert (n8n_files(world).parents[1] / aside / "workflows/w/executions/3/binary_data/f").read_text() == "3"
    after = world.inspect("box")
    assert after["status"] == "healthy" and after["active_version"] == done["version"]
    newest = after["versions"][-1]
    assert (newest["kind"], newest["data_of"], newest["number"]) == ("rollback", done["restored"], done["version"])
    assert not any("_restoring_" in name for name in sql(world, "postgres", "SELECT datname FROM pg_database"))
