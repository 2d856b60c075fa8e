"""Corrections of moto 5.2 where AWS does otherwise, found by the AWS provider and checked by its tests."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from geusemaker.local_cloud.amis import disk_gib, image_parameters


def fill() -> None:
    """Correct moto in this process; may be called again. Imports moto's EC2, EFS and SSM."""
    _groups_of_interfaces()
    _replaced_profiles()
    _modified_user_data()
    _backup_policies()
    _updated_file_systems()
    _sizes_of_images()
    _parameters_of_images()
    _default_networks()
    _quotas()


def open_default_vpc(ec2: Any) -> None:
    """Give a default VPC the internet gateway and the route that AWS makes with it; done before is fine.

    https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html
    """
    vpc = ec2.default_vpc
    if any(gateway.vpc is vpc for gateway in ec2.internet_gateways.values()):
        return
    gateway = ec2.create_internet_gateway()
    ec2.attach_internet_gateway(gateway.id, vpc.id)
    for table in ec2.route_tables.values():
        ways = {route.destination_cidr_block for route in table.routes}
        if table.vpc_id == vpc.id and "0.0.0.0/0" not in ways:
            ec2.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


def _default_networks() -> None:
    """A default VPC has a way out from the start."""
    from moto.ec2.models import EC2Backend

    original = before_correction(EC2Backend, "__init__")

    def begin(self: Any, region_name: str, account_id: str) -> None:
        original(self, region_name, account_id)
        open_default_vpc(self)

    correct(EC2Backend, "__init__", begin, original)


_ADDRESSES = "L-0263D0A3"
_VCPUS = ("L-1216C47A", "L-DB2E81BA", "L-417A185B", "L-1945791B", "L-2C3B7624", "L-74FC7D96", "L-7295265B")
_SPOT = ("L-3819A6DF", "L-7212CCBC", "L-B5D1601B", "L-88CF9481", "L-E3A00192", "L-85EED4F7", "L-34B43A08")
_QUOTAS = {_ADDRESSES: 5.0, **dict.fromkeys((*_VCPUS, *_SPOT, "L-6E869C2A", "L-43DA4232", "L-F7808C92"), 128.0)}
"""Of EC2, by code: Elastic IPs as a new account has them, vCPUs of each family as one that had them raised."""


def _quotas() -> None:
    """EC2's quotas are told, and the defaults as what holds."""
    from moto.servicequotas.models import ServiceQuotasBackend
    from moto.servicequotas.responses import ServiceQuotasResponse

    original = before_correction(ServiceQuotasBackend, "get_service_quota")

    def tell(self: Any, service_code: str, quota_code: str) -> Any:
        if service_code == "ec2" and quota_code in _QUOTAS:
            return {"ServiceCode": "ec2", "QuotaCode": quota_code, "Value": _QUOTAS[quota_code]}
        return original(self, service_code, quota_code)

    correct(ServiceQuotasBackend, "get_service_quota", tell, original)
    ServiceQuotasResponse.get_aws_default_service_quota = ServiceQuotasResponse.get_service_quota


def _groups_of_interfaces() -> None:
    """The groups of an instance are those of its primary interface: changing those changes what is described."""
    from moto.ec2.models import EC2Backend

    original = before_correction(EC2Backend, "modify_network_interface_attribute")

    def modify(self: Any, eni_id: str, group_ids: list[str], *args: Any, **rest: Any) -> None:
        original(self, eni_id, group_ids, *args, **rest)
        interface = self.get_network_interface(eni_id)
        if group_ids and interface.instance is not None and interface.device_index in (0, "0", None):
            interface.instance.security_groups = list(interface._group_set)

    correct(EC2Backend, "modify_network_interface_attribute", modify, original)


def _replaced_profiles() -> None:
    """A replaced instance profile shows in the instance's description."""
    from moto.ec2.models import EC2Backend

    original = before_correction(EC2Backend, "replace_iam_instance_profile_association")

    def replace(self: Any, association_id: str, *args: Any, **rest: Any) -> Any:
        association = original(self, association_id, *args, **rest)
        profile = {"Arn": association.iam_instance_profile.arn, "Id": association.association_id}
        self.modify_instance_attribute(association.instance.id, "iam_instance_profile", profile)
        return association

    correct(EC2Backend, "replace_iam_instance_profile_association", replace, original)


def _modified_user_data() -> None:
    """ModifyInstanceAttribute has its user data decoded already when moto looks at it, and wants it encoded."""
    from moto.core.types import Base64EncodedString
    from moto.ec2.responses import instances

    original = before_correction(instances, "parse_user_data")

    def parse(value: Any) -> Any:
        if isinstance(value, bytes):
            return Base64EncodedString(base64.b64encode(value).decode())
        return original(value)

    correct(instances, "parse_user_data", parse, original)


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

    original = before_correction(EFSBackend, "describe_backup_policy")

    def describe(self: Any, file_system_id: str) -> Any:
        file_system = self.file_systems_by_id.get(file_system_id)
        if file_system is None:
            raise FileSystemNotFound(file_system_id)
        status = getattr(file_system, "_backup_status", None)
        return {"Status": status} if status else original(self, file_system_id)

    EFSResponse.put_backup_policy = put
    correct(EFSBackend, "describe_backup_policy", describe, original)


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


def _sizes_of_images() -> None:
    """An image's disk has a size of its own, and not that of all."""
    from moto.ec2.models.amis import Ami

    original: Any = vars(Ami)["block_device_mappings"].fget
    original = getattr(original, "_before_correction", original)

    def mappings(self: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = original(self)
        return [{**one, "Ebs": {**one["Ebs"], "VolumeSize": disk_gib(self.id)}} for one in found]

    mappings._before_correction = original  # type: ignore[attr-defined]
    Ami.block_device_mappings = property(mappings)


def _parameters_of_images() -> None:
    """SSM has AWS's parameters that name the images there are."""
    from moto.ssm.models import Parameter, ParameterDict

    original = before_correction(ParameterDict, "_check_loading_status")

    def check(self: Any, key: str) -> None:
        original(self, key)
        value = image_parameters().get(str(key or ""))
        if value is not None and not dict.__contains__(self, key):
            account, no = {"account_id": self.account_id}, dict.fromkeys(("description", "allowed_pattern", "keyid"))
            named = {"name": key, "value": value, "parameter_type": "String", "data_type": "aws:ec2:image"}
            dict.__setitem__(
                self, key, [Parameter(**account, **named, **no, last_modified_date=time.time(), version=1)]
            )

    correct(ParameterDict, "_check_loading_status", check, original)


def before_correction(owner: Any, name: str) -> Any:
    """The function before any correction, so that correcting twice does not correct a correction."""
    present = getattr(owner, name)
    return getattr(present, "_before_correction", present)


def correct(owner: Any, name: str, corrected: Any, original: Any) -> None:
    corrected._before_correction = original
    setattr(owner, name, corrected)
