"""Which names a container of the stand-in resolves, and what was taken from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geusemaker.local_cloud.containers.api import DockerError
from geusemaker.local_cloud.containers.networks import NetworkStore
from geusemaker.local_cloud.containers.record import CAPABILITIES, capabilities, new_record
from geusemaker.local_cloud.containers.services.container import Container
from geusemaker.local_cloud.containers.services.network import UnknownHostError, find_address
from geusemaker.local_cloud.machine import iptables


def container(folder: Path, name: str, *networks: str, status: str = "running", port: str = "") -> Path:
    made = folder / name
    made.mkdir()
    record: dict[str, Any] = {
        "State": {"Status": status},
        "NetworkSettings": {"Networks": {network: {"Aliases": [name]} for network in networks}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]} if port else {}},
    }
    (made / "config.v2.json").write_text(json.dumps(record))
    return made


def test_a_name_is_known_where_a_network_is_shared_with_one_that_runs(tmp_path: Path) -> None:
    web = container(tmp_path, "web", "front", port="8080")
    hub = container(tmp_path, "hub", "front", "back")
    store = container(tmp_path, "store", "back", port="5432")
    container(tmp_path, "ended", "back", status="exited")
    assert find_address(hub, "127.0.0.9", "web", 80) == ("127.0.0.9", 8080), "at the port that it is published at"
    assert find_address(web, "127.0.0.9", "hub") == find_address(store, "127.0.0.9", "hub") == ("127.0.0.9", 0)
    for whose, name in ((web, "store"), (store, "web"), (hub, "ended"), (hub, "nobody")):
        with pytest.raises(UnknownHostError, match=f"Name or service not known: {name}"):
            find_address(whose, "127.0.0.9", name)
    with pytest.raises(ConnectionRefusedError):
        find_address(web, "127.0.0.9", "hub", 5678)
    with pytest.raises(ConnectionRefusedError):
        find_address(web, "127.0.0.9", "localhost", 80)
    assert find_address(web, "127.0.0.9", "10.0.0.1", 80) == ("10.0.0.1", 80)


def test_a_network_is_there_until_nobody_is_in_it(tmp_path: Path) -> None:
    networks = NetworkStore(tmp_path)
    made = networks.create("p_a", {"project": "p"})
    networks.create("p_b", {"project": "p"})
    networks.create("other", {})
    with pytest.raises(DockerError, match="network with name p_a already exists"):
        networks.create("p_a", {})
    assert NetworkStore(tmp_path).get("p_a")["Id"] == made
    assert networks.prune("project=p", {"p_a"}) == ["p_b"]
    with pytest.raises(DockerError, match="network p_b not found"):
        networks.get("p_b")
    assert [one["Name"] for one in networks.all()] == ["other", "p_a"]


def host(**more: Any) -> dict[str, Any]:
    return {"Binds": [], "PortBindings": {}, "RestartPolicy": "no", "Memory": 0, "ShmSize": 0, **more}


def test_what_is_taken_from_a_container_is_not_there_and_what_is_none_is_refused(tmp_path: Path) -> None:
    assert capabilities(host()) == sorted(CAPABILITIES)
    assert capabilities(host(CapDrop=["ALL"], CapAdd=["SETUID", "CHOWN"])) == ["CHOWN", "SETUID"]
    assert "KILL" not in capabilities(host(CapDrop=["KILL"]))
    image = {"Id": "sha256:1", "Config": {"Entrypoint": ["/x"]}}
    config = {"Image": "a", "Env": [], "Labels": {}, "StopTimeout": 10}
    with pytest.raises(DockerError, match='invalid CapAdd: unknown capability: "CAP_FLY"'):
        new_record("1" * 64, "a", tmp_path, image, config, host(CapAdd=["FLY"]), {})
    record = new_record("1" * 64, "a", tmp_path, image, config, host(ReadonlyRootfs=True), {"n": {"Aliases": ["a"]}})
    assert record["HostConfig"]["ReadonlyRootfs"] is True and record["HostConfig"]["NetworkMode"] == "n"


def test_a_container_that_may_not_write_writes_nowhere_but_where_it_has_memory(tmp_path: Path) -> None:
    about = {"id": "1", "service": "a", "tag": "1", "loopback": "127.0.0.9", "lifeline": 0, "sockets": {}, "mounts": {}}
    told = {**about, "read_only": True, "memory": ["/tmp"], "capabilities": ["CHOWN"]}
    (tmp_path / "service.json").write_text(json.dumps(told))
    one = Container(tmp_path)
    assert one.path("/tmp/x").name == "x"
    with pytest.raises(OSError, match="Read-only file system"):
        one.path("/var/x")
    one.require("CHOWN")
    with pytest.raises(PermissionError, match="CAP_SETUID"):
        one.require("CHOWN", "SETUID")


def test_rules_are_kept_until_the_next_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("GEUSEMAKER_INSTANCE_ROOT", str(tmp_path))
    rule = ["DOCKER-USER", "--destination", "1.2.3.4", "--jump", "REJECT"]

    def run(*words: str) -> int:
        return iptables.main(["--wait", *words])

    assert run("--check", *rule) == 1 and "No chain" in capsys.readouterr().err
    assert run("--new-chain", "DOCKER-USER") == 0 and run("-N", "DOCKER-USER") == 1
    assert run("--check", *rule) == 1 and run("--insert", *rule) == 0 == run("--check", *rule)
    assert run("-S", "DOCKER-USER") == 0
    assert capsys.readouterr().out.endswith("-A DOCKER-USER --destination 1.2.3.4 --jump REJECT\n")
    assert run("--delete", *rule) == 0 and run("--delete", *rule) == 1 and run("--flush", "X") == 2
