"""What AWS has of a deployment: looked up by id, by the name the engine gave, and by tag."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from geusemaker.models import resource_types as types
from geusemaker.models.ownership import DEPLOYMENT_TAG, Sought, Tagged, is_own

_NOT_GONE: Final = ["pending", "running", "stopping", "stopped", "shutting-down"]
_GONE: Final = re.compile(r"NotFound|NoSuchEntity|Malformed")
"""In the error codes by which AWS says that there is no such thing; an id that another account made up, too."""

_Ask = Callable[[str, Callable[[Any], Any]], Any]
"""(service, question) → the answer of that service's client."""


# --- by id -----------------------------------------------------------------------------------------------------------


def _instance_state(ec2: Any, instance_id: str) -> str | None:
    reservations = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    states = [str(one["State"]["Name"]) for reservation in reservations for one in reservation["Instances"]]
    return next((state for state in states if state != "terminated"), None)


def _group_state(ec2: Any, group_id: str) -> str | None:
    return "there" if ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"] else None


def _address_state(ec2: Any, allocation_id: str) -> str | None:
    addresses = ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"]
    return ("associated" if addresses[0].get("AssociationId") else "allocated") if addresses else None


def _volume_state(ec2: Any, volume_id: str) -> str | None:
    volumes = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return next((str(volume["State"]) for volume in volumes if volume["State"] != "deleted"), None)


def _file_system_state(efs: Any, file_system_id: str) -> str | None:
    found = efs.describe_file_systems(FileSystemId=file_system_id)["FileSystems"]
    return next((str(one["LifeCycleState"]) for one in found if one["LifeCycleState"] != "deleted"), None)


def _mount_target_state(efs: Any, mount_target_id: str) -> str | None:
    found = efs.describe_mount_targets(MountTargetId=mount_target_id)["MountTargets"]
    return next((str(one["LifeCycleState"]) for one in found if one["LifeCycleState"] != "deleted"), None)


def _key_pair_state(ec2: Any, name: str) -> str | None:
    return "there" if ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"] else None


def _role_state(iam: Any, name: str) -> str | None:
    return "there" if iam.get_role(RoleName=name) else None


def _profile_state(iam: Any, name: str) -> str | None:
    return "there" if iam.get_instance_profile(InstanceProfileName=name) else None


_BY_ID: Final[dict[str, tuple[str, Callable[[Any, str], str | None]]]] = {
    types.INSTANCE: ("ec2", _instance_state),
    types.SECURITY_GROUP: ("ec2", _group_state),
    types.ADDRESS: ("ec2", _address_state),
    types.DATA_VOLUME: ("ec2", _volume_state),
    types.FILE_SYSTEM: ("efs", _file_system_state),
    types.MOUNT_TARGET: ("efs", _mount_target_state),
    types.KEY_PAIR: ("ec2", _key_pair_state),
    types.ROLE: ("iam", _role_state),
    types.PROFILE: ("iam", _profile_state),
}
"""Type → the service that knows it, and the question for one by its id."""

KNOWN_BY_ID: Final = frozenset(_BY_ID)
"""The other types of the program are ties between these, or settings of one, and go with it."""


def state_of(ask: _Ask, resource_type: str, resource_id: str) -> str | None:
    """How AWS has a resource: a word for its state; None when there is none (any more).

    Raises:
        KeyError: of this type nothing can be asked.
    """
    service, question = _BY_ID[resource_type]
    state: str | None = ask(service, lambda client: _or_none(lambda: question(client, resource_id)))
    return state


def _or_none(question: Callable[[], Any]) -> Any:
    from botocore.exceptions import ClientError

    try:
        return question()
    except ClientError as error:
        if _GONE.search(str(error.response.get("Error", {}).get("Code"))):
            return None
        raise


# --- by tag ----------------------------------------------------------------------------------------------------------


