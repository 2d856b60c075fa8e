"""At which port of the instance a service is, and whether a browser can do something with it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from geusemaker.catalog import PROXY
from geusemaker.errors import InvalidInputError
from geusemaker.models.stack import StackConfig, describe

EDITOR = "n8n"
"""What is opened where nothing else is said."""


class Port(NamedTuple):
    """A service's port on the instance's loopback."""

    number: int
    http: bool


def ports_of(config: StackConfig | None) -> dict[str, Port]:
    """Service → its port, of those that have one; not the proxy, which is there for the world."""
    names = [name for name in config.services if name != PROXY.name] if config is not None else []
    known = {name: describe(config, name) for name in names} if config is not None else {}
    return {name: Port(one.port, one.readiness["kind"] == "http") for name, one in known.items() if one.port}


def _page(config: StackConfig | None) -> str | None:
    pages = [name for name, port in ports_of(config).items() if port.http]
    return EDITOR if EDITOR in pages else next(iter(pages), None)


def to_open(config: StackConfig | None, deployment: str) -> str:
    """The service to open: the editor, else the first that speaks HTTP.

    Raises:
        InvalidInputError: there is none.
    """
    page = _page(config)
    if page is None:
        raise InvalidInputError(
            f"{deployment} has no service that a browser can open.",
            next_step=f"`geusemaker tunnel {deployment}` leads to the others.",
        )
    return page


def way_in(config: StackConfig, deployment: str) -> str:
    """What somebody types next who wants to use it."""
    page = _page(config)
    if page is None:
        return f"`geusemaker tunnel {deployment}` leads to its services."
    return f"`geusemaker open {deployment}` shows {page} in your browser."
