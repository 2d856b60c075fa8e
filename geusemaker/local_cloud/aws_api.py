"""The AWS API of the local cloud: moto, one call at a time, with AWS's refusals in front and the machines behind."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from geusemaker.local_cloud import files, state, strictness
from geusemaker.local_cloud.access import AccessKey, belongs_to_owner, check_signature, read_whole_body
from geusemaker.local_cloud.account import own_account
from geusemaker.local_cloud.client import STATUS_PATH
from geusemaker.local_cloud.instances import Fleet
from geusemaker.local_cloud.machines import Wanted
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError, InstanceView, VolumeView

__all__ = ["AwsApi", "MotoAccount", "identify", "render_refusal"]

_LOG = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_DEFAULT_REGION: Final = "us-east-1"
_QUERY_SERVICES: Final = ("ec2", "iam", "sts", "autoscaling", "elasticloadbalancing", "cloudformation", "sns", "rds")
_Environ = dict[str, Any]
_StartResponse = Callable[..., Any]

# https://docs.aws.amazon.com/efs/latest/ug/API_Operations.html
_EFS_ACTIONS: Final = (
    ("POST", r"/file-systems/?", "CreateFileSystem"),
    ("GET", r"/file-systems/?", "DescribeFileSystems"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/?", "UpdateFileSystem"),
    ("DELETE", r"/file-systems/(?P<FileSystemId>[^/]+)/?", "DeleteFileSystem"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/backup-policy/?", "PutBackupPolicy"),
    ("GET", r"/file-systems/(?P<FileSystemId>[^/]+)/backup-policy/?", "DescribeBackupPolicy"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/lifecycle-configuration/?", "PutLifecycleConfiguration"),
    ("POST", r"/mount-targets/?", "CreateMountTarget"),
    ("GET", r"/mount-targets/?", "DescribeMountTargets"),
    ("DELETE", r"/mount-targets/(?P<MountTargetId>[^/]+)/?", "DeleteMountTarget"),
    ("PUT", r"/mount-targets/(?P<MountTargetId>[^/]+)/security-groups/?", "ModifyMountTargetSecurityGroups"),
    ("POST", r"/resource-tags/(?P<ResourceId>[^/]+)/?", "TagResource"),
    ("DELETE", r"/resource-tags/(?P<ResourceId>[^/]+)/?", "UntagResource"),
)


def identify(environ: Mapping[str, Any], body: bytes) -> AwsCall:
    """Which call a request is, by the service in its signature and that service's protocol. Pure."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    service, region = (match["service"], match["region"]) if match else ("s3", _DEFAULT_REGION)
    method, path = environ.get("REQUEST_METHOD", "GET"), environ.get("PATH_INFO", "/")
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return AwsCall(service, target.rpartition(".")[2], region)
    if service in _QUERY_SERVICES:
        text = body.decode(errors="replace") or environ.get("QUERY_STRING", "")
        parameters = dict(parse_qsl(text, keep_blank_values=True))
        return AwsCall(service, parameters.get("Action", "Unknown"), region, parameters)
    if service == "elasticfilesystem":
        rest = re.sub(r"^/2015-02-01", "", path)
        for wanted, pattern, action in _EFS_ACTIONS:
            found = re.fullmatch(pattern, rest)
            if method == wanted and found:
                return AwsCall(service, action, region, found.groupdict())
    # REST services: the method tells whether it changes anything.
    return AwsCall(service, method.title(), region)


def render_refusal(call: AwsCall, refusal: AwsRefusalError) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of an error, in the service's own protocol. Pure but for the request id."""
    request_id = str(uuid.uuid4())
    code, message = refusal.code, refusal.message
    if call.service == "ec2":
        content_type = "text/xml;charset=UTF-8"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    elif call.service in _QUERY_SERVICES:
        content_type = "text/xml"
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    elif call.service == "s3":
        content_type = "application/xml"
        body = (
            f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"<RequestId>{request_id}</RequestId></Error>"
        )
    elif call.service == "elasticfilesystem":
        content_type = "application/json"
        body = json.dumps({"ErrorCode": code, "Message": message})
    else:
        content_type = "application/x-amz-json-1.1"
        body = json.dumps({"__type": code, "message": message})
    headers = [("Content-Type", content_type), ("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", code)]
    return headers, body.encode()


