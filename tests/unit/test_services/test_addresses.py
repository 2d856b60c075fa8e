"""Who may connect by SSH: what is typed, and who is never shut out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geusemaker.errors import InvalidInputError
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import Target
from geusemaker.services.addresses import wished_addresses, with_addresses
from tests.unit.fakes import Shown, World

TARGET = Target(kind="aws", region="eu-central-1", ssh_cidrs=("203.0.113.0/24", "198.51.100.7/32"))


def from_(address: str) -> Callable[[], str]:
    return lambda: address


def test_me_is_this_machine_and_a_single_address_is_a_range_of_one() -> None:
    found = wished_addresses(("me", " 198.51.100.7", "10.0.0.0/8", "ME"), from_("203.0.113.7"))
    assert found == ("203.0.113.7/32", "198.51.100.7/32", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("203.0.113.7/24", "Did you mean 203.0.113.0/24?"),
        ("2001:db8::1", "is not a range of addresses"),
        ("mine", "is not a range of addresses"),
        ("0/0", "is not a range of addresses"),
    ],
)
def test_what_aws_would_not_take_is_refused_first(typed: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match="--ssh-cidr") as refused:
        wished_addresses((typed,), from_("203.0.113.7"))
    assert said in refused.value.message


def test_the_range_in_use_stays() -> None:
    after, (check,) = with_addresses(TARGET, ("192.0.2.1/32",), from_("203.0.113.9"))
    assert after.ssh_cidrs == ("192.0.2.1/32", "203.0.113.0/24")
    assert check.detail == (
        "203.0.113.0/24 stays: this very connection comes from 203.0.113.9; 198.51.100.7/32 may not connect by SSH "
        "any more"
    )


def test_a_range_goes_where_another_one_lets_this_connection_in() -> None:
    after, (check,) = with_addresses(TARGET, ("203.0.113.9/32",), from_("203.0.113.9"))
    assert after.ssh_cidrs == ("203.0.113.9/32",)
    assert check.detail == "203.0.113.0/24 and 198.51.100.7/32 may not connect by SSH any more"


def test_where_nobody_knows_where_this_connection_comes_from_it_is_said() -> None:
    after, (check,) = with_addresses(TARGET, ("192.0.2.1/32",), from_(""))
    assert after.ssh_cidrs == ("192.0.2.1/32",) and check.detail.endswith("yours has to be among 192.0.2.1/32")


def test_more_addresses_ask_nobody_and_the_whole_internet_is_told() -> None:
    def nobody() -> str:
        raise AssertionError("it is not asked where nothing goes")

    assert with_addresses(TARGET, (*TARGET.ssh_cidrs, "192.0.2.1/32"), nobody)[1] == ()
    assert with_addresses(TARGET, tuple(reversed(TARGET.ssh_cidrs)), nobody) == (TARGET, ())
    [check] = with_addresses(TARGET, (*TARGET.ssh_cidrs, "0.0.0.0/0"), nobody)[1]
    assert check.status == "warn" and "the whole internet may knock" in check.detail


def test_an_update_changes_them_and_no_version_has_them(world: World) -> None:
    assert world.deploy(DeployRequest()).success
    shown = Shown()
    assert world.update(shown, ssh_cidrs=("192.0.2.0/24",)).success
    assert [str(change) for change in shown.plans[0].changes] == ["ssh_cidrs: 127.0.0.0/8 -> 192.0.2.0/24, 127.0.0.0/8"]
    assert world.update(ssh_cidrs=("me",)).success
    where, versions = world.state().target, world.state().versions
    assert where is not None and where.ssh_cidrs == ("127.0.0.1/32",)
    assert versions[0].config == versions[-1].config
    with pytest.raises(InvalidInputError, match="no address may reach the instance"):
        world.update(ssh_cidrs=())
