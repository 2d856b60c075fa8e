"""moto, loaded lean: without the instance-type offerings of thirty regions in memory, and with our images.

``load`` must run before anything else imports moto's EC2.
"""

from __future__ import annotations

import functools
import json
import os
import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from geusemaker.local_cloud import moto_gaps, spot
from geusemaker.local_cloud.amis import machine_images

SSH_PORT: Final = 2222
"""Where instances listen: without root rights a process cannot have port 22."""

_OFFERINGS = "instance_type_offerings"


class _LazyOfferings(dict[str, Any]):
    """Region → offerings of one location type, read when a region is asked for (3 MB each as Python objects)."""

    def __init__(self, location_type: str, read: Callable[[str], Any]) -> None:
        super().__init__()
        self._location_type = location_type
        self._read = read

    def __missing__(self, region: str) -> Any:
        try:
            offerings = self._read(f"ec2/resources/{_OFFERINGS}/{self._location_type}/{region}.json.gz")
        except FileNotFoundError:
            raise KeyError(region) from None
        for offering in offerings:
            offering["LocationType"] = self._location_type
        self[region] = offerings
        return offerings

    def get(self, region: str, default: Any = None) -> Any:
        try:
            return self[region]
        except KeyError:
            return default


# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonSSMManagedInstanceCore.html
_MANAGED_POLICIES: Final = {
    "AmazonSSMManagedInstanceCore": {
        "CreateDate": "2019-03-15T17:22:12+00:00",
        "UpdateDate": "2019-05-23T16:54:21+00:00",
        "DefaultVersionId": "v2",
        "Path": "/",
        "PermissionsBoundaryUsageCount": 0,
        "Document": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": [
                        "ssm:DescribeAssociation",
                        "ssm:GetDeployablePatchSnapshotForInstance",
                        "ssm:GetDocument",
                        "ssm:DescribeDocument",
                        "ssm:GetManifest",
                        "ssm:GetParameter",
                        "ssm:GetParameters",
                        "ssm:ListAssociations",
                        "ssm:ListInstanceAssociations",
                        "ssm:PutInventory",
                        "ssm:PutComplianceItems",
                        "ssm:PutConfigurePackageResult",
                        "ssm:UpdateAssociationStatus",
                        "ssm:UpdateInstanceAssociationStatus",
                        "ssm:UpdateInstanceInformation",
                    ],
                    "Resource": "*",
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "ssmmessages:CreateControlChannel",
                        "ssmmessages:CreateDataChannel",
                        "ssmmessages:OpenControlChannel",
                        "ssmmessages:OpenDataChannel",
                    ],
                    "Resource": "*",
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "ec2messages:AcknowledgeMessage",
                        "ec2messages:DeleteMessage",
                        "ec2messages:FailMessage",
                        "ec2messages:GetEndpoint",
                        "ec2messages:GetMessages",
                        "ec2messages:SendReply",
                    ],
                    "Resource": "*",
                },
            ],
        },
    }
}


def load(images_file: Path) -> None:
    """Import moto's EC2 with the machine images written to ``images_file``."""
    images_file.write_text(json.dumps(machine_images(), indent=1))
    os.environ["MOTO_AMIS_PATH"] = str(images_file)
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "1"

    _read_models_without_documentation()
    _load_managed_policies()
    from moto.utilities import utils

    read = utils.load_resource
    utils.load_resource = lambda filename, **rest: [] if _OFFERINGS in filename else read(filename, **rest)
    try:
        from moto.ec2.models import elastic_ip_addresses, instance_types
    finally:
        utils.load_resource = read
    for location_type in instance_types.INSTANCE_TYPE_OFFERINGS:
        instance_types.INSTANCE_TYPE_OFFERINGS[location_type] = _LazyOfferings(location_type, read)
    elastic_ip_addresses.random_ip = free_loopback_address
    moto_gaps.fill()
    spot.fill()


def _load_managed_policies() -> None:
    """Give IAM the one AWS-managed policy that the program attaches.

    moto's own module holds all 1,400 of them, and 40 MB; it is never imported.
    """
    policies = ModuleType("moto.iam.aws_managed_policies")
    setattr(policies, "aws_managed_policies_data", json.dumps(_MANAGED_POLICIES))  # noqa: B010 (a module of our own)
    sys.modules[policies.__name__] = policies
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"


def _read_models_without_documentation() -> None:
    """Let botocore keep AWS's API models without their HTML documentation, and read each file once.

    EC2's alone takes 0.4 s and 40 MB, and moto's start and each boto3 session would read it anew.
    """
    from botocore.loaders import JSONFileLoader

    def read(full_path: str, open_method: Callable[..., Any]) -> Any:
        with open_method(full_path, "rb") as file:
            return json.loads(file.read(), object_pairs_hook=_without_documentation)

    once = functools.lru_cache(maxsize=64)(read)

    class Unshared(JSONFileLoader):
        def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
            return read(full_path, open_method) if Path(full_path).is_file() else None

    def load_file(_: JSONFileLoader, full_path: str, open_method: Callable[..., Any]) -> Any:
        return once(full_path, open_method) if Path(full_path).is_file() else None

    JSONFileLoader._load_file = load_file  # type: ignore[attr-defined]

    from moto.core.loaders import Loader

    # moto changes the models that it reads.
    Loader.FILE_LOADER_CLASS = Unshared


def _without_documentation(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # botocore expects the key in some places.
    return {key: "" if key == "documentation" and isinstance(value, str) else value for key, value in pairs}


def free_loopback_address(port: int = SSH_PORT) -> str:
    """A random loopback address of which nothing listens on ``port``; never one of 127.0.0.0/12, where others are."""
    while True:
        address = f"127.{random.randint(16, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
        return address