class MotoAccount:
    """moto's account, as the strictness checks read it; one region."""

    def __init__(self, region: str) -> None:
        from moto.ec2.models import ec2_backends

        self._account = own_account()
        if region not in ec2_backends[self._account]:
            raise AwsRefusalError("AuthFailure", "Credential should be scoped to a valid region.", 403)
        self._ec2: Any = ec2_backends[self._account][region]

    def find_instance(self, instance_id: str) -> InstanceView | None:
        found = next((each for each in self._ec2.all_instances() if each.id == instance_id), None)
        if found is None:
            return None
        return InstanceView(found.state, found.instance_type, found.architecture, found.availability_zone)

    def find_volume(self, volume_id: str) -> VolumeView | None:
        volume = self._ec2.volumes.get(volume_id)
        if volume is None:
            return None
        return VolumeView(volume.zone.name, volume.attachment.instance.id if volume.attachment else "", volume.size)

    def find_image_architecture(self, ami_id: str) -> str | None:
        image = self._ec2.amis.get(ami_id)
        return image.architecture if image else None

    def find_type_architectures(self, instance_type: str) -> list[str] | None:
        from moto.ec2.models.instance_types import INSTANCE_TYPES

        found = INSTANCE_TYPES.get(instance_type)
        return list(found["ProcessorInfo"]["SupportedArchitectures"]) if found else None

    def zones_offering(self, instance_type: str) -> list[str]:
        offerings = self._ec2.describe_instance_type_offerings(
            location_type="availability-zone", filters={"instance-type": [instance_type]}
        )
        return sorted(offering["Location"] for offering in offerings)

    def find_subnet_zone(self, subnet_id: str) -> str | None:
        for subnets in self._ec2.subnets.values():
            if subnet_id in subnets:
                zone: str = subnets[subnet_id].availability_zone
                return zone
        return None

    def has_key_pair(self, name: str) -> bool:
        return name in self._ec2.key_pairs

    def has_instance_profile(self, name: str) -> bool:
        from moto.iam.models import iam_backends

        profiles = iam_backends[self._account]["aws"].get_instance_profiles()
        return any(profile.name == name for profile in profiles)

    def find_association(self, allocation_id: str) -> str | None:
        for address in self._ec2.addresses:
            if address.allocation_id == allocation_id:
                association: str | None = address.association_id
                return association
        return None

    def is_group_used(self, group_id: str) -> bool:
        """By an instance or mount target, or by a rule of another group."""
        from moto.efs.models import efs_backends

        users = {
            group.id for each in self._ec2.all_instances() if each.state != "terminated" for group in _groups(each)
        }
        region: Any = efs_backends[self._account][self._ec2.region_name]
        for target in region.mount_targets_by_id.values():
            users.update(target.security_groups or ())
        for groups in self._ec2.groups.values():
            for group in groups.values():
                if group.id != group_id:
                    for rule in [*group.ingress_rules, *group.egress_rules]:
                        users.add(rule.source_group.get("GroupId"))
        return group_id in users


def _groups(instance: Any) -> list[Any]:
    return [*instance.security_groups, *(group for nic in instance.nics.values() for group in nic.group_set)]


