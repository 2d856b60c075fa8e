"""Which services a value of a variable names as hosts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_HOST: Final = re.compile(r"//(?:[^/@\s]*@)?(?P<host>[a-z][a-z0-9-]*)(?=[:/?#\s,]|$)")


def named_hosts(values: Iterable[str]) -> tuple[str, ...]:
    """The host names without a dot in URLs, in order; such are services of the deployment, where there are any."""
    return tuple(dict.fromkeys(match["host"] for value in values for match in _HOST.finditer(value)))
