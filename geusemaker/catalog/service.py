"""What a service is to geusemaker: one ``Service`` each, and what its rules are given and answer. Pure.

Everything else loops over ``geusemaker.catalog.SERVICES`` and names none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from geusemaker.models.image import ImageReference

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint, DataNow

ServiceName = Literal["n8n", "ollama", "qdrant", "crawl4ai", "postgresql"]

CheckStatus = Literal["pass", "warn", "fail"]

_RELEASE: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?![\d])")


class Verdict(NamedTuple):
    """What a rule says; the check's name is the service's title and what it is ``about``."""

    status: CheckStatus
    detail: str
    about: str = "data"


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data now."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Service → the version of its data on disk (PG_VERSION: ``16``, or ``9.6`` in the old days)."""
    served: Mapping[str, ImageReference] = field(default_factory=dict)
    """Service → the image that last ran healthy on its data."""
    owners: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Service → the user that its folder with data belongs to, and the folder on the instance."""
    migrations: frozenset[str] | None = None
    """The migrations that the data of the service that migrates has been through."""
    migrations_then: frozenset[str] | None = None
    """Those it had been through when the image of it that is wanted now last ran healthy."""
    deployment: str = "NAME"
    checkpoints: Sequence[Checkpoint] = ()
    """Those there are, oldest first; looked up only where one of them may be the way back."""
    known_to_work: bool = False
    """Whether the image that is wanted of it is known to work on what newer ones have migrated."""
    restore: str = ""
    """The command that puts its data back as it was before; empty when no checkpoint holds that."""


@dataclass(frozen=True)
class Ask:
    """Under which conditions is judged."""

    lenient: bool
    """Nobody can be asked: a return by itself, or a recovery. Only what is known to be impossible fails."""
    back: CheckStatus
    """The verdict on older software that may not read the data."""
    copied: Collection[ServiceName]
    """The services whose data a checkpoint holds before anything changes."""


@dataclass(frozen=True)
class Data:
    """Where a service's image keeps its data, and whose it is."""

    path: str
    """In the container."""
    uid: int
    """The user that the image runs as, and its group: a directory made by root would be unwritable for another."""
    variants: Mapping[str, int] = field(default_factory=dict)
    """What the tag of another variant of the image holds → the user that one runs as."""
    on_volume: bool = False
    """Whether it is on the data volume, where there is one."""

    def owner(self, image: ImageReference) -> int:
        """The numeric id of the user that an image runs as, and of its group."""
        return next((uid for word, uid in self.variants.items() if word in image.tag), self.uid)


@dataclass(frozen=True)
class Tables:
    """The tables that a service makes for itself in a database, where the user has tables as well."""

    schema: str
    own: frozenset[str]
    """All that it makes."""
    kept: frozenset[str]
    """Those that must never be lost; rows by their id where they have one."""
    kept_prefix: str
    """What the names of others begin with that must never be lost."""
    pruned: frozenset[str]
    """Kept tables whose rows it removes by age itself: that none is left need not be a loss."""
    dropped: frozenset[str]
    """Those that a migration of its own drops."""
    listed: frozenset[str]
    """Those whose rows its manifest names one by one, so that they are told of already."""

    def is_kept(self, table: str) -> bool:
        """Whether a table must never be lost."""
        return table in self.kept or table.startswith(self.kept_prefix)


