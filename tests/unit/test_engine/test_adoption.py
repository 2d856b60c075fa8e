"""Taking into a state what exists and is not in it."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.engine.adoption import adopt, keep_generated

FILE_SYSTEM = "urn:pulumi:prod::geusemaker::aws:efs/fileSystem:FileSystem::data"
BACKUP_POLICY = "urn:pulumi:prod::geusemaker::aws:efs/backupPolicy:BackupPolicy::data"
INSTANCE = "urn:pulumi:prod::geusemaker::aws:ec2/instance:Instance::instance"
STACK = "urn:pulumi:prod::geusemaker::pulumi:pulumi:Stack::geusemaker-prod"
PROVIDER = "urn:pulumi:prod::geusemaker::pulumi:providers:aws::default"


def deployment(*resources: dict[str, Any], pending: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An exported state: the stack, its provider and what is given."""
    found: dict[str, Any] = {
        "resources": [
            {"urn": STACK, "type": "pulumi:pulumi:Stack"},
            {"urn": PROVIDER, "type": "pulumi:providers:aws", "id": "p1"},
            *resources,
        ]
    }
    return found | ({"pending_operations": pending} if pending is not None else {})


def test_a_pending_creation_becomes_what_it_was_to_be() -> None:
    wanted = {"urn": INSTANCE, "type": "aws:ec2/instance:Instance", "inputs": {"ami": "ami-1"}}
    other = {"type": "creating", "resource": {"urn": "urn:other", "type": "aws:ec2/eip:Eip"}}
    state = deployment(pending=[{"type": "creating", "resource": wanted}, other])
    adopt(state, {INSTANCE: "i-1"})
    assert state["resources"][-1] == wanted | {"id": "i-1", "outputs": {"ami": "ami-1"}}
    assert state["pending_operations"] == [other], "the refresh drops that one"
    assert len(state["resources"]) == 3


@pytest.mark.parametrize("stack_first", [True, False])
def test_lost_data_comes_before_what_uses_it_and_after_what_it_needs(stack_first: bool) -> None:
    state = deployment({"urn": INSTANCE, "type": "aws:ec2/instance:Instance", "id": "i-1"})
    if not stack_first:
        state["resources"][:2] = reversed(state["resources"][:2])
    adopt(state, {FILE_SYSTEM: "fs-1", BACKUP_POLICY: "fs-1"})
    first = (STACK, PROVIDER) if stack_first else (PROVIDER, STACK)
    assert [resource["urn"] for resource in state["resources"]] == [*first, FILE_SYSTEM, BACKUP_POLICY, INSTANCE]
    file_system = state["resources"][2]
    assert (file_system["type"], file_system["id"]) == ("aws:efs/fileSystem:FileSystem", "fs-1")
    assert (file_system["parent"], file_system["provider"]) == (STACK, f"{PROVIDER}::p1")
    assert file_system["protect"] and file_system["retainOnDelete"] and file_system["custom"]


def test_what_is_there_already_is_left_alone() -> None:
    known = {"urn": FILE_SYSTEM, "type": "aws:efs/fileSystem:FileSystem", "id": "fs-1"}
    state = deployment(known)
    adopt(state, {FILE_SYSTEM: "fs-2"})
    assert state["resources"][2:] == [known]


def test_a_state_without_a_provider_stays_as_it_is() -> None:
    state: dict[str, Any] = {"resources": []}
    adopt(state, {FILE_SYSTEM: "fs-1"})
    assert state["resources"] == []


def test_an_empty_state_gets_what_data_that_is_taken_up_needs_under_it() -> None:
    state: dict[str, Any] = {}
    address = "urn:pulumi:prod::geusemaker::aws:ec2/eip:Eip::address"
    aws = {"region": "eu-central-1", "version": "7.51.1", "allowedAccountIds": '["123456789012"]'}
    adopt(state, {FILE_SYSTEM: "fs-1", address: "eipalloc-1"}, aws)
    stack, provider, data, kept = state["resources"]
    assert stack == {"urn": STACK, "custom": False, "type": "pulumi:pulumi:Stack"}
    assert provider["urn"] == "urn:pulumi:prod::geusemaker::pulumi:providers:aws::default_7_51_1"
    assert provider["inputs"] == provider["outputs"] == aws and provider["id"]
    assert (data["id"], data["provider"]) == ("fs-1", f"{provider['urn']}::{provider['id']}")
    assert data["protect"] and data["retainOnDelete"]
    assert not kept["protect"] and not kept["retainOnDelete"], "an address goes with a destroy, as ever"


def test_a_generated_name_is_noted_as_such() -> None:
    read = {"__defaults": [], "creationToken": "data-1", "encrypted": True}
    state = deployment({"urn": FILE_SYSTEM, "type": "aws:efs/fileSystem:FileSystem", "inputs": read})
    assert not keep_generated(state, {INSTANCE})
    assert keep_generated(state, {FILE_SYSTEM, BACKUP_POLICY})
    assert state["resources"][-1]["inputs"]["__defaults"] == ["creationToken"]


def test_what_the_refresh_found_gone_has_no_name() -> None:
    assert not keep_generated(deployment(), {FILE_SYSTEM})
