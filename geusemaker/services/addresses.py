"""The addresses that may connect by SSH: a fact of the deployment, which options and a stack file may give.

A version does not carry them, so no rollback lets anybody in or shuts anybody out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

from geusemaker.errors import GeusemakerError, InvalidInputError
from geusemaker.models.network import address_range
from geusemaker.models.plan import CheckResult, ConfigChange
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import Target
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account

ME: Final = "me"
"""On the command line: the address that this machine has to others. A file is the same for whoever applies it."""

_EVERYBODY: Final = "0.0.0.0/0"


def wished_addresses(given: Iterable[str], find_own: Callable[[], str]) -> tuple[str, ...]:
    """The ranges that were typed, each once, as AWS takes them.

    Args:
        given: as typed; ``me`` is this machine's.
        find_own: asks who that is.

    Raises:
        InvalidInputError: one is no range of addresses.
        EnvironmentProblemError: nobody tells this machine's address.
    """
    found: dict[str, None] = {}
    for text in given:
        word = text.strip()
        if word.lower() == ME:
            word = find_own()
        if "/" not in word:
            word = f"{word}/32"
        try:
            found[address_range(word)] = None
        except ValueError as error:
            raise InvalidInputError(
                f"--ssh-cidr: {error}", next_step="Write it as --ssh-cidr 203.0.113.7/32, or --ssh-cidr me for yours."
            ) from error
    return tuple(found)


def changed_addresses(
    collaborators: Collaborators, request: ConfigRequest, target: Target
) -> tuple[Target, tuple[CheckResult, ...]]:
    """The target with the addresses that are asked for, and what is said of those that are shut out.

    Nobody shuts out the very connection by which it is done.

    Raises:
        InvalidInputError: one is no range of addresses, or none would be left.
        EnvironmentProblemError: nobody tells this machine's address.
    """
    if request.ssh_cidrs is None:
        return target, ()
    wanted = wished_addresses(request.ssh_cidrs, collaborators.cloud(target.region).own_address)
    if not wanted:
        raise _nobody_left(request)
    return with_addresses(target, wanted, lambda: _seen_from(collaborators, target))


def with_addresses(
    target: Target, wanted: tuple[str, ...], seen_from: Callable[[], str]
) -> tuple[Target, tuple[CheckResult, ...]]:
    """The target with these addresses. ``seen_from`` tells where the connection in use comes from; empty: not known."""
    if set(wanted) == set(target.ssh_cidrs):
        return target, ()
    out = [cidr for cidr in target.ssh_cidrs if cidr not in wanted]
    mine = seen_from() if out else ""
    kept = () if _within(mine, wanted) else tuple(cidr for cidr in out if _within(mine, (cidr,)))
    gone = [cidr for cidr in out if cidr not in kept]
    told = []
    if kept:
        told.append(f"{' and '.join(kept)} stays: this very connection comes from {mine}")
    if gone:
        told.append(f"{' and '.join(gone)} may not connect by SSH any more")
    if gone and not mine:
        told.append(f"yours has to be among {', '.join(wanted)}")
    if _EVERYBODY in wanted:
        told.append("the whole internet may knock at SSH; it lets in nobody but the holder of the key")
    target = target.model_copy(update={"ssh_cidrs": (*wanted, *kept)})
    return target, (CheckResult(name="addresses", status="warn", detail="; ".join(told)),) if told else ()


def address_change(before: Target | None, after: Target) -> tuple[ConfigChange, ...]:
    """The line of a plan that says so."""
    if before is None or set(before.ssh_cidrs) == set(after.ssh_cidrs):
        return ()
    old, new = (", ".join(target.ssh_cidrs) for target in (before, after))
    return (ConfigChange(path="ssh_cidrs", old=old or None, new=new or None),)


def _seen_from(collaborators: Collaborators, target: Target) -> str:
    """Where this machine connects from, as the instance sees it; empty where it cannot be asked."""
    try:
        require_account(collaborators, target)
        instance = collaborators.cloud(target.region).find_instance(collaborators.deployment)
        if instance is None or not instance.may_answer:
            return ""
        with collaborators.open_host(instance.address, target, collaborators.engine.load_secrets()) as host:
            return host.seen_from()
    except GeusemakerError:
        return ""  # the plan tells why the instance does not answer, and that nobody knows


def _within(address: str, ranges: Iterable[str]) -> bool:
    try:
        place = IPv4Address(address)
    except AddressValueError:
        return False
    return any(place in IPv4Network(one, strict=False) for one in ranges)


def _nobody_left(request: ConfigRequest) -> InvalidInputError:
    file = request.desired
    place = f"{file.place('deployment', 'ssh_cidrs')}: " if file is not None else ""
    return InvalidInputError(
        f"{place}no address may reach the instance over SSH then, and everything on it is done over SSH.",
        next_step="Name yours at least, or leave ssh_cidrs out to keep what the deployment has.",
    )
