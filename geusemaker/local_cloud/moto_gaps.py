"""Corrections of moto 5.2 where AWS does otherwise, found by the AWS provider and checked by its tests."""

from __future__ import annotations

import base64
import json
from typing import Any


def fill() -> None:
    """Correct moto in this process; may be called again. Imports moto's EC2 and EFS."""
    _groups_of_interfaces()
    _replaced_profiles()
    _modified_user_data()
    _backup_policies()
    _updated_file_systems()


def _groups_of_interfaces() -> None:
    """The groups of an instance are those of its primary interface: changing those changes what is described."""
    from moto.ec2.models import EC2Backend

    original = _original(EC2Backend, "modify_network_interface_attribute")

    def modify(self: Any, eni_id: str, group_ids: list[str], *args: Any, **rest: Any) -> None:
        original(self, eni_id, group_ids, *args, **rest)
        interface = self.get_network_interface(eni_id)
        if group_ids and interface.instance is not None and interface.device_index in (0, "0", None):
            interface.instance.security_groups = list(interface._group_set)

    _replace(EC2Backend, "modify_network_interface_attribute", modify, original)


def _replaced_profiles() -> None:
    """A replaced instance profile shows in the instance's description."""
    from moto.ec2.models import EC2Backend

    original = _original(EC2Backend, "replace_iam_instance_profile_association")

    def replace(self: Any, association_id: str, *args: Any, **rest: Any) -> Any:
        association = original(self, association_id, *args, **rest)
        profile = {"Arn": association.iam_instance_profile.arn, "Id": association.association_id}
        self.modify_instance_attribute(association.instance.id, "iam_instance_profile", profile)
        return association

    _replace(EC2Backend, "replace_iam_instance_profile_association", replace, original)


def _modified_user_data() -> None:
    """ModifyInstanceAttribute has its user data decoded already when moto looks at it, and wants it encoded."""
    from moto.core.types import Base64EncodedString
    from moto.ec2.responses import instances

    original = _original(instances, "parse_user_data")

    def parse(value: Any) -> Any:
        if isinstance(value, bytes):
            return Base64EncodedString(base64.b64encode(value).decode())
        return original(value)

    _replace(instances, "parse_user_data", parse, original)


def _backup_policies() -> None:
    """A policy can be set; one that was switched off is still a policy."""
    from moto.efs.exceptions import FileSystemNotFound
    from moto.efs.models import EFSBackend
    from moto.efs.responses import EFSResponse

    def put(self: Any) -> str:
        file_system_id = self._get_param("FileSystemId")
        file_system = self.efs_backend.file_systems_by_id.get(file_system_id)
        if file_system is None:
            raise FileSystemNotFound(file_system_id)
        status = self._get_param("BackupPolicy")["Status"]
        file_system._backup = status == "ENABLED"
        file_system._backup_status = status
        return json.dumps({"BackupPolicy": {"Status": status}})

    original = _original(EFSBackend, "describe_backup_policy")

    def describe(self: Any, file_system_id: str) -> Any:
        file_system = self.file_systems_by_id.get(file_system_id)
        if file_system is None:
            raise FileSystemNotFound(file_system_id)
        status = getattr(file_system, "_backup_status", None)
        return {"Status": status} if status else original(self, file_system_id)

    EFSResponse.put_backup_policy = put
    _replace(EFSBackend, "describe_backup_policy", describe, original)


def _updated_file_systems() -> None:
    """A file system's throughput can be changed."""
    from moto.efs.exceptions import FileSystemNotFound
    from moto.efs.responses import EFSResponse

    def update(self: Any) -> tuple[int, dict[str, str], str]:
        file_system_id = self._get_param("FileSystemId")
        file_system = self.efs_backend.file_systems_by_id.get(file_system_id)
        if file_system is None:
            raise FileSystemNotFound(file_system_id)
        mode = self._get_param("ThroughputMode")
        if mode:
            file_system.throughput_mode = mode
        provisioned = self._get_param("ProvisionedThroughputInMibps")
        file_system.provisioned_throughput_in_mibps = provisioned if mode == "provisioned" else 0
        body = json.dumps(file_system.info_json(), default=str)
        return 202, {"status": "202", "Content-Type": "application/json"}, body

    EFSResponse.update_file_system = update


def _original(owner: Any, name: str) -> Any:
    """The function before any correction, so that correcting twice does not correct a correction."""
    present = getattr(owner, name)
    return getattr(present, "_before_correction", present)


def _replace(owner: Any, name: str, corrected: Any, original: Any) -> None:
    corrected._before_correction = original
    setattr(owner, name, corrected)