def tagged(ask: _Ask, deployment: str) -> list[Tagged]:
    """Everything that carries the deployment's name and is not gone: instances, addresses, groups, keys, data.

    Roles and instance profiles are not listed: AWS lists none by their tags.
    """
    by_name = [{"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [deployment]}]
    found: list[Tagged] = []

    def add(resource_type: str, resource_id: str, thing: dict[str, Any], state: str = "") -> None:
        found.append(Tagged(type=resource_type, id=resource_id, state=state, tags=_tags(thing)))

    states = {"Name": "instance-state-name", "Values": _NOT_GONE}
    for reservation in ask("ec2", lambda ec2: ec2.describe_instances(Filters=[*by_name, states]))["Reservations"]:
        for one in reservation["Instances"]:
            add(types.INSTANCE, one["InstanceId"], one, one["State"]["Name"])
    for one in ask("ec2", lambda ec2: ec2.describe_addresses(Filters=by_name))["Addresses"]:
        add(types.ADDRESS, one["AllocationId"], one)
    for one in ask("ec2", lambda ec2: ec2.describe_security_groups(Filters=by_name))["SecurityGroups"]:
        add(types.SECURITY_GROUP, one["GroupId"], one)
    for one in ask("ec2", lambda ec2: ec2.describe_key_pairs(Filters=by_name))["KeyPairs"]:
        add(types.KEY_PAIR, one["KeyName"], one)
    for one in ask("ec2", lambda ec2: ec2.describe_volumes(Filters=by_name))["Volumes"]:
        if one["State"] not in ("deleting", "deleted"):
            add(types.DATA_VOLUME, one["VolumeId"], one, one["State"])
    for one in ask("efs", all_file_systems):
        if _tags(one).get(DEPLOYMENT_TAG) == deployment and one["LifeCycleState"] not in ("deleting", "deleted"):
            add(types.FILE_SYSTEM, one["FileSystemId"], one, one["LifeCycleState"])
    return found


def all_file_systems(efs: Any) -> list[dict[str, Any]]:
    """Every file system of the account and region."""
    pages = efs.get_paginator("describe_file_systems").paginate()
    return [file_system for page in pages for file_system in page["FileSystems"]]


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags") or ()}


# --- what a killed engine was making ---------------------------------------------------------------------------------


def find_created(ask: _Ask, sought: Sought) -> str | None:
    """The id of what a killed engine had already asked AWS for; None where it had not, or where it is another's.

    It is found by the name that the engine had made up for it, where such a thing has one, and has to carry the stack's
    own tags. Attachments and associations are not looked for: to make the same once more changes nothing.
    """
    finder = _FINDERS.get(sought.type)
    created: str | None = finder(ask, sought) if finder is not None else None
    return created


def _by_tag(ask: _Ask, sought: Sought) -> str | None:
    deployment = sought.tags[DEPLOYMENT_TAG]
    own = [
        one
        for one in tagged(ask, deployment)
        if one.type == sought.type and is_own(one.tags, sought.tags) and one.state != "shutting-down"
    ]
    return own[0].id if own else None


def _own(things: Iterable[dict[str, Any]], sought: Sought, key: str) -> str | None:
    return next((str(one[key]) for one in things if is_own(_tags(one), sought.tags)), None)


def _group(ask: _Ask, sought: Sought) -> str | None:
    by_name = [{"Name": "group-name", "Values": [sought.names.get("name", "")]}]
    groups = ask("ec2", lambda ec2: ec2.describe_security_groups(Filters=by_name))["SecurityGroups"]
    return _own(groups, sought, "GroupId")


def _key_pair(ask: _Ask, sought: Sought) -> str | None:
    by_name = [{"Name": "key-name", "Values": [sought.names.get("keyName", "")]}]
    return _own(ask("ec2", lambda ec2: ec2.describe_key_pairs(Filters=by_name))["KeyPairs"], sought, "KeyName")


def _role(ask: _Ask, sought: Sought) -> str | None:
    name = sought.names.get("name", "")
    found = ask("iam", lambda iam: _or_none(lambda: iam.get_role(RoleName=name))) if name else None
    return _own([found["Role"]], sought, "RoleName") if found else None


def _profile(ask: _Ask, sought: Sought) -> str | None:
    name = sought.names.get("name", "")
    found = (
        ask("iam", lambda iam: _or_none(lambda: iam.get_instance_profile(InstanceProfileName=name))) if name else None
    )
    return _own([found["InstanceProfile"]], sought, "InstanceProfileName") if found else None


def _file_system(ask: _Ask, sought: Sought) -> str | None:
    token = sought.names.get("creationToken")
    things = [one for one in ask("efs", all_file_systems) if token in (None, one["CreationToken"])]
    return _own((one for one in things if one["LifeCycleState"] not in ("deleting", "deleted")), sought, "FileSystemId")


def _backup_policy(ask: _Ask, sought: Sought) -> str | None:
    """It has no id of its own."""
    return sought.names.get("fileSystemId") or _file_system(ask, sought)


def _mount_target(ask: _Ask, sought: Sought) -> str | None:
    file_system = sought.names.get("fileSystemId") or _file_system(ask, sought)
    if file_system is None:
        return None
    targets = ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system))["MountTargets"]
    subnet = sought.names.get("subnetId")
    return next((str(one["MountTargetId"]) for one in targets if subnet in (None, one["SubnetId"])), None)


_FINDERS: Final[dict[str, Callable[[_Ask, Sought], str | None]]] = {
    types.INSTANCE: _by_tag,
    types.ADDRESS: _by_tag,
    types.DATA_VOLUME: _by_tag,
    types.SECURITY_GROUP: _group,
    types.KEY_PAIR: _key_pair,
    types.ROLE: _role,
    types.PROFILE: _profile,
    types.FILE_SYSTEM: _file_system,
    types.BACKUP_POLICY: _backup_policy,
    types.MOUNT_TARGET: _mount_target,
}