def read_instances() -> dict[str, Wanted]:
    """What EC2 says of every instance, in every region. Must not run while a call changes it."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    wanted: dict[str, Wanted] = {}
    for _, region, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        addresses = {each.instance.id: each.public_ip for each in ec2.addresses if each.instance}
        for instance in ec2.all_instances():
            key = ec2.key_pairs.get(instance.key_name)
            wanted[instance.id] = Wanted(
                instance_id=instance.id,
                running=instance.state == "running",
                exists=instance.state != "terminated",
                state=instance.state,
                address=addresses.get(instance.id),
                region=region,
                zone=instance.availability_zone,
                user_data=_decoded(instance.user_data),
                authorized_key=key.public_key if key else "",
                vcpus=INSTANCE_TYPES[instance.instance_type]["VCpuInfo"]["DefaultVCpus"],
                memory_mib=INSTANCE_TYPES[instance.instance_type]["MemoryInfo"]["SizeInMiB"],
                root_volume=next(
                    (
                        volume.id
                        for volume in ec2.volumes.values()
                        if volume.attachment
                        and volume.attachment.instance.id == instance.id
                        and volume.attachment.device == instance.root_device_name
                    ),
                    "",
                ),
                volumes=tuple(
                    sorted(
                        volume.id
                        for volume in ec2.volumes.values()
                        if volume.attachment
                        and volume.attachment.instance.id == instance.id
                        and volume.attachment.device != instance.root_device_name
                    )
                ),
            )
    return wanted


def _decoded(user_data: Any) -> str:
    return base64.b64decode(str(user_data)).decode(errors="replace") if user_data else ""


def _mend_addresses() -> None:
    """What AWS does with an Elastic IP when its instance changes state, and moto does not.

    It is disassociated when the instance is terminated, and stays the instance's public address over a stop and start.
    """
    from moto.ec2.models import ec2_backends

    for _, _, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        for address in ec2.addresses:
            if address.instance is not None and address.instance.state == "terminated":
                ec2.disassociate_address(address=address.public_ip)
            elif address.eni is not None:
                address.eni.public_ip = address.public_ip


def _write_volume_sizes(paths: CloudPaths) -> None:
    """What the block devices of the instances' volumes tell of their size."""
    from moto.ec2.models import ec2_backends

    for _, _, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        for volume in ec2.volumes.values():
            if volume.attachment:
                folder = paths.volumes / volume.id
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "size").write_text(str(volume.size))


def _write_file_systems(paths: CloudPaths) -> None:
    """A folder for each file system, and what the instances' DNS knows of mount targets.

    The folder of one that was deleted through the API goes; nothing else ever removes data.
    """
    from moto.efs.models import efs_backends

    known: dict[str, Any] = {}
    for _, _, backend in efs_backends.iter_backends():
        efs: Any = backend
        for name, file_system in efs.file_systems_by_id.items():
            known[name] = {
                "mount_targets": [
                    {
                        "id": target.mount_target_id,
                        "ip_address": target.ip_address,
                        "availability_zone": target.availability_zone_name,
                        "state": target.life_cycle_state,
                    }
                    for target in file_system.iter_mount_targets()
                ]
            }
    for name in known:
        (paths.file_systems / name).mkdir(parents=True, exist_ok=True)
    files.write(paths.mount_targets, json.dumps(known, indent=1, sort_keys=True))


