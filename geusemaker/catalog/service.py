"""What a service is to geusemaker: one ``Service`` each. Pure.

Everything else loops over ``geusemaker.catalog.SERVICES`` and names none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geusemaker.catalog.confinement import Confinement
from geusemaker.catalog.package import Package
from geusemaker.catalog.rules import Ask, Beside, DataFacts, Verdict
from geusemaker.catalog.tables import Tables
from geusemaker.models.image import ImageReference

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint, DataNow

ServiceName = str
"""What a service is called: one of the catalogue, or one of an operator's own."""


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
    models: bool = False
    """Whether it is models, which lie on EFS or on the data volume, as the deployment says."""

    def lies_on_volume(self, *, models_on_volume: bool) -> bool:
        """Whether it lies on the data volume, where there is one."""
        return self.on_volume or (self.models and models_on_volume)

    def owner(self, image: ImageReference) -> int:
        """The numeric id of the user that an image runs as, and of its group."""
        return next((uid for word, uid in self.variants.items() if word in image.tag), self.uid)


def _nothing_more(_environment: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _all_fits(_image: ImageReference, _environment: Mapping[str, str], _beside: Mapping[str, Beside]) -> list[str]:
    return []


def _needs_no_more(_environment: Mapping[str, str]) -> tuple[str, ...]:
    return ()


def _as_docker_has_it(_image: ImageReference) -> None:
    return None


def _no_rule(_image: ImageReference, _facts: DataFacts, _ask: Ask) -> None:
    return None


def _no_notice(_before: ImageReference, _after: ImageReference) -> None:
    return None


def _restores_anything(_checkpoint: Checkpoint, _now: DataNow, _image: ImageReference) -> None:
    return None


def _no_hole(_image: ImageReference) -> str:
    return ""


def _not_told(_url: str) -> dict[str, str]:
    return {}


def _fits_a_domain(_environment: Mapping[str, str]) -> list[str]:
    return []


def _says_nothing(_checkpoint: Checkpoint) -> str:
    return ""


def _holds_no_models(_memory_mib: int, _gpu_mib: int) -> str:
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
    start_order: int = 1000
    """The services start in the order of this; each after those that it needs."""

    # --- the container
    image: str
    """That of a new deployment."""
    repositories: tuple[str, ...]
    """The official ones: images of theirs that no version needs any more are removed from the instance."""
    stable_tag: str = ""
    """What its makers call the newest release that is no beta, where betas have plain numbers as well."""
    package: Package | None = None
    """What these are of, in the database of published holes."""
    port: int
    memory_share: int
    """Of the instance's memory: what of the sum of all shares."""
    since: int | None = None
    """The rendering of the compose file from which on that sum has its share whether it runs or not, so that enabling
    it changes, and so restarts, no other. None: it takes its share of what those leave that do not run."""
    memory_mib: int = 0
    """Its own limit, where it is none of a share."""
    takes_rest: bool = False
    """Whether it has what the others leave of the memory, from the third rendering of the compose file on."""
    least_mib: int
    """The memory without which it does not live."""
    older_least_mib: tuple[tuple[int, ...], int] | None = None
    """(the first release that needs as much, what those before it need)"""
    stop_seconds: int = 20
    """How long it may take to stop by itself."""
    shared_memory: str = ""
    """The size of /dev/shm, where Docker's default does not do."""
    uses_gpu: bool = False
    fitting: Callable[[int, int], str] = _holds_no_models
    """How large what it loads may be, as a sentence without its end, by its memory and that of the GPUs (MiB)."""
    needs: tuple[ServiceName, ...] = ()
    """Those without which it does not work."""
    needs_why: str = ""
    """The sentence that refuses it without them."""
    needs_also: Callable[[Mapping[str, str]], tuple[str, ...]] = _needs_no_more
    """More of them, own services of the operator's, which depend on its environment; those that are not there do not
    count."""
    data: Data | None = None
    """None: it keeps nothing."""

    # --- its walls, from the third rendering of the compose file on
    calls_all: bool = False
    """Whether it reaches every service, and not only those that it needs."""
    calls: Callable[[Mapping[str, str]], tuple[ServiceName, ...]] = _needs_no_more
    """Those that it reaches beside the ones that it needs, because its environment names them."""
    confinement: Callable[[ImageReference], Confinement | None] = _as_docker_has_it
    """What an image keeps of its container's privileges; None: what Docker gives."""

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
    read: frozenset[str] = frozenset()
    """What of an operator's environment is read here (``misfits``, ``readiness_also``), so that none is secret."""
    misfits: Callable[[ImageReference, Mapping[str, str], Mapping[str, Beside]], list[str]] = _all_fits
    """What of an operator's environment would not work with this image and these services of their own, one sentence
    each."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable → the field of ``Secrets`` that it gets."""
    third_secrets: Mapping[str, str] = field(default_factory=dict)
    """More of them, from the third rendering of the compose file on, where the operator's environment has no value of
    its own for the variable."""
    adopting: str = ""
    """What becomes of its secrets when the data on ``{data}`` is taken up."""

    # --- is it open to the internet
    serves_domains: bool = False
    """Whether it is what answers under the deployment's domains: it comes and goes with them, and nobody asks for it by
    name."""
    authenticates: bool = False
    """Whether it lets in only whom it knows, so that it may have a domain."""
    owned_by_its_first_visitor: bool = False
    """Whether somebody has to be there first, before it may be open."""
    domain_environment: Callable[[str], dict[str, str]] = _not_told
    """What geusemaker sets, and nobody else, while it is open under a URL."""
    domain_misfits: Callable[[Mapping[str, str]], list[str]] = _fits_a_domain
    """What of an operator's environment does not work under a domain, one sentence each."""
    hole: Callable[[ImageReference], str] = _no_hole
    """Why anybody could get in by an image's release, where that is known; empty: it is not."""

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
    may_migrate: Callable[[ImageReference, ImageReference], bool | None] | None = None
    """Whether an image migrates what another one left, None: only its start tells. Without it none ever does."""
    closes: str = ""
    """What a newer release does, as a predicate, that an older one need not bear."""
    rehearsed: Mapping[str, str] | None = None
    """The variables that are others where it is started on a copy of its data; None: it is in no rehearsal."""
    works: Callable[[Mapping[str, str]], dict[str, str]] | None = None
    """What it is asked there once it is ready (``method``, ``path``, ``body``): an answer below 500 means it works."""
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
        fields = [*self.secrets.values(), *self.third_secrets.values()]
        own = (field.removeprefix(prefix) for field in fields if field.startswith(prefix))
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
