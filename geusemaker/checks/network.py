"""Whether the network carries the deployment: asked before anything is made, for what is made, one function each.

Where a deployment runs already its network evidently works: what looks wrong is a warning then, and no refusal.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Final, Literal

from geusemaker.models.network import AclEntry, NetworkFacts
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import Target

_HTTPS: Final = 443
_EPHEMERAL: Final = (32768, 60999)
"""Linux's own; https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html#nacl-ephemeral-ports"""
_CLIENTS: Final = (49152, 60999)
"""Those that every system of whoever connects uses, Linux and others."""
_TCP: Final = ("6", "-1")
_WORLD: Final = "0.0.0.0/0"


def check_route(target: Target, facts: NetworkFacts, *, runs: bool) -> CheckResult:
    """The instance gets out, for packages and images, and is reached at its address.

    Args:
        runs: whether the deployment runs there already.
    """
    subnet = facts.subnet
    if subnet.way_out == "unknown":
        detail = f"{subnet.id} in {subnet.zone}; where its default route leads is unknown: AWS does not tell"
        return CheckResult(name="route", status="pass", detail=detail)
    ways = {
        "internet": f"an internet gateway ({subnet.by})",
        "nat": f"a NAT gateway ({subnet.by})",
        "other": subnet.by,
        "none": "nothing",
    }
    detail = f"{subnet.id} in {subnet.zone}, its default route leads to {ways[subnet.way_out]}"
    wrong = ""
    if subnet.way_out == "none":
        wrong = "packages and images could not be had: add a route to an internet gateway, or give another --subnet"
    elif target.address != "private" and subnet.way_out == "nat":
        wrong = (
            "an Elastic IP is not reached there: give a --subnet with an internet gateway, or --address private if you "
            "come by a VPN"
        )
    elif target.address == "private" and subnet.way_out == "internet" and not subnet.gives_public_addresses:
        wrong = "an instance without a public address does not get out by it: give a --subnet with a NAT gateway"
    return _judged("route", f"{detail}: {wrong}" if wrong else detail, wrong, runs=runs)


def check_public_addresses(target: Target, facts: NetworkFacts) -> CheckResult:
    """What address the instance has to others."""
    gives = facts.subnet.gives_public_addresses
    if target.address == "private" and target.site is not None and not target.site.internal_ca:
        detail = "domains need a public address, by which certificate authorities come: leave --address or --domain out"
        return CheckResult(name="address", status="fail", detail=detail)
    if target.address != "private":
        until = "" if gives else "; until that is associated the instance has no way out"
        return CheckResult(name="address", status="pass", detail=f"an Elastic IP{until}")
    if gives:
        detail = f"a private one, but {facts.subnet.id} gives each instance a public one as well"
        return CheckResult(name="address", status="warn", detail=detail)
    return CheckResult(name="address", status="pass", detail="a private one only: whoever connects comes by a VPN")


def check_dns(target: Target, facts: NetworkFacts, *, runs: bool) -> CheckResult:
    """The VPC resolves names, that of the file system too, unless that is mounted by its address.

    The name takes both attributes, the address none:
    https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html and mounting-fs-mount-cmd-ip-addr.html
    """
    off = [
        name
        for name, on in (("enableDnsSupport", facts.dns_support), ("enableDnsHostnames", facts.dns_hostnames))
        if not on
    ]
    if not off and target.mounts_by == "name":
        return CheckResult(name="DNS", status="pass", detail="the VPC resolves names, those of EFS too")
    if target.mounts_by == "address":
        by = "EFS is mounted by its mount target's address"
        if facts.dns_support:
            return CheckResult(name="DNS", status="pass", detail=f"the VPC resolves names; {by}")
        detail = (
            f"{by}; enableDnsSupport is off, so names of packages and images are resolved only if the VPC's DHCP "
            "options name a DNS server of your own"
        )
        return CheckResult(name="DNS", status="warn", detail=detail)
    flag = "--enable-dns-support" if not facts.dns_support else "--enable-dns-hostnames"
    wrong = (
        f"{' and '.join(off)} {'are' if off[1:] else 'is'} off, so the file system's name leads nowhere there: "
        f"`aws ec2 modify-vpc-attribute --vpc-id {facts.subnet.vpc_id} {flag}` turns "
        + ("the first on, and then the other one" if off[1:] else "it on")
    )
    return _judged("DNS", wrong, wrong, runs=runs)


