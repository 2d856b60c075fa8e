"""InspectService: looks, changes nothing, and says what state things are in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.errors import (
    DeploymentNotFoundError,
    EnvironmentProblemError,
    HostError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.services.inspect.records import read_records
from geusemaker.services.inspect.service import InspectService
from tests.unit.fakes import Killed, World


def test_everything_known(deployed: World) -> None:
    deployed.n8n("1.101.0", reason="new nodes")
    deployed.rollback()

    found = deployed.inspect()

    assert (found.deployment, found.target, found.region, found.active_version) == ("prod", "local", "us-east-1", 3)
    assert (found.status, found.summary) == ("healthy", "v3 is active and healthy.")
    assert [(known.number, known.provenance.kind) for known in found.versions] == [
        (1, "deploy"),
        (2, "update"),
        (3, "rollback"),
    ]
    assert found.instance is not None and (found.instance.id, found.instance.type) == ("i-1", "t3.large")
    assert found.efs is not None and (found.efs.id, found.efs.mounted) == ("fs-1", True)
    assert found.services["n8n"].healthy and found.services["n8n"].pid == 7
    assert len(found.rollbacks) == 1 and found.rollbacks[0].health_status and not found.problems


def test_a_number_of_an_interrupted_attempt_is_told_as_used_up(deployed: World) -> None:
    assert (deployed.inspect().unused_numbers, deployed.inspect().default_target) == ([], None)
    deployed.fail_at("host.prefetch", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError):
        deployed.n8n("1.101.0")
    assert deployed.n8n("1.101.0").version == 3
    found = deployed.inspect()
    assert ([known.number for known in found.versions], found.unused_numbers) == ([1, 3], [2])
    assert found.default_target == 1


def test_history_without_the_journal_and_with_a_dead_instance(deployed: World) -> None:
    """As from a second machine, at night."""
    deployed.n8n("1.101.0")
    deployed.rollback()
    deployed.records.records.clear()
    deployed.host_reachable = False

    found = deployed.inspect()

    assert [record.version for record in found.rollbacks] == [3] and len(found.versions) == 3
    assert found.status == "unreachable" and found.problems == ["The instance cannot be reached."]
    assert found.efs is not None and not found.efs.mounted


def test_without_aws_the_history_is_there(deployed: World) -> None:
    deployed.cloud.reachable = False
    found = deployed.inspect()
    assert found.instance is None and found.efs is None and len(found.versions) == 1
    assert found.problems == ["AWS cannot be asked: no route."] and found.status == "unreachable"
    assert found.summary == "v1 should run, but it could not be looked at: AWS cannot be asked: no route."


def test_a_file_system_that_is_gone_is_told_and_nothing_to_recover_past(deployed: World) -> None:
    deployed.cloud.file_system = None
    found = deployed.inspect()
    assert (found.status, found.efs) == ("unhealthy", None)
    assert "its file system is gone: none has the tag geusemaker:deployment=prod" in found.summary
    with pytest.raises(RefusedError, match="the deployment's file system is gone"):
        deployed.recover()


def test_a_data_volume_that_is_gone_is_told_as_well(deployed: World) -> None:
    told = deployed.inspect().data_volume
    assert told is not None and (told.id, told.mounted) == ("vol-1", True)
    deployed.cloud.volume = None
    found = deployed.inspect()
    assert (found.status, found.data_volume) == ("unhealthy", None)
    assert "its data volume is gone: none has the tag geusemaker:deployment=prod" in found.summary
    with pytest.raises(RefusedError, match="data volume: the deployment's is gone"):
        deployed.recover()


def test_an_image_that_fails_after_a_failed_first_deploy(world: World) -> None:
    world.machine.ill.add("n8n")
    world.deploy()
    found = world.inspect()
    assert found.status == "failed" and not found.services["n8n"].healthy


def test_a_killed_operation_is_told(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    found = deployed.inspect()
    assert found.interruption is not None and not found.interruption.running and found.status == "interrupted"


def test_killed_after_its_work_is_no_interruption(deployed: World) -> None:
    deployed.kill_at = "engine.set_intent:done"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    found = deployed.inspect()
    assert found.interruption is None and (found.status, found.active_version) == ("healthy", 2)
    assert "update to v2 by ann was killed" in found.summary and "geusemaker recover prod" in found.summary


def test_a_lease_that_a_killed_operation_holds_is_told(deployed: World) -> None:
    deployed.kill_at = "engine.set_intent:begun"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    found = deployed.inspect()
    assert found.status == "healthy" and "A killed update of ann still holds the lease" in found.summary


def test_no_such_deployment(world: World) -> None:
    world.engine.create()
    for ask in (world.inspect, lambda: InspectService(world.collaborators()).info("", "")):
        with pytest.raises(DeploymentNotFoundError):
            ask()


def test_info_says_where_credentials_are_and_never_what(deployed: World) -> None:
    info = InspectService(deployed.collaborators()).info("/home", "file:///backend")

    assert info.address == "127.0.0.9" and info.ssh_command == "geusemaker ssh prod"
    assert set(info.services) == set(deployed.machine.services)
    assert info.credentials["crawl4ai_token"] == "geusemaker secrets show prod crawl4ai_token"
    assert deployed.engine.secrets is not None
    for secret in deployed.engine.secrets.texts:
        assert secret not in info.model_dump_json()


def test_info_of_what_does_not_run(deployed: World) -> None:
    deployed.host_reachable = False
    assert InspectService(deployed.collaborators()).info("", "").services["n8n"] == "127.0.0.1:5678"
    deployed.cloud.instance = None
    info = InspectService(deployed.collaborators()).info("", "")
    assert (info.address, info.ssh_command, info.services) == (None, None, {})


# --- the journal's copy beside the data --------------------------------------------------------------------------


def test_a_second_machine_reads_the_details_of_rollbacks_from_the_copy(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.rollback(reason="the webhooks broke")
    deployed.n8n("1.102.0-crash")
    here = deployed.inspect().rollbacks
    deployed.records.records.clear()  # as on a machine that has run nothing yet

    there = deployed.inspect().rollbacks

    assert there == here
    assert (there[0].reason, there[0].trigger) == ("the webhooks broke", "manual")
    assert there[1].trigger == "health_check_failed" and "exited" in there[1].reason
    assert all(record.health_status and record.duration_seconds for record in there)


def test_the_copy_is_read_only_for_what_this_machine_does_not_know(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.inspect()
    assert "host.journal" not in deployed.calls, "there was no rollback"
    deployed.rollback()
    deployed.inspect()
    assert "host.journal" not in deployed.calls, "it was made from here"
    deployed.records.records.pop()
    deployed.inspect()
    assert deployed.calls.count("host.journal") == 1


def test_what_this_machine_recorded_comes_before_the_copy(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.rollback(reason="from here")
    deployed.rollback(to_version=2, reason="from there")
    deployed.records.records.pop()
    for entry in deployed.machine.journal:
        if entry["rollback"]:
            entry["rollback"]["reason"] = f"copied: {entry['rollback']['reason']}"
    assert [record.reason for record in deployed.inspect().rollbacks] == ["from here", "copied: from there"]


def test_the_copy_holds_no_manifest_and_every_outcome(deployed: World) -> None:
    """The manifests list what the operator's data is; they stay in the workspace, all but n8n's migrations."""
    deployed.n8n("1.101.0-crash")
    assert [(entry["number"], entry["success"]) for entry in deployed.machine.journal] == [
        (1, True),
        (2, False),
        (3, True),
    ]
    assert deployed.records.records[-1].manifest_before is not None
    copies = read_records(deployed.machine.journal)
    migrated = {"services": {"n8n": {"migrations": ["Initial1"]}}}
    assert [copy.manifest_before for copy in copies.values()] == [None, None, None]
    assert [copy.manifest_after for copy in copies.values()] == [migrated, None, migrated]
    originals = [
        record.model_copy(
            update={"manifest_before": None, "manifest_after": migrated if record.manifest_after else None}
        )
        for record in deployed.records.records
    ]
    assert list(copies.values()) == originals


def test_a_copy_that_cannot_be_written_or_read_is_told_and_hinders_nothing(deployed: World) -> None:
    deployed.n8n("1.101.0")
    deployed.host_failures["journal"] = HostError("No space left.", code="no_space")
    assert deployed.rollback().success
    assert "The journal's copy was not written: No space left." in deployed.messages("warning")

    deployed.records.records.clear()
    found = deployed.inspect()
    assert (found.status, found.problems) == ("healthy", ["No space left."])
    assert [record.version for record in found.rollbacks] == [3]


@pytest.mark.parametrize("entry", [None, 7, "cut sho", [], {}, {"operation": "op-001", "outcome": "done"}])
def test_entries_that_are_no_records_are_passed_over(deployed: World, entry: Any) -> None:
    (record,) = deployed.machine.journal
    assert list(read_records([entry, record, entry])) == ["op-001"]


ENTRIES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda more: (
        st.lists(more, max_size=3)
        | st.dictionaries(st.sampled_from(["operation_id", "kind", "number", "rollback"]), more, max_size=3)
    ),
    max_leaves=6,
)


@given(ENTRIES)
def test_any_entry_is_read_or_passed_over(entry: Any) -> None:
    assert read_records([entry]) == {}


def test_what_was_found_missing_is_told_until_another_version_is_made(deployed: World) -> None:
    """The history says succeeded, and all answers: nothing else would ever tell of it again."""
    deployed.machine.after_apply = lambda: deployed.machine.data["qdrant"].update(collections=[])
    assert deployed.n8n("1.101.0").exit_code == 4
    deployed.machine.after_apply = lambda: None
    [note] = deployed.inspect().notes
    assert note.startswith("When v2 was made") and "DATA IS MISSING" in note and "lost collection docs" in note
    assert deployed.rollback().success and deployed.inspect().notes == []


def test_an_aws_that_is_away_at_the_end_leaves_no_lease_held(deployed: World) -> None:
    deployed.fail_at("cloud.find_instance#2", EnvironmentProblemError("AWS is away."))
    result = deployed.n8n("1.101.0")
    assert result.exit_code == 4 and "could not be verified (AWS is away)" in (result.error_message or "")
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert "AWS is away" in deployed.inspect().notes[0]
