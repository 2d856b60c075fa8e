"""A deployment's secrets: those that were generated for it, and those that its operator gave it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from geusemaker.catalog import SERVICES
from geusemaker.models.base import Model

SECRET_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")

USABLE: Final = tuple(
    sorted({field for one in SERVICES.values() for field in (*one.secrets.values(), *one.third_secrets.values())})
)
"""The generated secrets that a variable may have as well: those of services, not the keys of the machine."""


NOTIFY: Final = "notify"
"""The secret that holds where a deployment's notifications go, one address a line."""
NOBODY: Final = "tell-nobody"
"""Its value where nobody is to be told any more, as if it were deleted. As values are hidden, no plain word."""


class OwnSecret(Model):
    """A secret that the operator gave."""

    value: str
    """It."""
    set_at: datetime | None = None
    """When it was given."""
    set_by: str = ""
    """Who gave it."""
    operation: str = ""
    """The operation that it came with."""
    before: OwnSecret | None = None
    """What was there before, for the way back of that operation; of it, what was before is not kept."""

    def plain(self) -> dict[str, Any]:
        """As it is stored."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def __repr__(self) -> str:
        return "OwnSecret(…)"

    __str__ = __repr__


class Secrets(Model):
    """What nobody may see; never part of a version, never printed. All but ``own`` is generated once per deployment."""

    ssh_private_key: str
    host_private_key: str
    postgresql_password: str
    n8n_encryption_key: str
    crawl4ai_token: str
    qdrant_key: str = ""
    """Empty: a deployment of before there was one, which gets it with its first version that has walls."""
    own: dict[str, OwnSecret] = Field(default_factory=dict)
    """Name → what the operator gave."""

    def __repr__(self) -> str:
        return "Secrets(…)"

    __str__ = __repr__

    @property
    def generated(self) -> dict[str, str]:
        """Name → value of those that geusemaker made."""
        return {name: value for name in GENERATED if (value := getattr(self, name))}

    @property
    def texts(self) -> list[str]:
        """Every value that is in here, former ones too."""
        former = [one.before.value for one in self.own.values() if one.before is not None]
        return [*self.generated.values(), *(one.value for one in self.own.values()), *former]

    @property
    def addresses(self) -> list[str]:
        """Where the deployment's notifications go."""
        words = self.own[NOTIFY].value.split() if NOTIFY in self.own else []
        return [] if words == [NOBODY] else words

    def find(self, name: str) -> str | None:
        """The value that a variable gets which refers to this name; None: there is no such secret."""
        if name in self.own:
            return self.own[name].value
        return self.generated.get(name) if name in USABLE else None

    def to_json(self) -> str:
        """As it is stored, encrypted. What a deployment does not have is left out, as it was before there was such."""
        return self.model_dump_json(exclude_defaults=True)


GENERATED: Final = tuple(name for name in Secrets.model_fields if name != "own")
"""The names of the generated ones."""


class SecretEntry(Model):
    """One secret of a deployment, without its value."""

    name: str
    """What it is called."""
    kind: Literal["generated", "given"]
    """Whether geusemaker made it, or the operator gave it."""
    used_by: list[str] = Field(default_factory=list)
    """The variables that have it in the active version, as ``n8n.SMTP_PASS``; of a key of the machine, what for."""
    set_at: datetime | None = None
    """When it was made, given or changed last; None: that is not known here."""
    set_by: str = ""
    """Who gave or changed it; empty: it was made with the deployment, or that is not known here."""


class SecretList(Model):
    """The secrets of a deployment, without their values."""

    deployment: str
    """The deployment's name."""
    version: int | None = None
    """The active version, whose variables are told."""
    secrets: list[SecretEntry]
    """The generated ones first, each kind in the order of names."""
