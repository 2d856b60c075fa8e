"""What is asked for: a change, with which options, and of a deployment in which state. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, SecretStr

from geusemaker.models.base import Model
from geusemaker.models.plan import CheckResult
from geusemaker.models.request import ChangeOptions
from geusemaker.models.stack import Secrets, ServiceName, StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import OperationKind, Provenance, Trigger, Version


class Change(Model):
    """What is to be made real, and why."""

    kind: OperationKind
    config: StackConfig
    target: Target
    source_version: int | None = None
    services_from: dict[ServiceName, int] = Field(default_factory=dict)
    """A rollback of some services alone: service → the version whose config of it comes back."""
    trigger: Trigger = "manual"
    checks: tuple[CheckResult, ...] = ()
    """What was found out while the config was made."""
    returns: bool = False
    """Go back by itself, to where a rollback would go, if this change fails."""
    new_secrets: Secrets | None = None
    """Those made for a first deploy; they are the deployment's when the plan is accepted, and else nobody's."""
    secret_values: dict[str, SecretStr] = Field(default_factory=dict)
    """Name of a secret → its value, which holds from this change on."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the deployment that are others when the change has come to its end; an empty value: none any more."""
    n8n_key: SecretStr | None = None
    """n8n's encryption key, given for data that is taken up and does not have it."""
    new_n8n_key: bool = False
    """Whether a new one will do where nobody has it; n8n's credentials will be unreadable."""
    root_volume_gib: int | None = None
    """The size that the instance's own disk is to grow to; None: it stays as AWS has it."""
    data_volume_gib: int | None = None
    """The size that the data volume is to grow to; None: it stays as AWS has it, whatever was asked for before."""
    with_data: bool = False
    """Whether the data goes back as well, where what the software did to it since stands in the way."""
    began_with: frozenset[str] | None = None
    """A return: the migrations of n8n's database when the change began that failed, under the n8n that comes back."""
    found_failing: int | None = None
    """The version whose services run and fail, and for which this goes to another one; on record once that works."""
    put_back: Provenance | None = None
    """A version that ran and that the history has lost: it is put back under its own number and operation."""
    above: int = 0
    """The highest number that is known to have been given to a version that the history has lost."""
    repair: bool = False
    """Settle what a killed or failed engine left behind before planning."""
    repairs: tuple[str, ...] = ()
    """What is not as it should be, as ``status`` sees it."""
    reboots: tuple[str, ...] = ()
    """Why the instance, which answers, is to boot anew, in order; empty: it is not."""
    renewals: tuple[str, ...] = ()
    """Docker's packages that are renewed, old → new; empty: none is."""
    restarts: tuple[ServiceName, ...] = ()
    """Services that run and do not answer: they are started once more."""

    @property
    def grows(self) -> bool:
        """Whether a disk is to grow."""
        return self.data_volume_gib is not None or self.root_volume_gib is not None


@dataclass(frozen=True)
class Asked:
    """A change, the options it was asked for with, and the deployment as its history tells of it."""

    change: Change
    options: ChangeOptions
    state: DeploymentState

    def but(self, **fields: Any) -> Asked:
        """The same with other fields of the change."""
        return replace(self, change=self.change.model_copy(update=fields))

    @property
    def name(self) -> str:
        """The deployment's."""
        return self.state.name

    @property
    def has_data(self) -> bool:
        """Whether there was a healthy version, whose data is to be kept."""
        return self.state.last_healthy is not None

    @property
    def left(self) -> Version | None:
        """The version whose data is there: the active one, or the one that failed or was interrupted."""
        if self.state.active is not None and self.state.unsettled:
            return self.state.versions[-1]
        return self.state.active

    @property
    def untouched(self) -> str:
        """What is said where nothing was changed."""
        return self._left_as_it_was("Nothing was changed")

    @property
    def only_mended(self) -> str:
        """What is said where nothing was changed but what an engine had left."""
        return self._left_as_it_was("Nothing that runs was changed, only Pulumi's state was mended")

    def _left_as_it_was(self, nothing: str) -> str:
        active = self.state.active
        return f"{nothing}; v{active.number} stays active." if active else f"{nothing}."