def _nothing_more(_environment: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _all_fits(_environment: Mapping[str, str]) -> list[str]:
    return []


def _no_rule(_image: ImageReference, _facts: DataFacts, _ask: Ask) -> None:
    return None


def _no_notice(_before: ImageReference, _after: ImageReference) -> None:
    return None


def _restores_anything(_checkpoint: Checkpoint, _now: DataNow, _image: ImageReference) -> None:
    return None


def _says_nothing(_checkpoint: Checkpoint) -> str:
    return ""


def _unknown(_wanted: ImageReference, _migrated_by: Collection[ImageReference]) -> bool:
    return False


def _piecemeal(_image: ImageReference) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that geusemaker knows of one service. What has a default here, most services do without."""

    name: ServiceName
    title: str
    """As its makers write it."""
    aliases: tuple[str, ...] = ()
    """What people call it as well."""

    # --- the container
    image: str
    """That of a new deployment."""
    repositories: tuple[str, ...]
    """The official ones: images of theirs that no version needs any more are removed from the instance."""
    port: int
    memory_share: int
    """Of the sum over all services. They are fixed, so that enabling one never changes, and so restarts, the others."""
    since: int = 1
    """The rendering of the compose file from which on that sum has its share: versions of before keep their limits."""
    least_mib: int
    """The memory without which it does not live."""
    older_least_mib: tuple[tuple[int, ...], int] | None = None
    """(the first release that needs as much, what those before it need)"""
    stop_seconds: int = 20
    """How long it may take to stop by itself."""
    shared_memory: str = ""
    """The size of /dev/shm, where Docker's default does not do."""
    uses_gpu: bool = False
    needs: tuple[ServiceName, ...] = ()
    """Those without which it does not work."""
    needs_why: str = ""
    """The sentence that refuses it without them."""
    data: Data | None = None
    """None: it keeps nothing."""

    # --- its environment
    environment: Mapping[str, str] = field(default_factory=dict)
    """What geusemaker sets, and nobody else but for those that are ``open``."""
    second_environment: Mapping[str, str] = field(default_factory=dict)
    """What geusemaker sets from the second rendering of the compose file on."""
    open: frozenset[str] = frozenset()
    """Those of ``environment`` that an operator may set."""
    reserved: frozenset[str] = frozenset()
    """What an operator's own environment must not touch, beside the above: other places for data, other secrets than
    the generated ones, another port than the one that is published and probed."""
    lately_reserved: frozenset[str] = frozenset()
    """More of these, which versions of before may have, healthy as they were."""
    reads_files: bool = False
    """Whether it reads each variable from a file as well, which another name (…_FILE) points to."""
    ignores_case: bool = False
    """Whether it reads its variables in small letters as well."""
    time_zones: Mapping[str, str] = field(default_factory=dict)
    """Variable → the time zone it means where it is not set; the second goes with the first."""
    misfits: Callable[[Mapping[str, str]], list[str]] = _all_fits
    """What of an operator's environment would not work here, one sentence each."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable → the field of ``Secrets`` that it gets."""
    adopting: str = ""
    """What becomes of its secrets when the data on ``{data}`` is taken up."""

    # --- is it ready
    readiness: Mapping[str, Any]
    """How the agent asks whether it is ready, which is more than that it lives."""
    readiness_also: Callable[[Mapping[str, str]], dict[str, Any]] = _nothing_more
    """More of that, which depends on the operator's environment."""

    # --- its data
    compatibility: Callable[[ImageReference, DataFacts, Ask], Verdict | None] = _no_rule
    """Whether an image may run on the data as it is now."""
    image_notice: Callable[[ImageReference, ImageReference], Verdict | None] = _no_notice
    """What a change from one image to another means for those who call it."""
    copied: str = ""
    """How a checkpoint copies its data, as a sentence without its end; empty: it does not."""
    goes_back_by_checkpoint: bool = False
    """Whether the way to an older minor version is a checkpoint that one left."""
    left_alone: frozenset[str] = frozenset()
    """What of a checkpoint is never restored."""
    restoring: str = ""
    """What its clients notice of a restore."""
    kept_aside: str = ""
    """What a restore keeps of what it replaces, beside the copy that it takes first."""
    restore_check: Callable[[Checkpoint, DataNow, ImageReference], Verdict | None] = _restores_anything
    """Whether an image reads what a checkpoint holds of its data, or of what it needs."""
    restore_notice: Callable[[Checkpoint], str] = _says_nothing
    """What else becomes of its data when what it needs is restored."""
    listed: str = ""
    """The list in its manifest from which nothing may disappear."""
    files: str = ""
    """What is lost when its manifest has no ``file_folders`` any more."""
    tables: Tables | None = None
    known_to_work: Callable[[ImageReference, Collection[ImageReference]], bool] = _unknown
    """Whether an image was seen to work on data that each of the others may have migrated."""
    is_all_or_nothing: Callable[[ImageReference], bool] = _piecemeal
    """Whether stopping an image in mid-migration leaves the data as it was. What cannot be told is a no."""

    @property
    def has_rules(self) -> bool:
        """Whether its data decides which software may run on it."""
        return self.compatibility is not _no_rule

    @property
    def reserved_names(self) -> frozenset[str]:
        """The variables that only geusemaker sets."""
        names = (self.reserved | self.lately_reserved | self.environment.keys()) - self.open
        return names | {f"{name}_FILE" for name in names} if self.reads_files else names

    @property
    def own_secrets(self) -> tuple[str, ...]:
        """Its secrets, but for those of what it needs, as people call them: ``n8n encryption key``."""
        prefix = f"{self.name}_"
        own = (field.removeprefix(prefix) for field in self.secrets.values() if field.startswith(prefix))
        return tuple(f"{self.title} {field.replace('_', ' ')}" for field in own)

    def reserved_among(self, variables: Iterable[str]) -> list[str]:
        """Those that only geusemaker sets, in order."""
        reserved = self.reserved_names
        return sorted(key for key in variables if (key.upper() if self.ignores_case else key) in reserved)

    def least_memory(self, image: ImageReference) -> int:
        """The memory in MiB that an image cannot live without; one whose release is not known counts as a new one."""
        release = image.release
        if self.older_least_mib is not None and release is not None and release < self.older_least_mib[0]:
            return self.older_least_mib[1]
        return self.least_mib

    def probe(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """The agent's probe of it, when it has this environment of its operator's."""
        return {**self.readiness, **self.readiness_also(environment), "port": self.port}


def release(tag: str) -> tuple[int, int, int] | None:
    """The release that a tag names: (1, 14, 1) of ``v1.14.1-gpu``; None where it names none."""
    match = _RELEASE.match(tag)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None
