"""Elastic IPs, and their association with instances."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import Property, Schema


class Eip(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/eip:Eip",
        label="EC2 EIP",
        properties={
            "domain": Property(replaces=True, computed=True),
            "instance": Property(computed=True),
            "networkInterface": Property(computed=True),
            "associateWithPrivateIp": Property(),
            "address": Property(replaces=True),
            "publicIpv4Pool": Property(replaces=True, computed=True),
            "customerOwnedIpv4Pool": Property(replaces=True),
            "networkBorderGroup": Property(replaces=True, computed=True),
            "region": REGION,
            **TAGS,
        },
        outputs=("allocationId", "arn", "associationId", "privateDns", "privateIp", "publicDns", "publicIp"),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {"Domain": inputs.get("domain", "vpc")}
        if inputs.get("address"):
            request["Address"] = inputs["address"]
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "elastic-ip", "Tags": tag_list(inputs["tagsAll"])}]
        with doing("creating EC2 EIP"):
            return aws.ec2.allocate_address(**request)["AllocationId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        if inputs.get("instance") or inputs.get("networkInterface"):
            self._associate(aws, resource_id, inputs)

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        address: Any = None
        with Attempt(f"reading EC2 EIP ({resource_id})", ("InvalidAllocationID.NotFound",)):
            found = aws.ec2.describe_addresses(AllocationIds=[resource_id])["Addresses"]
            address = found[0] if found else None
        if address is None:
            return None
        public = address["PublicIp"]
        private = address.get("PrivateIpAddress")
        return {
            "allocationId": resource_id,
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:elastic-ip/{resource_id}",
            "associationId": address.get("AssociationId") or "",
            "domain": address.get("Domain", "vpc"),
            "instance": address.get("InstanceId") or "",
            "networkInterface": address.get("NetworkInterfaceId") or "",
            "networkBorderGroup": address.get("NetworkBorderGroup") or aws.region,
            "publicIpv4Pool": address.get("PublicIpv4Pool") or "amazon",
            "publicIp": public,
            "publicDns": f"ec2-{public.replace('.', '-')}.{_dns_suffix(aws.region, 'compute')}.amazonaws.com",
            "privateIp": private or "",
            "privateDns": f"ip-{private.replace('.', '-')}.{_dns_suffix(aws.region, 'ec2')}" if private else "",
            **read_tags(address.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 EIP ({resource_id})"):
            if changed & {"instance", "networkInterface", "associateWithPrivateIp"}:
                if olds.get("associationId"):
                    aws.ec2.disassociate_address(AssociationId=olds["associationId"])
                if news.get("instance") or news.get("networkInterface"):
                    self._associate(aws, resource_id, news)
            update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        current = self.read(aws, resource_id, state)
        if current is None:
            return
        with Attempt(f"deleting EC2 EIP ({resource_id})", ("InvalidAllocationID.NotFound",)):
            if state.get("instance") and current["associationId"]:
                aws.ec2.disassociate_address(AssociationId=current["associationId"])
            aws.ec2.release_address(AllocationId=resource_id)

    def unknown_after(self, changed: set[str]) -> set[str]:
        moved = changed & {"instance", "networkInterface", "associateWithPrivateIp"}
        return {"associationId", "privateIp", "privateDns"} if moved else set()

    def _associate(self, aws: Aws, allocation_id: str, inputs: Values) -> None:
        request: dict[str, Any] = {"AllocationId": allocation_id, "AllowReassociation": True}
        request |= _association_target(inputs, "instance", "networkInterface", "associateWithPrivateIp")
        with doing(f"associating EC2 EIP ({allocation_id})"):
            aws.ec2.associate_address(**request)


class EipAssociation(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/eipAssociation:EipAssociation",
        label="EC2 EIP Association",
        properties={
            "allocationId": Property(replaces=True, computed=True),
            "allowReassociation": Property(replaces=True),
            "instanceId": Property(replaces=True, computed=True),
            "networkInterfaceId": Property(replaces=True, computed=True),
            "privateIpAddress": Property(replaces=True, computed=True),
            "publicIp": Property(replaces=True, computed=True),
            "region": REGION,
        },
        needs_one_of=(("instanceId", "networkInterfaceId"),),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        # In a VPC an address moves without being asked to: AWS does not take "false" for an answer.
        request: dict[str, Any] = {"AllowReassociation": True}
        if inputs.get("allocationId"):
            request["AllocationId"] = inputs["allocationId"]
        elif inputs.get("publicIp"):
            request["PublicIp"] = inputs["publicIp"]
        request |= _association_target(inputs, "instanceId", "networkInterfaceId", "privateIpAddress")
        with doing("creating EC2 EIP Association"):
            return aws.ec2.associate_address(**request)["AssociationId"]

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        found: Any = None
        with Attempt(f"reading EC2 EIP Association ({resource_id})", ("InvalidAssociationID.NotFound",)):
            filters: list[Any] = [{"Name": "association-id", "Values": [resource_id]}]
            addresses = aws.ec2.describe_addresses(Filters=filters)["Addresses"]
            found = addresses[0] if addresses else None
        if found is None:
            return None
        return {
            "allocationId": found["AllocationId"],
            "instanceId": found.get("InstanceId") or "",
            "networkInterfaceId": found.get("NetworkInterfaceId") or "",
            "privateIpAddress": found.get("PrivateIpAddress") or "",
            "publicIp": found["PublicIp"],
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        raise failed(f"updating EC2 EIP Association ({resource_id}): not supported")

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EC2 EIP Association ({resource_id})", ("InvalidAssociationID.NotFound",)):
            aws.ec2.disassociate_address(AssociationId=resource_id)


def _association_target(inputs: Values, instance: str, interface: str, private_ip: str) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if inputs.get(interface):
        target["NetworkInterfaceId"] = inputs[interface]
    elif inputs.get(instance):
        target["InstanceId"] = inputs[instance]
    if inputs.get(private_ip):
        target["PrivateIpAddress"] = inputs[private_ip]
    return target


def _dns_suffix(region: str, kind: str) -> str:
    if kind == "ec2":
        return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return "compute-1" if region == "us-east-1" else f"{region}.compute"


RESOURCES: Final = (Eip(), EipAssociation())
