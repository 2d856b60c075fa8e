"""What ``secrets list`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Line, columns, count, line, moment

if TYPE_CHECKING:
    from geusemaker.models.secrets import SecretList

_HEADER = ("SECRET", "KIND", "SINCE", "BY", "USED BY")


def render_secrets(found: SecretList) -> list[Line]:
    """One row a secret, and what to type to see one."""
    where = f", as v{found.version} uses them" if found.version is not None else ""
    rows = [
        [
            (one.name, ""),
            (one.kind, "" if one.kind == "given" else "dim"),
            (moment(one.set_at), ""),
            (one.set_by or "-", ""),
            (", ".join(one.used_by) or "-", ""),
        ]
        for one in found.secrets
    ]
    return [
        line(f"{found.deployment}: {count(len(found.secrets), 'secret')}{where}", "bold"),
        line(),
        *columns([[(title, "bold") for title in _HEADER], *rows]),
        line(),
        line(f"`geusemaker secrets show {found.deployment} SECRET` shows the value of one.", "dim"),
    ]
