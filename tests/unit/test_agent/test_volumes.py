"""The data volume: made a file system once in its life, mounted or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.verbs.manifest import disk_manifest
from tests.unit.test_agent.fakes import VOLUME, Machine
from tests.unit.test_agent.support import QDRANT, DirectAgent, apply_document, do, mount_document

DOCUMENT = {"data_volume_id": VOLUME}
OTHER = "vol-0fedcba9876543210"


def mount(agent: DirectAgent, **changes: Any) -> dict[str, Any]:
    return do(agent, "mount", **mount_document(**{**DOCUMENT, **changes}))


def refused(agent: DirectAgent, **changes: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        mount(agent, **changes)
    return caught.value


def remembered(agent: DirectAgent) -> dict[str, Any]:
    found = agent.store.data_volume()
    assert found is not None
    return found


@pytest.fixture
def with_volume(agent: DirectAgent, machine: Machine) -> DirectAgent:
    """The agent, on a machine whose new data volume it has mounted."""
    machine.attach()
    mount(agent)
    return agent


def test_a_new_volume_is_made_a_file_system_and_mounted_by_its_uuid_before_docker_comes(
    with_volume: DirectAgent, machine: Machine
) -> None:
    known = remembered(with_volume)
    assert (known["volume_id"], known["formatted"]) == (VOLUME, True)
    [made] = machine.calls("mkfs.ext4")
    assert made[1:] == ["-q", "-F", "-U", known["uuid"], "-L", "geusemaker", "/dev/nvme1n1"]
    unit = (machine.root / "etc/systemd/system/mnt-data.mount").read_text()
    assert f"What=/dev/disk/by-uuid/{known['uuid']}\nWhere=/mnt/data\nType=ext4\n" in unit
    assert "local-fs.target" not in unit, "a volume that is not there must not keep the machine from booting"
    drop_in = (machine.root / "etc/systemd/system/docker.service.d/geusemaker.conf").read_text()
    assert "RequiresMountsFor=/mnt/efs /mnt/data\n" in drop_in
    calls = [" ".join(call) for call in machine.calls()]
    mounting = next(index for index, call in enumerate(calls) if "enable --now mnt-data.mount" in call)
    installing = next(index for index, call in enumerate(calls) if "install" in call and "docker.io" in call)
    assert mounting < installing


def test_again_it_changes_nothing(with_volume: DirectAgent, machine: Machine) -> None:
    before = len(machine.calls())
    assert mount(with_volume)["unchanged"] is True
    assert machine.calls()[before:] == [["systemctl", "is-active", "docker.service"]]


def test_the_file_system_fills_the_volume_once_the_machine_sees_its_new_size(
    with_volume: DirectAgent, machine: Machine
) -> None:
    machine.see_volume_sizes(20, 20, 40)
    assert mount(with_volume, data_volume_gib=40, deadline_seconds=10)["unchanged"] is True, (
        "nothing was unmounted for it"
    )
    assert len(machine.calls("blockdev")) == 3
    assert machine.calls("resize2fs") == [["resize2fs", "/dev/nvme1n1"]]


def test_a_volume_whose_new_size_does_not_show_is_told(with_volume: DirectAgent, machine: Machine) -> None:
    machine.see_volume_sizes(20)
    error = refused(with_volume, data_volume_gib=40, deadline_seconds=0)
    assert error.code == "no_volume" and "40 GiB, and the instance sees only 20 GiB" in error.message
    assert machine.calls("resize2fs") == []


@pytest.mark.parametrize("program", ["blockdev", "resize2fs"])
def test_a_file_system_that_cannot_be_enlarged_is_told(
    with_volume: DirectAgent, machine: Machine, program: str
) -> None:
    machine.see_volume_sizes(40)
    machine.fail(program, "Input/output error")
    error = refused(with_volume, data_volume_gib=40)
    assert error.code == "mount_failed" and VOLUME in error.message and "Input/output error" in error.message


def test_another_instance_mounts_what_is_there(with_volume: DirectAgent, machine: Machine) -> None:
    machine.unmount("/mnt/data")
    assert mount(with_volume, instance_id="i-2")["unchanged"] is False
    assert len(machine.calls("mkfs.ext4")) == 1


def test_a_device_under_another_name_is_found_by_its_volume(with_volume: DirectAgent, machine: Machine) -> None:
    content = (machine.root / "dev/nvme1n1").read_text()
    (machine.root / "dev/nvme1n1").unlink()
    (machine.root / "dev/disk/by-id" / f"nvme-Amazon_Elastic_Block_Store_{VOLUME.replace('-', '')}").unlink()
    machine.attach(name="nvme2n1").write_text(content)
    machine.unmount("/mnt/data")
    mount(with_volume, instance_id="i-2")
    assert with_volume.volume_device(VOLUME) == "/dev/nvme2n1" and with_volume.is_volume_mounted(VOLUME)


def test_an_instance_of_the_xen_kind_names_its_device_as_attached(agent: DirectAgent, machine: Machine) -> None:
    (machine.root / "dev").mkdir()
    (machine.root / "dev/xvdf").touch()
    assert agent.volume_device(VOLUME) == "/dev/xvdf"


def test_a_volume_made_of_a_snapshot_of_this_one_is_taken(with_volume: DirectAgent, machine: Machine) -> None:
    machine.unmount("/mnt/data")
    machine.attach(OTHER, "nvme1n1")
    mount(with_volume, data_volume_id=OTHER)
    assert remembered(with_volume)["volume_id"] == OTHER
    assert len(machine.calls("mkfs.ext4")) == 1


def test_an_empty_volume_in_the_place_of_one_that_was_used_is_a_loss(
    with_volume: DirectAgent, machine: Machine
) -> None:
    machine.unmount("/mnt/data")
    machine.attach(OTHER, "nvme2n1")
    error = refused(with_volume, data_volume_id=OTHER)
    assert error.code == "data_loss" and f"{OTHER} is empty" in error.message and VOLUME in error.message
    assert len(machine.calls("mkfs.ext4")) == 1


def test_another_file_system_on_it_is_a_loss(with_volume: DirectAgent, machine: Machine) -> None:
    machine.unmount("/mnt/data")
    (machine.root / "dev/nvme1n1").write_text("UUID=0-1\nTYPE=ext4\n")
    error = refused(with_volume)
    assert error.code == "data_loss" and "another file system (0-1)" in error.message


@pytest.mark.parametrize(("content", "named"), [("UUID=0-1\nTYPE=xfs\n", "xfs"), ("PTTYPE=gpt\n", "unknown")])
def test_what_somebody_else_has_on_it_is_left_as_it_is(
    agent: DirectAgent, machine: Machine, content: str, named: str
) -> None:
    machine.attach().write_text(content)
    error = refused(agent)
    assert error.code == "foreign_data" and named in error.message
    assert machine.calls("mkfs.ext4") == []


def test_a_volume_whose_file_system_was_half_made_is_made_again(agent: DirectAgent, machine: Machine) -> None:
    device = machine.attach()
    machine.fail("mkfs.ext4", "killed")
    assert "killed" in refused(agent).message
    half = remembered(agent)
    assert half["formatted"] is False
    machine.update(fail={})
    device.write_text(f"UUID={half['uuid']}\nTYPE=ext4\n")
    mount(agent)
    assert remembered(agent) == {**half, "formatted": True}


def test_a_device_that_cannot_be_read_is_not_taken_for_an_empty_one(agent: DirectAgent, machine: Machine) -> None:
    machine.attach()
    machine.fail("blkid", "Input/output error", 4)
    assert "Input/output error" in refused(agent).message
    assert machine.calls("mkfs.ext4") == []


def test_a_volume_without_a_device_is_told(agent: DirectAgent) -> None:
    error = refused(agent)
    assert (error.code, VOLUME in error.message) == ("no_volume", True)


def test_nothing_is_started_without_it(
    with_volume: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.publish(QDRANT)
    directories = [{"path": "qdrant", "uid": 0, "gid": 0, "mode": 0o750, "on": "volume"}]
    document = {**apply_document("op-1", {"qdrant": QDRANT}, directories=directories), **DOCUMENT}
    machine.unmount("/mnt/data")
    monkeypatch.setattr("geusemaker.agent.verbs.apply.MOUNT_PATIENCE", 0)
    machine.fail("systemctl enable --now mnt-data.mount", "mount: special device does not exist")
    with pytest.raises(AgentError) as caught:
        do(with_volume, "apply", **document)
    assert caught.value.code == "mount_failed" and "/mnt/data" in caught.value.message
    assert with_volume.containers() == {}
    (machine.root / "dev/nvme9n1").touch()
    table = machine.root / "proc/self/mountinfo"
    table.write_text(table.read_text() + "41 22 0:41 / /mnt/data rw - ext4 /dev/nvme9n1 rw\n")
    with pytest.raises(AgentError) as caught:
        do(with_volume, "apply", **document)
    assert caught.value.code == "wrong_volume" and "/dev/nvme9n1" in caught.value.message
    assert with_volume.containers() == {}


def test_qdrants_folder_is_made_and_looked_for_on_it(with_volume: DirectAgent, machine: Machine) -> None:
    machine.publish(QDRANT)
    directories = [{"path": "qdrant", "uid": 0, "gid": 0, "mode": 0o750, "on": "volume"}]
    do(with_volume, "apply", **{**apply_document("op-1", {"qdrant": QDRANT}, directories=directories), **DOCUMENT})
    assert (machine.root / "mnt/data/qdrant").is_dir() and not (machine.root / "mnt/efs/qdrant").exists()
    (machine.root / "mnt/data/qdrant/collections/docs").mkdir(parents=True)
    assert disk_manifest(with_volume.store, {"efs": with_volume.efs, "volume": with_volume.data})["qdrant"] == ["docs"]
    assert do(with_volume, "manifest")["services"]["qdrant"]["collections"] == ["docs"]


def test_health_tells_of_it(with_volume: DirectAgent, machine: Machine) -> None:
    told = do(with_volume, "health", services={})["data_volume"]
    assert (told["id"], told["mounted"]) == (VOLUME, True) and 0 < told["free_bytes"] <= told["total_bytes"]
    machine.unmount("/mnt/data")
    assert do(with_volume, "health", services={})["data_volume"] == {"id": VOLUME, "mounted": False}
    with pytest.raises(AgentError, match="not mounted"):
        do(with_volume, "manifest")


def test_a_deployment_from_before_there_was_one_tells_of_none(mounted: DirectAgent, machine: Machine) -> None:
    assert do(mounted, "health", services={})["data_volume"] is None
    drop_in = (machine.root / "etc/systemd/system/docker.service.d/geusemaker.conf").read_text()
    assert "RequiresMountsFor=/mnt/efs\n" in drop_in
    assert "data_volume" not in json.loads(mounted.store.sentinel_file.read_text())


def test_folders_of_own_services_on_it_are_told(with_volume: DirectAgent) -> None:
    (with_volume.data / "own/chat/db").mkdir(parents=True)
    (with_volume.efs / "own/chat/files").mkdir(parents=True)
    assert do(with_volume, "manifest")["services"]["chat"] == {"folders": ["efs/files", "volume/db"]}
