"""What AWS tells of a network."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Literal

from geusemaker.models.base import Model


def address_range(value: str) -> str:
    """A range of IPv4 addresses as AWS takes one: with no bits set behind its length. The instance has no IPv6 address.

    Raises:
        ValueError: it is none.
    """
    try:
        IPv4Network(value)
    except ValueError:
        pass
    else:
        return value
    try:
        meant = f" Did you mean {IPv4Network(value, strict=False)}?"
    except ValueError:
        meant = ""
    raise ValueError(f"{value!r} is not a range of addresses, as 203.0.113.7/32.{meant}")


class GroupRule(Model):
    """One rule of a security group, as AWS has it."""

    id: str
    """``sgr-…``."""
    group_id: str
    """The group that it is a rule of."""
    outward: bool
    """Whether it lets out rather than in."""
    protocol: str
    """``tcp``, or ``-1``: every one."""
    from_port: int = -1
    """The first port; -1: every one."""
    to_port: int = -1
    """The last."""
    cidr: str = ""
    """Who the peer is, by address; empty: not by an IPv4 address."""
    peer_group: str = ""
    """Who the peer is, by security group; empty: not by one."""


WayOut = Literal["internet", "nat", "other", "none", "unknown"]
"""What a subnet's default route leads to: an internet gateway, a NAT gateway, something else (a transit gateway, an
appliance, a VPN), nothing, or who may not ask cannot tell."""


class Subnet(Model):
    """A subnet, with what its route table says."""

    id: str
    """``subnet-…``."""
    vpc_id: str
    """The VPC that it is in."""
    zone: str
    """Its availability zone."""
    way_out: WayOut
    """What its default route leads to."""
    by: str = ""
    """The id of that."""
    cidr: str = ""
    """Its addresses."""
    free_addresses: int = 2
    """How many private addresses are left in it."""
    gives_public_addresses: bool = False
    """Whether an instance gets a public address when it is made."""


class AclEntry(Model):
    """One line of a network ACL. Lines are tried by their number, and the first that fits decides."""

    number: int
    """Its place."""
    outward: bool
    """Whether it is for what goes out."""
    allows: bool
    """Whether what fits passes."""
    protocol: str
    """As IANA numbers them; ``-1``: every one."""
    cidr: str
    """The other side's addresses."""
    from_port: int = 0
    """The first port that it is for."""
    to_port: int = 65535
    """The last."""


class NetworkFacts(Model):
    """The network around a subnet."""

    subnet: Subnet
    """Where the deployment is, or is to be."""
    dns_support: bool
    """Whether the VPC has AWS's resolver."""
    dns_hostnames: bool
    """Whether names of AWS's, as those of file systems, lead to addresses in it."""
    acl: tuple[AclEntry, ...] = ()
    """The subnet's network ACL."""

    @property
    def resolves_efs(self) -> bool:
        """Whether a file system's name leads to its mount target.

        https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html wants both.
        """
        return self.dns_support and self.dns_hostnames
