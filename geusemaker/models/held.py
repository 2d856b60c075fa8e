"""What databases and collections hold, what takes the place of what, and the older data that goes with a version."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from geusemaker.catalog.service import ServiceName
from geusemaker.models.base import Model


class Held(Model):
    """One database or collection, and how much is in it. A number that is None was not counted."""

    model_config = ConfigDict(extra="ignore")  # the file may be of a later geusemaker

    service: ServiceName
    """Whose data it is."""
    name: str
    """The database's or the collection's name."""
    tables: int | None = None
    """How many tables a database has."""
    rows: int | None = None
    """How many rows all of them have."""
    workflows: int | None = None
    """n8n's workflows, where this is n8n's database."""
    points: int | None = None
    """How many points a collection has."""
    bytes: int = 0
    """The copy's size; 0 where this is not one."""


class Replacement(Model):
    """One database or collection that a restore replaces."""

    then: Held
    """What the checkpoint holds."""
    now: Held | None
    """What is there now; None: nothing, it is made again."""


class DataReturn(Model):
    """The data that goes back with the software: a checkpoint's, in place of what is there."""

    checkpoint: str
    """Its name: ``vN/OPERATION``."""
    taken_at: datetime
    """When. What was written since is not in it."""
    service: ServiceName
    """The service whose data stands in the way."""
    services: tuple[ServiceName, ...]
    """Those whose data of the checkpoint is put in place."""
    replaced: tuple[Replacement, ...] = ()
    """What is replaced by what."""
    left: tuple[Held, ...] = ()
    """What is there now and the checkpoint does not have: it stays as it is."""
    kept: dict[str, str] = Field(default_factory=dict)
    """Database → the name under which what is in it now is kept."""
    files: bool = False
    """Whether the files of n8n's executions go back as well, and those of now are set aside."""
    since_seconds: float = 0.0
    """How long before this plan the checkpoint was taken."""
