"""What AWS has for a deployment to be made of: subnets, instance types, images."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from geusemaker.cloud.session import AwsSession
from geusemaker.models.machine_image import DEBIAN_OWNER, MachineImage
from geusemaker.models.stack import InstanceFacts

GPU_IMAGE_PARAMETER: Final = (
    "/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
)
"""AWS's public parameter for it: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html"""


class AwsOffers(AwsSession):
    """Questions about what there is for everybody."""

    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None:
        """The subnet to deploy into: the given one, else the first default (or only) subnet of the VPC."""
        filters = []
        if subnet_id:
            filters.append({"Name": "subnet-id", "Values": [subnet_id]})
        if vpc_id:
            filters.append({"Name": "vpc-id", "Values": [vpc_id]})
        if not filters:
            filters.append({"Name": "default-for-az", "Values": ["true"]})
        subnets = self._ask("ec2", lambda ec2: ec2.describe_subnets(Filters=filters))["Subnets"]
        return min(subnets, key=lambda subnet: str(subnet["AvailabilityZone"]), default=None)

    def find_instance_type(self, instance_type: str) -> InstanceFacts | None:
        """What AWS says of an instance type; None when it does not know it."""
        types = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [instance_type]}]),
        )["InstanceTypes"]
        if not types:
            return None
        found = types[0]
        architectures = found["ProcessorInfo"]["SupportedArchitectures"]
        # Those of others (AMD's of g4ad) need another image of Ollama, and other software on the instance.
        gpus = [gpu for gpu in found.get("GpuInfo", {}).get("Gpus", ()) if gpu.get("Manufacturer") == "NVIDIA"]
        return InstanceFacts(
            memory_mib=found["MemoryInfo"]["SizeInMiB"],
            gpus=sum(gpu["Count"] for gpu in gpus),
            gpu_memory_mib=sum(gpu["Count"] * gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) for gpu in gpus),
            architecture="arm64" if "arm64" in architectures else "amd64",
        )

    def is_offered(self, instance_type: str, availability_zone: str) -> bool:
        """Whether the zone offers the instance type."""
        offerings = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instance_type_offerings(
                LocationType="availability-zone",
                Filters=[
                    {"Name": "instance-type", "Values": [instance_type]},
                    {"Name": "location", "Values": [availability_zone]},
                ],
            ),
        )["InstanceTypeOfferings"]
        return bool(offerings)

    def zones_offering(self, instance_type: str) -> set[str]:
        """The region's zones that offer the instance type."""
        wanted = [{"Name": "instance-type", "Values": [instance_type]}]
        found = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted),
        )["InstanceTypeOfferings"]
        return {str(one["Location"]) for one in found}

    def find_spot_price(self, instance_type: str, availability_zone: str) -> float | None:
        """What an hour of Linux on a spot instance costs there now, in US dollars; None: AWS does not tell.

        Since now, that is the last change before it:
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
        """
        asked: dict[str, Any] = {
            "InstanceTypes": [instance_type],
            "ProductDescriptions": ["Linux/UNIX"],
            "AvailabilityZone": availability_zone,
            "StartTime": datetime.now(UTC),
        }
        found = self._ask("ec2", lambda ec2: ec2.describe_spot_price_history(**asked))["SpotPriceHistory"]
        newest = max(found, key=lambda one: str(one["Timestamp"]), default=None)
        return float(newest["SpotPrice"]) if newest is not None else None

    def find_debian_image(self, architecture: str) -> str | None:
        """The newest Debian 13 AMI of that architecture."""
        images = self._ask(
            "ec2",
            lambda ec2: ec2.describe_images(
                Owners=[DEBIAN_OWNER], Filters=[{"Name": "name", "Values": [f"debian-13-{architecture}-*"]}]
            ),
        )["Images"]
        newest = max(images, key=lambda image: str(image["CreationDate"]), default=None)
        return str(newest["ImageId"]) if newest else None

    def find_gpu_image(self, architecture: str) -> str | None:
        """AWS's newest Deep Learning Base AMI, with NVIDIA's driver and container toolkit; None: there is none here."""
        name = GPU_IMAGE_PARAMETER.format(architecture={"amd64": "x86_64"}.get(architecture, architecture))

        def ask(ssm: Any) -> str | None:
            try:
                return str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
            except ssm.exceptions.ParameterNotFound:
                return None

        found: str | None = self._ask("ssm", ask)
        return found

    def find_image_architecture(self, ami: str) -> str | None:
        """The architecture of an AMI (amd64, arm64), a deprecated one too; None when there is no such AMI."""
        image = self._image(ami)
        if image is None:
            return None
        # One that is neither (i386, x86_64_mac …) keeps its own name, and fits no instance type.
        architecture = str(image["Architecture"])
        return {"x86_64": "amd64"}.get(architecture, architecture)

    def find_machine_image(self, ami: str) -> MachineImage | None:
        """What AWS says of an AMI, a deprecated one too; None when there is no such AMI."""
        image = self._image(ami)
        if image is None:
            return None
        root = image.get("RootDeviceName")
        disks = [disk for disk in image.get("BlockDeviceMappings", ()) if disk.get("DeviceName") == root]
        architecture = str(image["Architecture"])
        return MachineImage(
            id=ami,
            name=image.get("Name", ""),
            owner=image.get("OwnerId", ""),
            owner_alias=image.get("ImageOwnerAlias", ""),
            platform=image.get("PlatformDetails", "") or image.get("Platform", ""),
            architecture={"x86_64": "amd64"}.get(architecture, architecture),
            least_gib=max((int(disk.get("Ebs", {}).get("VolumeSize", 0)) for disk in disks), default=0),
        )

    def image_date(self, ami: str) -> str:
        """The day on which an AMI was made, as 2026-11-30, of a deprecated one too; empty when there is no such AMI."""
        image = self._image(ami)
        return str(image.get("CreationDate") or "")[:10] if image is not None else ""

    def _image(self, ami: str) -> dict[str, Any] | None:
        wanted = [{"Name": "image-id", "Values": [ami]}]
        images = self._ask("ec2", lambda ec2: ec2.describe_images(Filters=wanted, IncludeDeprecated=True))["Images"]
        return images[0] if images else None
