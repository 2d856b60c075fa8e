"""The plan guard: every way a plan could hurt data is refused, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.models.plan import ResourceOperation
from geusemaker.services.guard import DATA_TYPES, SINGLE, engine_refusals, refusals, same_plan
from tests.unit.fakes import ADDRESS, BACKUP_POLICY, COMMAND, FILE_SYSTEM, INSTANCE, MOUNT_TARGET

ACCESS_POINT = "aws:efs/accessPoint:AccessPoint"
VOLUME = "aws:ebs/volume:Volume"
ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment"


def operation(op: str, type: str, name: str = "data", **more: Any) -> ResourceOperation:
    """One step of a plan, on a resource that exists and is protected unless told otherwise."""
    values: dict[str, Any] = {"protected": op != "create", "provider_id": "" if op == "create" else f"{name}-id"}
    return ResourceOperation(op=op, type=type, name=name, urn=f"urn::{type}::{name}", **(values | more))


HARMFUL = [
    pytest.param([operation("delete", FILE_SYSTEM)], "delete the file system data-id", id="EFS deleted"),
    pytest.param(
        [operation("replace", FILE_SYSTEM, replaces=("encrypted",))],
        "replace the file system data-id, because encrypted changed",
        id="EFS encryption changed",
    ),
    pytest.param([operation("create-replacement", FILE_SYSTEM)], "replace the file system", id="EFS created anew"),
    pytest.param([operation("delete-replaced", FILE_SYSTEM)], "replace the file system", id="EFS replaced, old half"),
    pytest.param([operation("discard", FILE_SYSTEM)], "delete the file system", id="EFS dropped from the state"),
    pytest.param([operation("discard-replaced", FILE_SYSTEM)], "replace the file system", id="EFS dropped, replaced"),
    pytest.param([operation("import-replacement", FILE_SYSTEM)], "replace the file system", id="EFS imported instead"),
    pytest.param([operation("read-replacement", FILE_SYSTEM)], "replace the file system", id="EFS read instead"),
    pytest.param(
        [operation("create", FILE_SYSTEM, "renamed"), operation("delete", FILE_SYSTEM)],
        "create a second, empty file system",
        id="EFS renamed",
    ),
    pytest.param([operation("create", FILE_SYSTEM)], "create a second, empty file system", id="EFS lost from state"),
    pytest.param(
        [operation("same", FILE_SYSTEM, protected=False)],
        "file system data-id is no longer protected",
        id="EFS unprotected by hand",
    ),
    pytest.param(
        [operation("update", FILE_SYSTEM, unprotects=True)],
        "take the protection off the file system data-id",
        id="protection taken off by the program",
    ),
    pytest.param(
        [operation("same", FILE_SYSTEM, provider_id="fs-2")],
        "Pulumi's state names the file system fs-2, but the data is on data-id",
        id="EFS id swapped in the state",
    ),
    pytest.param(
        [operation("replace", BACKUP_POLICY, replaces=("fileSystemId",))],
        "replace the backup policy data-id, because fileSystemId changed",
        id="backups moved to another EFS",
    ),
    pytest.param(
        [operation("update", FILE_SYSTEM, protected=False)], "no longer protected", id="EFS unprotected and changed"
    ),
    pytest.param(
        [operation("replace", MOUNT_TARGET, replaces=("subnetId",))],
        "replace the mount target data-id, because subnetId changed",
        id="mount target moved",
    ),
    pytest.param([operation("delete", MOUNT_TARGET)], "delete the mount target", id="mount target deleted"),
    pytest.param([operation("create", MOUNT_TARGET)], "second, empty mount target", id="another mount target"),
    pytest.param([operation("delete", BACKUP_POLICY)], "delete the backup policy", id="backups ended"),
    pytest.param([operation("delete", ACCESS_POINT)], "delete the access point", id="access point deleted"),
    pytest.param([operation("delete", VOLUME)], "delete the data volume", id="volume deleted"),
    pytest.param([operation("replace", ATTACHMENT)], "replace the data volume attachment", id="volume detached"),
    pytest.param(
        [operation("replace", INSTANCE, "instance", replaces=("ami", "subnetId"))],
        "replace the instance instance-id, because ami, subnetId changed (--allow-replace allows that)",
        id="instance replaced",
    ),
    pytest.param([operation("delete-replaced", INSTANCE, "instance")], "replace the instance", id="instance, old half"),
    pytest.param([operation("delete", INSTANCE, "instance")], "delete the instance instance-id", id="instance deleted"),
]


@pytest.mark.parametrize(("operations", "reason"), HARMFUL)
def test_harm_is_refused(operations: list[ResourceOperation], reason: str) -> None:
    harmless = operation("same", COMMAND, "apply")
    assert reason in "; ".join(refusals([harmless, *operations], has_data=True, file_system="data-id"))


@pytest.mark.parametrize(("operations", "reason"), [case for case in HARMFUL if "instance" not in str(case.id)])
def test_allowing_another_instance_allows_no_harm_to_data(operations: list[ResourceOperation], reason: str) -> None:
    assert reason in "; ".join(refusals(operations, has_data=True, allow_replace=True, file_system="data-id"))


@pytest.mark.parametrize(
    ("operations", "has_data"),
    [
        ([operation("same", type) for type in DATA_TYPES], True),
        ([operation("update", FILE_SYSTEM), operation("update", MOUNT_TARGET)], True),
        ([operation("create", type) for type in DATA_TYPES], False),
        ([operation("same", FILE_SYSTEM, protected=False)], False),
        ([operation("update", INSTANCE, "instance", changed=("instanceType",))], True),
        ([operation("create", INSTANCE, "instance")], True),
        ([operation("delete", INSTANCE, "instance")], False),
        ([operation("replace", COMMAND, "apply"), operation("delete", ADDRESS, "address")], True),
        ([], True),
    ],
)
def test_the_ordinary_is_allowed(operations: list[ResourceOperation], has_data: bool) -> None:
    assert refusals(operations, has_data=has_data) == []


@pytest.mark.parametrize("has_data", [True, False])
def test_data_is_not_replaced_even_before_the_first_healthy_version(has_data: bool) -> None:
    assert refusals([operation("replace", FILE_SYSTEM)], has_data=has_data)


def test_a_file_system_that_is_to_be_created_has_no_id_to_compare() -> None:
    assert refusals([operation("create", FILE_SYSTEM)], has_data=False, file_system="data-id") == []
    assert refusals([operation("same", FILE_SYSTEM)], has_data=True, file_system="data-id") == []


def test_a_new_instance_only_after_the_old_one_is_gone() -> None:
    new, old = operation("create-replacement", INSTANCE, "instance"), operation("delete-replaced", INSTANCE, "instance")

    assert refusals([old, new], has_data=True, allow_replace=True) == []
    assert "two would serve one data set" in refusals([new, old], has_data=True, allow_replace=True)[0]


INSTANCE_REPLACED = operation("replace", INSTANCE, "instance", replaces=("ami",))


@pytest.mark.parametrize("op", ["replace", "delete-replaced", "create-replacement"])
@pytest.mark.parametrize("replaces", [(), ("instanceId",)])
def test_the_data_volume_goes_over_to_an_allowed_new_instance(op: str, replaces: tuple[str, ...]) -> None:
    attachment = operation(op, ATTACHMENT, protected=False, replaces=replaces)

    assert refusals([attachment, INSTANCE_REPLACED], has_data=True, allow_replace=True) == []
    assert "replace the data volume attachment" in refusals([attachment, INSTANCE_REPLACED], has_data=True)[0]
    assert "replace the data volume attachment" in refusals([attachment], has_data=True, allow_replace=True)[0]


@pytest.mark.parametrize(
    ("attachment", "reason"),
    [
        (
            operation("replace", ATTACHMENT, replaces=("instanceId", "volumeId")),
            "replace the data volume attachment data-id, because instanceId, volumeId changed",
        ),
        (operation("replace", ATTACHMENT, replaces=("deviceName",)), "because deviceName changed"),
        (operation("delete", ATTACHMENT), "delete the data volume attachment data-id"),
    ],
)
def test_a_new_instance_excuses_nothing_else_of_the_attachment(attachment: ResourceOperation, reason: str) -> None:
    assert reason in "; ".join(refusals([attachment, INSTANCE_REPLACED], has_data=True, allow_replace=True))


@pytest.mark.parametrize("replaces", [(), ("instanceId",)])
def test_the_data_volume_itself_is_not_replaced_with_an_instance(replaces: tuple[str, ...]) -> None:
    volume = operation("replace", VOLUME, replaces=replaces)
    assert "replace the data volume" in refusals([volume, INSTANCE_REPLACED], has_data=True, allow_replace=True)[0]


def test_the_volume_has_to_be_protected_and_its_attachment_cannot_be() -> None:
    assert refusals([operation("same", ATTACHMENT, protected=False)], has_data=True) == []
    assert "no longer protected" in refusals([operation("same", VOLUME, protected=False)], has_data=True)[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            'resource "urn:pulumi:prod::geusemaker::aws:efs/backupPolicy:BackupPolicy::data" cannot be deleted\n'
            "because it is protected. To unprotect the resource, either remove the `protect` flag",
            "it would delete the backup policy data, which is protected",
        ),
        (
            'unable to replace resource "urn:pulumi:prod::geusemaker::aws:efs/fileSystem:FileSystem::data"\n'
            "as it is currently marked for protection. To unprotect the resource, remove the `protect` flag",
            "it would replace the file system data, which is protected",
        ),
        (
            'unable to replace resource "urn:pulumi:prod::geusemaker::aws:efs/mountTarget:MountTarget::data" as part '
            'of replacing "urn:pulumi:prod::geusemaker::aws:efs/fileSystem:FileSystem::data" as it is currently marked '
            "for protection.",
            "it would replace the mount target data, which is protected",
        ),
        (
            'unable to replace resource "urn:pulumi:prod::geusemaker::a:b:C$aws:s3/bucket:Bucket::mine"\n'
            "as it is currently marked for protection.",
            "it would replace the aws:s3/bucket:Bucket mine, which is protected",
        ),
    ],
)
def test_what_the_engine_says_of_protected_resources(line: str, reason: str) -> None:
    assert engine_refusals(["preview failed", line, line]) == [reason]


def test_each_reason_is_said_once() -> None:
    halves = [operation(op, INSTANCE, "instance") for op in ("delete-replaced", "replace", "create-replacement")]
    assert len(refusals(halves, has_data=True)) == 1


def test_a_replacement_is_told_once_with_its_cause() -> None:
    steps = [
        operation("create-replacement", INSTANCE, provider_id="i-1"),
        operation("replace", INSTANCE, provider_id="i-1", replaces=("ami",)),
        operation("delete-replaced", INSTANCE, provider_id="i-1"),
    ]
    assert [reason for reason in refusals(steps, has_data=True) if "replace the instance" in reason] == [
        "it would replace the instance i-1, because ami changed (--allow-replace allows that)"
    ]


def test_plans_are_the_same_when_they_do_the_same_to_the_same() -> None:
    shown = [
        operation("update", COMMAND, "apply", inputs_digest="a", changed=("stdin", "create")),
        operation("same", ADDRESS),
    ]

    assert same_plan(shown, [shown[1], shown[0].model_copy(update={"changed": ("create", "stdin")})])
    for change in ({"op": "replace"}, {"inputs_digest": "b"}, {"changed": ("stdin",)}, {"urn": "another"}):
        assert not same_plan(shown, [shown[0].model_copy(update=change), shown[1]])
    assert not same_plan(shown, shown[:1])


def test_the_data_volume_is_attached_to_whatever_instance_is_new() -> None:
    """After a destroy, or when the instance was lost: it makes nothing, and AWS gives no volume that another has."""
    created = [operation("create", ATTACHMENT), operation("create", INSTANCE, "instance")]
    assert refusals(created, has_data=True) == []
    assert "second, empty data volume" in refusals([operation("create", VOLUME)], has_data=True)[0]


SECONDS = [(INSTANCE, "instance"), (ADDRESS, "Elastic IP"), (FILE_SYSTEM, "file system"), (VOLUME, "data volume")]


@pytest.mark.parametrize(("type", "word"), SECONDS)
@pytest.mark.parametrize("has_data", [True, False])
def test_a_second_of_anything_is_refused_while_one_lives(type: str, word: str, has_data: bool) -> None:
    living = {type: "x-1 (running)"}
    reasons = refusals([operation("create", type)], has_data=has_data, living=living)
    assert f"it would create a second {word} while x-1 (running) lives" in reasons


@pytest.mark.parametrize("type", [type for type, _ in SECONDS])
def test_one_that_is_there_or_is_replaced_is_no_second(type: str) -> None:
    living = {type: "x-1"}
    assert refusals([operation("same", type)], has_data=True, living=living) == []
    assert refusals([operation("create", type)], has_data=False, living={}) == []
    replaced = [operation("delete-replaced", INSTANCE), operation("create-replacement", INSTANCE)]
    assert refusals(replaced, has_data=True, allow_replace=True, living={INSTANCE: "i-1"}) == []


def test_words_for_all_that_there_is_one_of() -> None:
    assert [(type, SINGLE[type]) for type, _ in SECONDS] == SECONDS == [*SINGLE.items()]


REST = [
    operation("delete-replaced", ATTACHMENT, replaces=("instanceId",), protected=False),
    operation("replace", INSTANCE, "instance"),
    operation("create-replacement", INSTANCE, "instance"),
    operation("create-replacement", ATTACHMENT, replaces=("instanceId",), protected=False),
]
"""What is left of a replacement that was cut off after it had deleted the instance."""


def test_the_rest_of_a_replacement_makes_the_instance_that_is_not_there() -> None:
    assert refusals(REST, has_data=True, no_instance=True) == []
    [moves, replaces, twice] = refusals(REST, has_data=True)
    assert "data volume attachment" in moves and "--allow-replace" in replaces and "two would serve one" in twice
    assert "two would serve one" in refusals(REST, has_data=True, allow_replace=True)[0], "AWS has one"
    whole = [REST[0], operation("delete-replaced", INSTANCE, "instance"), *REST[1:]]
    assert "--allow-replace" in refusals(whole, has_data=True, no_instance=True)[1], "it would delete one after all"


@pytest.mark.parametrize(
    ("replaces", "says"), [((), "because instanceMarketOptions changed"), (("ami",), "because ami changed")]
)
def test_another_instance_is_refused_with_its_reason_also_where_the_engine_names_none(
    replaces: tuple[str, ...], says: str
) -> None:
    plan = [operation("replace", INSTANCE, replaces=replaces)]
    [reason] = refusals(plan, has_data=True, because=("instanceMarketOptions",))
    assert says in reason
    assert refusals(plan, has_data=True, because=("instanceMarketOptions",), allow_replace=True) == []