class AwsApi:
    """The WSGI application. Calls go through moto one after the other, since moto is not made for threads."""

    def __init__(self, paths: CloudPaths, moto: Callable[..., Iterable[bytes]], fleet: Fleet, key: AccessKey) -> None:
        self._paths = paths
        self._key = key
        self._moto = moto
        self._fleet = fleet
        self._lock = threading.Lock()
        self.describe: Callable[[], dict[str, Any]] = lambda: {"running": True}
        """What the status page shows besides instances and file systems."""

    def bring_back(self) -> None:
        """Start what was running when the local cloud was last stopped or killed."""
        with self._lock:
            _write_file_systems(self._paths)
            _write_volume_sizes(self._paths)
            changed = self._fleet.update(read_instances())
        self._fleet.settle(changed)

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == STATUS_PATH:
            # Not by the key: `geusemaker local status` has to answer also where the key file was lost.
            peer = (str(environ.get("REMOTE_ADDR", "")), int(environ.get("REMOTE_PORT") or 0))
            if not belongs_to_owner(peer, int(environ["SERVER_PORT"])):
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"This local cloud is another user's.\n"]
            return self._answer_status(start_response)
        if path.startswith("/moto-api"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"The local cloud keeps its state; moto's own API is closed.\n"]
        body = read_whole_body(environ)
        call = identify(environ, body)
        try:
            check_signature(environ, body, self._key)
        except AwsRefusalError as refusal:
            _LOG.warning("%s refused: %s: %s", call.action, refusal.code, refusal.message)
            headers, content = render_refusal(call, refusal)
            start_response(f"{refusal.status} {refusal.code}", headers)
            return [content]
        return self._perform(call, environ, start_response)

    def _perform(self, call: AwsCall, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        fault = self._take_fault(call)
        if fault and fault.get("delay_seconds"):
            _LOG.info("%s is made to wait %s s", call.action, fault["delay_seconds"])
            time.sleep(float(fault["delay_seconds"]))  # asked for by a test: an API that is slow to answer
        changed: list[str] = []
        with self._lock:
            try:
                account = MotoAccount(call.region) if call.service == "ec2" or fault else None
                if fault and fault.get("code") and account:
                    raise strictness.refusal_of(fault, call, account)
                if account:
                    strictness.check(call, account)
            except AwsRefusalError as refusal:
                _LOG.info("%s refused: %s: %s", call.action, refusal.code, refusal.message)
                headers, content = render_refusal(call, refusal)
                start_response(f"{refusal.status} {refusal.code}", headers)
                return [content]
            status, headers, content = self._ask_moto(environ)
            if call.changes and int(status[:3]) < 400:
                changed = self._record_change(call)
        rebooted = call.values("InstanceId") if call.action == "RebootInstances" and status[:3] == "200" else []
        if changed or rebooted:
            self._fleet.settle(changed, rebooted)
        start_response(status, headers)
        return [content]

    def _ask_moto(self, environ: _Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        answer: list[Any] = []

        def capture(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer[:] = [status, headers]

        chunks = self._moto(environ, capture)
        try:
            content = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return answer[0], answer[1], content

    def _record_change(self, call: AwsCall) -> list[str]:
        """Save what a call changed; returns the instances concerned."""
        if call.action in ("StartInstances", "StopInstances", "TerminateInstances"):
            _mend_addresses()
        if call.service == "elasticfilesystem":
            _write_file_systems(self._paths)
            if call.action == "DeleteFileSystem":
                _remove_folder(self._paths.file_systems, call.parameters["FileSystemId"])
        if call.action == "DeleteVolume":
            _remove_folder(self._paths.volumes, call.parameters["VolumeId"])
        if call.action in ("RunInstances", "AttachVolume", "ModifyVolume"):
            _write_volume_sizes(self._paths)
        state.save(self._paths.aws_state, state.snapshot())
        return self._fleet.update(read_instances()) if call.service == "ec2" else []

    def _take_fault(self, call: AwsCall) -> Mapping[str, Any] | None:
        """The failure a test asked for; one with ``times`` is counted down in the file."""
        try:
            text = self._paths.faults.read_text()
        except FileNotFoundError:
            return None
        try:
            faults = json.loads(text)
        except ValueError:
            _LOG.warning("%s is not JSON and is ignored", self._paths.faults)
            return None
        with self._lock:
            try:
                fault = strictness.find_fault(faults, call, MotoAccount(call.region))
            except AwsRefusalError:
                return None  # refused in any case
        if fault is not None and "times" in fault:
            fault["times"] -= 1  # type: ignore[index]
            files.write_json(self._paths.faults, faults)
        return fault

    def _answer_status(self, start_response: _StartResponse) -> Iterable[bytes]:
        folders = sorted(self._paths.file_systems.glob("fs-*"))
        document = {
            **self.describe(),
            "instances": [instance.model_dump() for instance in self._fleet.statuses()],
            "file_systems": [{"id": folder.name, "path": str(folder)} for folder in folders],
        }
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]


def _remove_folder(parent: Path, name: str) -> None:
    import shutil

    folder = parent / name
    # The name comes from a request.
    if re.fullmatch(r"(fs|vol)-[0-9a-f]+", name) and folder.is_dir():
        shutil.rmtree(folder)