def check_network_acl(target: Target, facts: NetworkFacts, *, runs: bool) -> CheckResult:
    """The subnet's network ACL, which knows no connections, lets SSH and what comes back through, and the way out."""
    name = "network ACL"
    blocked: list[str] = []
    for cidr in () if target.through_aws else target.ssh_cidrs:
        if not _passes(facts.acl, "in", cidr, (target.ssh_port, target.ssh_port)):
            blocked.append(f"SSH (port {target.ssh_port}) from {cidr}")
        elif not _passes(facts.acl, "out", cidr, _CLIENTS):
            blocked.append(f"what SSH answers to {cidr} (ports {_CLIENTS[0]} to {_CLIENTS[1]} outward)")
    if not _passes(facts.acl, "out", _WORLD, (_HTTPS, _HTTPS)):
        blocked.append("HTTPS outward, for packages and images")
    elif not _passes(facts.acl, "in", _WORLD, _EPHEMERAL):
        blocked.append(f"what HTTPS answers (ports {_EPHEMERAL[0]} to {_EPHEMERAL[1]} inward)")
    for port in target.site.ports if target.site is not None else ():
        if not _passes(facts.acl, "in", _WORLD, (port, port)):
            blocked.append(f"port {port} from everybody, for the domains")
    detail = f"that of {facts.subnet.id} does not let through: {', '.join(blocked)}" if blocked else "lets all through"
    return _judged(name, detail, detail if blocked else "", runs=runs)


def check_address_quota(found: tuple[int, int] | None) -> CheckResult:
    """The account may have one Elastic IP more in the region.

    Args:
        found: (what it may have, what it has); None: nobody tells.
    """
    if found is None:
        detail = "unknown: Service Quotas does not tell how many addresses the account may have"
        return CheckResult(name="address quota", status="pass", detail=detail)
    quota, used = found
    detail = f"{used} of {quota} Elastic IPs are in use"
    if used < quota:
        return CheckResult(name="address quota", status="pass", detail=detail)
    detail += ": release one that nobody uses, have the quota raised in Service Quotas, or give --address private"
    return CheckResult(name="address quota", status="fail", detail=detail)


def check_vcpu_quota(instance_type: str, found: tuple[str, int, int, int] | None) -> CheckResult:
    """The account may run such an instance in the region.

    Args:
        found: (family, vCPUs that it may have, those that others have, those that one takes); None: nobody tells.
    """
    if found is None:
        detail = f"unknown: Service Quotas does not tell how many vCPUs of the family of {instance_type} may run"
        return CheckResult(name="vCPU quota", status="pass", detail=detail)
    family, quota, used, needed = found
    detail = f"{instance_type} takes {needed} vCPUs; others have {used} of {quota} of the family {family}"
    if used + needed <= quota:
        return CheckResult(name="vCPU quota", status="pass", detail=detail)
    detail += ": have the quota raised in Service Quotas, which takes hours to days, or choose another --instance-type"
    return CheckResult(name="vCPU quota", status="fail", detail=detail)


def _judged(name: str, detail: str, wrong: str, *, runs: bool) -> CheckResult:
    status: Literal["pass", "warn", "fail"] = "pass" if not wrong else "warn" if runs else "fail"
    return CheckResult(name=name, status=status, detail=detail)


def _passes(entries: Iterable[AclEntry], way: Literal["in", "out"], cidr: str, ports: tuple[int, int]) -> bool:
    """Whether an ACL lets these TCP ports through, for a whole range of addresses.

    A line that is for a part of the range alone decides nothing: one that shuts out a single address, say. One that
    denies a part of the ports denies.
    """
    peer = IPv4Network(cidr, strict=False)
    for entry in sorted(entries, key=lambda one: one.number):
        if entry.outward is not (way == "out") or entry.protocol not in _TCP:
            continue
        line = IPv4Network(entry.cidr, strict=False)
        everything = entry.protocol == "-1"
        first, last = (0, 65535) if everything else (entry.from_port, entry.to_port)
        if entry.allows:
            if peer.subnet_of(line) and first <= ports[0] and ports[1] <= last:
                return True
        elif peer.subnet_of(line) and first <= ports[1] and ports[0] <= last:
            return False
    return False
