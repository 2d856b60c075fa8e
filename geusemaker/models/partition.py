"""What is called differently in AWS's other partitions: China (aws-cn) and the US government's (aws-us-gov).

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html and
https://docs.amazonaws.cn/en_us/aws/latest/userguide/ARNs.html
"""

from __future__ import annotations

from typing import Final

SSM_POLICY: Final = "iam::aws:policy/AmazonSSMManagedInstanceCore"
"""The managed policy by which Session Manager reaches an instance, without its partition."""

_CHINA: Final = "aws-cn"


def partition_of(region: str, known: str = "") -> str:
    """The partition of a deployment; one from before it was written down is known by its region."""
    if known:
        return known
    return {"cn": _CHINA, "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")


def service_principal(service: str, partition: str) -> str:
    """How a service is named in a role's trust; EC2's in China ends as its addresses do."""
    return f"{service}.{dns_suffix(partition)}"


def dns_suffix(partition: str) -> str:
    """How the host names of AWS's services end."""
    return "amazonaws.com.cn" if partition == _CHINA else "amazonaws.com"
