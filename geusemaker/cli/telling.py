"""Who is told of one run, as it was given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from geusemaker import Deployment

_FORMS: Final = "--notify @FILE, --notify env:VARIABLE and --notify - (standard input) read addresses, one a line."


def apply(deployment: Deployment, notify: Sequence[str] | None, hook: Sequence[str] | None) -> None:
    """Have the deployment tell these as well. Addresses are secrets, so none of them is an argument.

    Raises:
        InvalidInputError: one cannot be read.
    """
    if not notify and not hook:
        return
    from geusemaker.cli.secret_values import read_value

    texts = [read_value(source, "an address", _FORMS).get_secret_value() for source in notify or ()]
    deployment.tell(addresses=[word for text in texts for word in text.split()], commands=tuple(hook or ()))
