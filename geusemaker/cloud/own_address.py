"""The address of this machine, as AWS sees it: nobody else is asked."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Final

from geusemaker.cloud.http import Http, HttpError
from geusemaker.errors import EnvironmentProblemError

LOOPBACK: Final = "127.0.0.1"
_URL: Final = "https://checkip.amazonaws.com/"
"""AWS's own, which its documentation has for just this: it answers with the address that asks, and nothing else.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-rules-reference.html"""
_TIMEOUT_SECONDS: Final = 10.0


def ask_own_address(http: Http | None = None) -> str:
    """This machine's IPv4 address to the outside: that of its router, where there is one between.

    Raises:
        EnvironmentProblemError: AWS does not tell it.
    """
    try:
        answer = (http or Http(_TIMEOUT_SECONDS)).request("GET", _URL, {})
        text = answer.data.decode("ascii", "replace").strip()
        return str(IPv4Address(text if answer.status == 200 else ""))
    except (HttpError, AddressValueError) as error:
        why = f": it {error}" if isinstance(error, HttpError) else " with an IPv4 address"
        raise EnvironmentProblemError(
            f"What this machine's address is, is not known: checkip.amazonaws.com does not answer{why}.",
            state="Nothing was changed.",
            next_step="Give it by hand: --ssh-cidr 203.0.113.7/32.",
        ) from error
