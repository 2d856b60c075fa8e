"""A deployment's surroundings in memory, so that the services run without an engine, AWS or an instance.

``World`` holds one deployment: its Pulumi stack (``FakeEngine``), AWS (``FakeCloud``), the instance and what runs on it
(``FakeMachine``, reached through ``FakeHost``), registries (``FakeRegistry``), a clock and a journal. They behave as
the real ones do, failures included: a failed update stands in the history, a killed one does not and leaves a lock, a
pending creation and a held lease; image tags misbehave as those of the local cloud do (``-missing``, ``-crash``,
``-unhealthy``).
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr

from geusemaker.agent.data.postgresql import own_name
from geusemaker.agent.errors import AgentError
from geusemaker.agent.protocol import VERBS, answers, documents, looks, rehearsal, stored
from geusemaker.agent.protocol.backups import BackupPlan, Backups
from geusemaker.agent.protocol.reading import Json, read
from geusemaker.agent.store import Store
from geusemaker.catalog import SERVICE_ALIASES
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import (
    DeploymentBusyError,
    EngineError,
    EnvironmentProblemError,
    GeusemakerError,
    HostError,
    WorkspaceError,
)
from geusemaker.host.instance import Instance, OnLine
from geusemaker.host.tunnel import Forward
from geusemaker.models.checkpoint import RestorePlan
from geusemaker.models.history import (
    ApplyOutcome,
    HistoryEntry,
    Intent,
    LockOwner,
    StackTags,
    StoppedInstance,
    Verdicts,
)
from geusemaker.models.identity import Caller, MissingRights
from geusemaker.models.image import ImageReference
from geusemaker.models.inspection import DataVolumeState, FileSystemState, Inspection, InstanceState
from geusemaker.models.machine_image import DEBIAN_OWNER, MachineImage
from geusemaker.models.network import GroupRule, NetworkFacts, Subnet
from geusemaker.models.ownership import DEPLOYMENT_TAG, STACK_TAG, Sought, Tagged, is_own, own_tags
from geusemaker.models.plan import Event, Plan, ResourceOperation, RestPlan
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import (
    ChangeOptions,
    DeployRequest,
    RehearseRequest,
    RestoreRequest,
    RestRequest,
    RollbackRequest,
    UpdateRequest,
)
from geusemaker.models.result import (
    MarkResult,
    OperationResult,
    RehearsalResult,
    RestoreResult,
    RollbackResult,
    SecretRotationResult,
)
from geusemaker.models.stack import InstanceFacts, Secrets, StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Provenance, RotationKind
from geusemaker.program.compose import render, secret_environment
from geusemaker.program.keys import public_half
from geusemaker.services.collaborators import Advisories, Collaborators, Journal, Nobody, Prices, Teller, Unpriced
from geusemaker.services.deploy.service import DeployService
from geusemaker.services.destroy.service import DestroyService
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.mark.service import MarkService
from geusemaker.services.recover.service import RecoverService
from geusemaker.services.rehearse.service import RehearseService
from geusemaker.services.rest.service import RestService
from geusemaker.services.restore.service import RestoreService
from geusemaker.services.rollback.service import RollbackService
from geusemaker.services.rotate_secret import RotateSecretService
from geusemaker.services.set_secret import SetSecretService
from geusemaker.services.states import load_state
from geusemaker.services.update.service import UpdateService

DEPLOYMENT = "prod"
HOST_NAME = "box"
ACCOUNT = "123456789012"

FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"
MOUNT_TARGET = "aws:efs/mountTarget:MountTarget"
BACKUP_POLICY = "aws:efs/backupPolicy:BackupPolicy"
VOLUME = "aws:ebs/volume:Volume"
INSTANCE = "aws:ec2/instance:Instance"
ADDRESS = "aws:ec2/eip:Eip"
COMMAND = "command:remote:Command"

Script = Literal["timeout", "deadline-kill", "no-capacity", "silent-provider", "volume-modified-too-often"]


class Killed(BaseException):
    """The process was killed: nothing of it runs any more."""


def urn(type: str, name: str) -> str:
    """The URN of a resource of the deployment."""
    return f"urn:pulumi:{DEPLOYMENT}::geusemaker::{type}::{name}"


def yes(plan: Plan) -> bool:
    """Confirm any plan."""
    return True


def no(plan: Plan) -> bool:
    """Decline any plan."""
    return False


class Shown:
    """A confirmation that keeps the plans it was shown, and says yes."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def __call__(self, plan: Plan) -> bool:
        self.plans.append(plan)
        return True


class FakeClock:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self._now = datetime(2025, 1, 21, 2, 0, tzinfo=UTC)
        self._operations = 0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self.on_sleep()

    def monotonic(self) -> float:
        return self.now().timestamp()

    def new_operation_id(self) -> str:
        self._operations += 1
        return f"op-{self._operations:03}"  # ids sort by time


class FakeRegistry:
    """Registries with any plain tag; one that ends in ``-missing`` is not there."""

    def __init__(self) -> None:
        self.moved: Counter[str] = Counter()
        self.reachable = True
        self.withdrawn: set[str] = set()
        """Tagged images that were there once."""
        self.listed: dict[str, tuple[str, ...]] = {}
        """Repository → its tags, as they are listed."""
        self.platforms = {"amd64", "arm64"}
        self.layer_bytes = 100 * 2**20
        """The size of each of an image's two layers; the lower one is common to the repository's tags."""

    def move(self, tagged: str) -> None:
        """Let a tag mean other bytes from now on."""
        self.moved[tagged] += 1

    def digest(self, image: ImageReference) -> str:
        self._look(image)
        return image.digest or _sha256(f"{image.tagged}#{self.moved[image.tagged]}")

    def architectures(self, image: ImageReference) -> set[str]:
        self._look(image)
        return self.platforms

    def tags(self, image: ImageReference) -> tuple[str, ...]:
        self._look(image)
        return self.listed.get(image.repository, ())

    def layers(self, image: ImageReference, architecture: str) -> dict[str, int]:
        self._look(image)
        return {f"base of {image.repository}": self.layer_bytes, str(image): self.layer_bytes}

    def _look(self, image: ImageReference) -> None:
        if not self.reachable:
            raise EnvironmentProblemError(f"The registry {image.registry} cannot be reached (timeout).")
        if image.tag.endswith("-missing") or image.tagged in self.withdrawn:
            raise ImageNotFoundError(f"{image.registry} has no image {image.tagged}")


class FakeCloud:
    """AWS with one default subnet, a few instance types, and what the deployment has there."""

    def __init__(self, call: Callable[[str], None] = lambda name: None) -> None:
        self._call = call
        self.types = {
            "t3.large": InstanceFacts(memory_mib=8192),
            "t3.xlarge": InstanceFacts(memory_mib=16384),
            "m5.large": InstanceFacts(memory_mib=8192),
            "t4g.large": InstanceFacts(memory_mib=8192, architecture="arm64"),
            "g5.xlarge": InstanceFacts(memory_mib=16384, gpus=1),
        }
        self.not_offered: set[str] = set()
        self.missing = MissingRights()
        self.images = {"ami-amd64": "amd64", "ami-arm64": "arm64"}
        self.gpu_images: dict[str, str] = {}
        self.machine_images: dict[str, MachineImage] = {}
        """What AWS says of those that are not Debian's."""
        """Those that are not Debian's."""
        self.subnets: list[dict[str, Any]] = [
            {"SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZone": "us-east-1a"}
        ]
        self.network: NetworkFacts | None = None
        """What is known of the network around the subnet."""
        self.address_quota: tuple[int, int] | None = (5, 0)
        self.vcpu_quota: tuple[str, int, int, int] | None = ("Standard", 64, 0, 2)
        self.spot_quota = self.vcpu_quota
        self.spot_prices: dict[str, float] = {}
        self.instance: InstanceState | None = None
        self.gone: InstanceState | None = None
        """The last one before, that is gone."""
        self.file_system: FileSystemState | None = None
        self.mount_target = "missing"
        self.backed_up = True
        self.volume: DataVolumeState | None = None
        self.tags = {DEPLOYMENT_TAG: DEPLOYMENT}
        """What all of the deployment's carries, as its latest update wrote it."""
        self.strangers: list[Tagged] = []
        """What carries its name and is another stack's."""
        self.undead: dict[str, int] = {}
        """Id → how often AWS still tells of it after it was deleted."""
        self.account_id = ACCOUNT
        """Whose the credentials are; what the deployment has is in ``ACCOUNT``."""
        self.root_gib = 0
        """The size of the instance's own disk."""
        self.rules = "in tcp 22-22 10.0.0.0/8"
        self.group_rules: list[GroupRule] = []
        self.reachable = True
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.rebooted: list[str] = []
        self.reboot_looks: int | None = 2
        """So many looks the old boot still answers after a reboot was asked for; None: it never boots anew."""
        self.reboots_in: int | None = None
        self.boots = 0
        self.capacity_gone = False
        self.has_address = False
        self.created = 0
        """Instances ever made: one more than there should be is an orphan."""

    def identity(self) -> Caller:
        self._ask()
        return Caller(account_id=self.account_id, partition="aws")

    def own_address(self) -> str:
        self._ask()
        return "127.0.0.1"

    def find_state(self, resource_type: str, resource_id: str) -> str | None:
        self._ask()
        if self.undead.get(resource_id, 0) > 0:
            self.undead[resource_id] -= 1
            return "shutting-down"
        there = {
            (INSTANCE, self.instance.id if self.instance else None),
            (FILE_SYSTEM, self.file_system.id if self.file_system else None),
            (VOLUME, self.volume.id if self.volume else None),
        }
        return "there" if self.account_id == ACCOUNT and (resource_type, resource_id) in there else None

    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None:
        self._ask()
        return next((subnet for subnet in self.subnets if subnet_id in (None, subnet["SubnetId"])), None)

    def find_subnets(self, vpc_id: str | None, subnet_id: str | None) -> list[Subnet]:
        self._ask()
        return [
            Subnet(
                id=one["SubnetId"], vpc_id=one["VpcId"], zone=one["AvailabilityZone"], way_out="internet", by="igw-1"
            )
            for one in self.subnets
            if subnet_id in (None, one["SubnetId"])
        ]

    def find_network(self, subnet_id: str) -> NetworkFacts | None:
        self._ask()
        return self.network

    def find_address_quota(self, deployment: str) -> tuple[int, int] | None:
        self._ask()
        return self.address_quota

    def find_vcpu_quota(
        self, instance_type: str, deployment: str, *, spot: bool = False
    ) -> tuple[str, int, int, int] | None:
        self._ask()
        return self.spot_quota if spot else self.vcpu_quota

    def find_spot_price(self, instance_type: str, availability_zone: str) -> float | None:
        self._ask()
        return self.spot_prices.get(instance_type)

    def zones_offering(self, instance_type: str) -> set[str]:
        self._ask()
        offered = instance_type in self.types and instance_type not in self.not_offered
        return {str(one["AvailabilityZone"]) for one in self.subnets} if offered else set()

    def find_instance_type(self, instance_type: str) -> InstanceFacts | None:
        self._ask()
        return self.types.get(instance_type)

    def is_offered(self, instance_type: str, availability_zone: str) -> bool:
        self._ask()
        return instance_type in self.types and instance_type not in self.not_offered

    def find_debian_image(self, architecture: str) -> str | None:
        self._ask()
        return next((ami for ami, found in reversed(self.images.items()) if found == architecture), None)

    def image_date(self, ami: str) -> str:
        self._ask()
        return {"ami-amd64": "2025-01-01", "ami-newer": "2025-01-20"}.get(ami, "")

    def find_gpu_image(self, architecture: str) -> str | None:
        self._ask()
        return self.gpu_images.get(architecture)

    def find_machine_image(self, ami: str) -> MachineImage | None:
        self._ask()
        if ami not in self.images:
            return None
        image = MachineImage(id=ami, name="debian-13-amd64-20250814", owner=DEBIAN_OWNER, least_gib=8)
        return self.machine_images.get(ami, image)

    def find_image_architecture(self, ami: str) -> str | None:
        self._ask()
        return self.images.get(ami)

    def find_instance(self, deployment: str) -> InstanceState | None:
        self._ask()
        return self.instance

    def find_gone_instance(self, deployment: str) -> InstanceState | None:
        self._ask()
        return self.gone

    def find_file_system(self, deployment: str, stack_id: str = "") -> FileSystemState | None:
        self._ask()
        return self.file_system

    def is_backed_up(self, file_system_id: str) -> bool:
        self._ask()
        return self.backed_up

    def mount_target_state(self, file_system_id: str) -> str:
        self._ask()
        return self.mount_target

    def mount_target_subnet(self, file_system_id: str) -> str | None:
        self._ask()
        return "subnet-1" if self.mount_target == "available" else None

    def prepare(self) -> None: ...

    def find_root_volume_gib(self, deployment: str) -> int | None:
        self._ask()
        return self.root_gib if self.instance is not None else None

    def find_data_volume(self, deployment: str, stack_id: str = "") -> DataVolumeState | None:
        self._ask()
        return self.volume

    def observe(self, deployment: str) -> dict[str, str]:
        self._ask()
        found = {"security group sg-1": self.rules}
        if self.instance is not None:
            found[f"instance {self.instance.id}"] = self.instance.type
        if self.file_system is not None:
            found[f"file system {self.file_system.id}"] = f"mount target {self.mount_target}"
        return found

    def find_created(self, sought: Sought) -> str | None:
        self._ask()
        resource_type = sought.type
        if not is_own(self.tags, sought.tags):
            return None
        if resource_type in (FILE_SYSTEM, BACKUP_POLICY) and self.file_system is not None:
            return self.file_system.id
        if resource_type == MOUNT_TARGET and self.mount_target == "available":
            return "fsmt-1"
        if resource_type == VOLUME and self.volume is not None:
            return self.volume.id
        if resource_type == ADDRESS and self.has_address:
            return "eipalloc-1"
        return self.instance.id if self.instance is not None and resource_type == INSTANCE else None

    def find_rules(self, group_ids: Iterable[str]) -> list[GroupRule]:
        self._ask()
        return [rule for rule in self.group_rules if rule.group_id in set(group_ids)]

    def missing_rights(
        self, deployment: str, config: StackConfig, target: Target, operations: Sequence[ResourceOperation]
    ) -> MissingRights:
        return self.missing

    def find_tagged(self, deployment: str) -> list[Tagged]:
        self._ask()
        things = ((INSTANCE, self.instance), (FILE_SYSTEM, self.file_system), (VOLUME, self.volume))
        own = [
            Tagged(type=type, id=thing.id, state=thing.state, tags=self.tags)
            for type, thing in things
            if thing is not None
        ]
        if self.has_address:
            own.append(Tagged(type=ADDRESS, id="eipalloc-1", state="", tags=self.tags))
        return [*own, *self.strangers]

    def wait_until_settled(self, instance: InstanceState) -> None:
        self._ask()
        assert self.instance == instance
        settled = {"stopping": "stopped", "pending": "running"}[instance.state]
        self.instance = instance.model_copy(update={"state": settled})

    def stop_instance(self, instance_id: str) -> None:
        self._ask()
        assert self.instance is not None and self.instance.id == instance_id
        self.stopped.append(instance_id)
        self.instance = self.instance.model_copy(update={"state": "stopped"})

    def reboot_instance(self, instance_id: str) -> None:
        self._ask()
        assert self.instance is not None and self.instance.id == instance_id
        self.rebooted.append(instance_id)
        self.reboots_in = self.reboot_looks

    def start_instance(self, instance_id: str) -> None:
        self._ask()
        assert self.instance is not None and self.instance.id == instance_id
        if self.capacity_gone:
            raise EnvironmentProblemError("AWS refused a question (StartInstances): no capacity.")
        self.started.append(instance_id)
        self.instance = self.instance.model_copy(update={"state": "running"})

    def boot(self) -> int:
        """How often it has booted anew, as a look at it finds."""
        if self.reboots_in is not None:
            self.boots += self.reboots_in == 0
            self.reboots_in = self.reboots_in - 1 if self.reboots_in else None
        return self.boots

    def why_not_started(self, instance_id: str) -> str:
        self._ask()
        assert self.instance is not None and self.instance.state == "stopped"
        return "AWS has no capacity for this instance type in this zone right now (InsufficientInstanceCapacity)."

    def _ask(self) -> None:
        self._call(f"cloud.{sys._getframe(1).f_code.co_name}")
        if not self.reachable:
            raise EnvironmentProblemError("AWS cannot be asked: no route.", state="Nothing was changed.")


def _definitions(services: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    return {name: (definition, environment.get(name)) for name, definition in services.items()}


TAKEN: Final = {"taken_at": "2025-01-21T02:00:00Z"}
"""When a lease was taken, by the clock of these fakes."""


class FakeStore(Store):
    """The agent's own store with its own rules; the lease is kept in memory, so that a world can be copied."""

    def __init__(self) -> None:
        super().__init__(Path("/mnt/efs"))
        self.kept: Json | None = None

    def lease(self) -> Json | None:
        return self.kept

    def _write_lease(self, lease: Json) -> None:
        self.kept = lease

    @contextmanager
    def _locked(self) -> Iterator[None]:
        yield


@contextmanager
def as_told_by_the_host() -> Iterator[None]:
    """The agent's errors as the client raises them."""
    try:
        yield
    except AgentError as error:
        raise HostError(error.message, code=error.code, detail=error.detail) from error


@dataclass
class FakeMachine:
    """What is on the instance (services, images) and on the file system (lease, data)."""

    store: FakeStore = field(default_factory=lambda: FakeStore())
    authorized: set[str] = field(default_factory=set)
    """The keys that may log in."""
    newer: dict[str, list[str]] = field(default_factory=dict)
    """Docker's packages that have a newer version."""
    password: str = ""
    """The one that the database takes; empty: there is no database yet."""
    password_changes: bool = False
    n8n_key: str | None = None
    """The one that n8n keeps in its own file; None: there is none."""
    key_changes: bool = False
    """Whether a change of it is noted on the file system."""
    services: dict[str, str] = field(default_factory=dict)
    """Service → the image of its running container."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Service → the image of its container that was stopped for a restore."""
    images: set[str] = field(default_factory=set)
    exited: set[str] = field(default_factory=set)
    """Services whose container is there and does not run, as after a `docker stop`."""
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Services that somebody stopped on purpose, as noted on the file system."""
    interruption: stored.SpotNotice | None = None
    """What lies beside the data of an interruption."""
    rehearsed: rehearsal.Rehearsal = field(
        default_factory=lambda: rehearsal.Rehearsal(
            isolated=True,
            copied_bytes=7 << 20,
            migrations=["RemoveOldRoleColumn1750252139170"],
            ahead={name: rehearsal.RehearsedService(True, 3.0, works=True) for name in ("postgresql", "n8n")},
            back={name: rehearsal.RehearsedService(True, 2.0, works=True) for name in ("postgresql", "n8n")},
        )
    )
    """What a rehearsal comes to."""
    rehearsals: list[rehearsal.Rehearsal] = field(default_factory=list)
    """What the file system remembers of them."""
    watch: Json | None = None
    """Who is told of it between operations."""
    restarted: list[str] = field(default_factory=list)
    hung: set[str] = field(default_factory=set)
    """Services that run and do not answer until they are started once more."""
    data_hangs: bool = False
    stops_for: float = 0.0
    """Seconds that a container takes to be replaced; 0: none of it is told."""
    ill: set[str] = field(default_factory=set)
    """Services that are unhealthy whatever their image is."""
    working: dict[str, str] = field(default_factory=dict)
    """Operation → the verb that the agent works on for it now."""
    evidence_logs: dict[str, list[str]] = field(default_factory=dict)
    """Service → what its log holds, where a test is about that."""
    broken: set[str] = field(default_factory=set)
    """Images, by digest, whose containers crash from now on, whatever they did before."""
    mentions: list[str] | None = field(default_factory=list)
    """The names of n8n's workflows that have the word which is asked for."""
    data: dict[str, Any] = field(
        default_factory=lambda: {
            "postgresql": {"version": "16", "databases": {"n8n": ["public.workflow"]}},
            "qdrant": {"collections": ["docs"]},
            "ollama": {"models": ["llama3"]},
            "n8n": {"ready": True, "workflows": ["Nightly"], "migrations": ["Initial1"]},
        }
    )
    sentinel: dict[str, Any] | None = None
    mounted: str | None = None
    set_up: bool = True
    """Whether the agent's `mount` was ever run on this instance."""
    free_bytes: int = 30 * 2**30
    journal: list[dict[str, Any]] = field(default_factory=list)
    """The journal's copy on the file system."""
    served: dict[str, Any] = field(default_factory=dict)
    """Service → the image that last ran healthy on its data, as the gate writes it down."""
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    backups: Backups = field(default_factory=Backups)
    """Name → what the checkpoint's own file tells."""
    set_aside: list[str] = field(default_factory=list)
    """What a restore says of n8n's folders."""
    returning: dict[str, Any] = field(default_factory=dict)
    """The note of older data that was put in place: ``operation``, ``checkpoint``, ``state``."""
    became: dict[str, Any] = field(default_factory=dict)
    """What the last ``apply`` said of the data."""
    key_mark: str = ""
    """What tells n8n's encryption key from another one, as checkpoints keep it."""
    definitions: dict[str, Any] = field(default_factory=dict)
    """Service → its part of the compose file that was put here last, and of the secrets (None: it has none)."""
    migrates: dict[str, list[str]] = field(default_factory=dict)
    """Tag of n8n → the migrations that it runs when it starts, however it ends."""
    applied: list[str] = field(default_factory=list)
    """Operations whose compose file was brought up, oldest first."""
    on_step: Callable[[str], None] = lambda step: None
    """Called when a step of a restore is done: stopped, copied, recovered, swapped."""
    after_apply: Callable[[], None] = lambda: None
    """What happens on the machine right after services were started."""

    after_gate: Callable[[], None] = lambda: None
    """What happens on the machine right after the gate called all healthy."""
    measured: int = 0
    """How often a bake has measured."""
    on_measure: Callable[[int], None] = lambda number: None
    """What happens on the machine when a bake measures, before it has."""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Service → figures that are not as usual."""
    starts: Counter[str] = field(default_factory=Counter)
    """Service → how often its container was started again by itself."""
    ages: dict[str, float] = field(default_factory=dict)
    """Service → for how many seconds its container runs; those not named for an hour."""
    domains: dict[str, looks.DomainLook] = field(default_factory=dict)
    """Host → how it answers."""
    migration: dict[str, Any] | None = None
    """What n8n is at while it lives and is not ready."""
    models: dict[str, int] | None = None
    """Ollama's models with their bytes, told where they are asked for."""
    reboot: list[str] | None = None
    """Why it is to boot anew; a boot settles it."""

    def lets_in(self, key: str) -> bool:
        """Whether a key logs in."""
        return key in self.authorized

    def life(self, name: str) -> dict[str, Any]:
        """What tells one life of a service's container from another."""
        image, again = self.services.get(name), self.starts[name]
        return {
            "container": image and f"container of {image}",
            "started_at": image and f"2025-01-21T02:00:{again:02}Z",
            "age_seconds": self.ages.get(name, 3600.0) if self.state_of(name) in ("healthy", "unhealthy") else None,
            "restarts": again,
        }

    @property
    def lease(self) -> Json | None:
        """The lease, as the agent's store has it."""
        return self.store.kept

    @lease.setter
    def lease(self, lease: Json | None) -> None:
        self.store.kept = lease

    def begin(self, asked: documents.BeginDocument) -> answers.Leased:
        self.touch()
        facts = {key: getattr(asked, key) for key in ("kind", "actor", "owner", "instance_id", "number")}
        with as_told_by_the_host():
            lease = self.store.begin(asked.operation, asked.expects, asked.takeover, facts | TAKEN)
        return answers.Leased(read(stored.Lease, lease))

    def touch(self) -> None:
        """Whoever touches the file system waits for it, and gives up."""
        if not self.set_up:
            raise HostError("The file system is not mounted on /mnt/efs.", code="not_mounted")
        if self.data_hangs:
            raise HostError("The file system did not answer within 20 seconds.", code="efs_hung")

    def end(self, operation: str, outcome: str) -> answers.Leased:
        if self.returning.get("operation") == operation and outcome == "done":
            self.returning["state"] = "settled"
        with as_told_by_the_host():
            return answers.Leased(read(stored.Lease, self.store.end(operation, outcome)))

    def held_by(self) -> stored.Lease | None:
        """The lease, as the agent tells it."""
        return None if self.lease is None else read(stored.Lease, self.lease)

    def apply(
        self,
        provenance: Provenance,
        config: StackConfig,
        target: Target,
        file_system_id: str,
        instance_id: str,
        secrets: Secrets,
    ) -> None:
        """The agent's ``apply``, as the engine's command runs it."""
        self.touch()
        operation, expects = provenance.operation_id, provenance.previous_operation_id or None
        facts = {"kind": provenance.kind, "instance_id": instance_id, **TAKEN}
        with as_told_by_the_host():
            self.store.take_for_apply(operation, expects, expects if provenance.takes_over else None, facts)
        self.mounted = self.mounted or file_system_id
        self.sentinel = self.sentinel or {"deployment": DEPLOYMENT, "file_system_id": file_system_id}
        if self.sentinel.get("gone"):
            raise HostError(f"The sentinel file on {file_system_id} is gone.", code="data_loss")
        if self.sentinel.get("deployment") not in (None, DEPLOYMENT):
            raise HostError(f"{file_system_id} holds the data of another deployment.", code="foreign_data")
        if "postgresql" in config.services and (self.password_changes or not self.password):
            self.password, self.password_changes = secrets.postgresql_password, False
        if "n8n" in config.services and (self.key_changes or self.n8n_key is None):
            self.n8n_key, self.key_changes = secrets.n8n_encryption_key, False
        if provenance.kind == "deploy":
            self.notes = {}
        self.notes = {name: note for name, note in self.notes.items() if name in config.services}
        wanted = {name: str(service.image) for name, service in config.services.items()}
        self.start({name: image for name, image in wanted.items() if name not in self.notes})
        self.services = {name: image for name, image in self.services.items() if name in wanted}
        self.images |= {service.image.by_digest for service in config.services.values()}
        self.definitions = _definitions(
            render(config, data_volume=True, site=target.site)["services"], secret_environment(config, secrets)
        )
        self.applied.append(operation)
        self.became = self._exchange(provenance)
        if "n8n" in config.services:
            run = self.migrates.get(config.services["n8n"].image.tag, [])
            self.data["n8n"]["migrations"] = sorted({*self.data["n8n"]["migrations"], *run})
        self.after_apply()

    def _exchange(self, provenance: Provenance) -> dict[str, Any]:
        """What the agent does with older data before n8n starts; see ``geusemaker.agent.verbs.load``."""
        note, databases = self.returning, self.data["postgresql"]["databases"]
        if provenance.with_data:
            assert note["operation"] == provenance.operation_id and note["state"] == "loaded", "it was loaded before"
            wanted = self.checkpoints[note["checkpoint"]]["data"]
            kept = {name: own_name(name, "before", note["operation"]) for name in wanted["postgresql"]["databases"]}
            note |= {"state": "swapped", "kept": kept, "n8n": self.data["n8n"]}
            databases |= {new: databases[old] for old, new in kept.items()} | wanted["postgresql"]["databases"]
            self.data["n8n"] = json.loads(json.dumps(wanted["n8n"]))
            return {"restored": note["checkpoint"], "kept": kept, "set_aside": list(self.set_aside)}
        if note.get("state") != "swapped" or note["operation"] == provenance.active_operation_id:
            return {}
        aside = {name: own_name(name, "failed", note["operation"]) for name in note["kept"]}
        databases |= {new: databases[old] for old, new in aside.items()}
        databases |= {old: databases.pop(new) for old, new in note["kept"].items()}
        self.data["n8n"], self.returning = note["n8n"], {}
        return {"put_back": note["checkpoint"], "put_there_by": note["operation"], "kept": aside}

    def replaced_by(self, config: StackConfig) -> list[str]:
        """The services whose containers a config replaces by others."""
        wanted = {name: str(service.image) for name, service in config.services.items()}
        return [name for name, image in self.services.items() if wanted.get(name, image) != image]

    def start(self, images: dict[str, str]) -> None:
        """Compose starts what does not run, and replaces what differs; what hangs and does not differ it leaves."""
        new = {name for name, image in images.items() if self.services.get(name) != image}
        self.hung -= new | self.exited
        self.services |= images
        self.exited -= images.keys()

    def end_own_lease(self, operation: str, outcome: str) -> None:
        """The gate gives back a lease that ``apply`` took by itself."""
        if self.lease is not None and self.lease.get("taken_by") == "apply":
            self.end(operation, outcome)

    def stopped_on_purpose(self) -> dict[str, stored.Stopped]:
        """The notes, as the agent tells them."""
        return {name: read(stored.Stopped, note) for name, note in self.notes.items()}

    def holds(self, services: list[str]) -> dict[str, Any]:
        """What a checkpoint of these services holds now."""
        databases, workflows = self.data["postgresql"]["databases"], len(self.data["n8n"]["workflows"])
        held = {
            "postgresql": [
                {"name": name, "tables": len(tables), "rows": 1, "workflows": workflows, "bytes": 1}
                for name, tables in databases.items()
            ],
            "qdrant": [{"name": name, "points": 1, "bytes": 1} for name in self.data["qdrant"]["collections"]],
        }
        return {
            "versions": {"qdrant": "1.14.1"} if "qdrant" in services else {},
            "migrations": list(self.data["n8n"]["migrations"]) if "postgresql" in services else None,
            "n8n_key": self.key_mark,
            "holds": [{"service": service, **one} for service in services for one in held[service]],
        }

    def start_stopped(self) -> None:
        self.services |= self.stopped
        self.stopped = {}

    def copied(self) -> dict[str, list[str]]:
        """Checkpoint → the services that it has copies of."""
        return {name: sorted({held["service"] for held in about["holds"]}) for name, about in self.checkpoints.items()}

    def require(self, operation: str, *, held: bool) -> None:
        with as_told_by_the_host():
            self.store.require(operation, held=held)

    def state_of(self, name: str) -> str:
        """healthy, exited, unhealthy or missing."""
        image = self.services.get(name)
        if image is None:
            return "missing"
        tag = image.partition("@")[0]
        if ImageReference.parse(image).by_digest in self.broken:
            return "restarting"
        if tag.endswith(("-crash", "-oom", "-badmigration", "-shortlived")) or name in self.exited:
            return "exited"
        _, given = self.definitions.get(name) or (None, None)
        if name == "n8n" and given and given["DB_POSTGRESDB_PASSWORD"] != self.password:
            return "restarting"  # the database refuses it
        if name == "n8n" and given and given["N8N_ENCRYPTION_KEY"] != self.n8n_key:
            return "exited"  # it does not start with two keys
        if given and BREAKS in given.values():
            return "exited"
        return "unhealthy" if name in self.hung or tag.endswith("-unhealthy") or name in self.ill else "healthy"


BREAKS: Final = "what no service starts with"
"""The value of a secret variable."""

ROTATING: Final = ("authorize", "password", "key", "apply")
"""Verbs of a rotation; `apply` is the engine's otherwise."""


@functools.cache
def _public_half(private_key: str) -> str:
    return public_half(private_key)


def login_of(secrets: Secrets) -> str:
    """The public half of the key to log in with."""
    return _public_half(secrets.ssh_private_key)


class FakeHost:
    """A connection to the agent on the machine. What it reads and answers is as the agent's protocol has it."""

    def __init__(self, world: World, key: str) -> None:
        self._world = world
        self._login = key

    def close(self) -> None: ...

    def seen_from(self) -> str:
        self._world.call("host.seen_from")
        if not self._world.host_reachable:
            raise HostError("The instance cannot be reached.", code="unreachable")
        return self._world.seen_from

    def run(self, verb: str, document: Json, on_line: OnLine | None = None, timeout: float = 30.0) -> Json:
        world, machine = self._world, self._world.machine
        world.call(f"host.{verb}")
        instance = world.cloud.instance
        if world.cloud.started and world.boot_seconds > 0:
            world.boot_seconds -= 1
            raise HostError("The instance cannot be reached.", code="unreachable")
        if world.silent_until_restart and not world.cloud.started:
            raise HostError("The instance cannot be reached.", code="unreachable")
        if not world.host_reachable or instance is None or instance.state != "running":
            raise HostError("The instance cannot be reached.", code="unreachable")
        if not machine.lets_in(self._login):
            raise HostError("The instance does not accept the login.", code="auth_failed")
        if verb in world.host_failures:
            raise world.host_failures[verb]
        asked = read(VERBS[verb].document, json.loads(json.dumps(document)))
        of_lease = (
            "prefetch",
            "checkpoint",
            "restore",
            "rehearse",
            "hold",
            "renew",
            "gc",
            "stop",
            "start",
            "restart",
            *ROTATING,
        )
        if verb in of_lease and not getattr(asked, "new_instance", None):
            machine.require(asked.operation, held=verb not in ("prefetch", "gc"))
        answer = getattr(self, f"_{verb}")(machine, asked, on_line or (lambda line: None))
        assert type(answer) is VERBS[verb].answer
        told: Json = json.loads(json.dumps(asdict(answer)))
        return told

    def _begin(self, machine: FakeMachine, asked: documents.BeginDocument, on_line: OnLine) -> answers.Leased:
        if machine.sentinel is not None and machine.mounted is None:
            machine.mounted = machine.sentinel["file_system_id"]
            said = f"Mounting {machine.mounted}, which is not mounted yet"
            on_line({"event": "phase", "name": "mount", "state": "started", "message": said})
            on_line({"event": "phase", "name": "mount", "state": "done", "message": f"{machine.mounted} is mounted"})
        return machine.begin(asked)

    def _end(self, machine: FakeMachine, asked: documents.EndDocument, on_line: OnLine) -> answers.Leased:
        return machine.end(asked.operation, asked.outcome)

    def _lease(self, machine: FakeMachine, asked: documents.Nothing, on_line: OnLine) -> looks.Holding:
        return looks.Holding(machine.held_by())

    def _watch(self, machine: FakeMachine, asked: documents.Nothing, on_line: OnLine) -> answers.Watched:
        return answers.Watched()

    def _notify(self, machine: FakeMachine, asked: documents.NotifyDocument, on_line: OnLine) -> answers.Notified:
        machine.require(asked.operation, held=True)
        machine.watch = asked.watch
        return answers.Notified(asked.watch is not None)

    def _cancel(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> answers.Cancelled:
        return answers.Cancelled()

    def _adoption(self, machine: FakeMachine, asked: documents.Nothing, on_line: OnLine) -> looks.Adoption:
        machine.touch()
        return looks.Adoption(self._sentinel(machine), machine.held_by(), machine.n8n_key, n8n_was_here=True)

    def _prefetch(self, machine: FakeMachine, asked: documents.PrefetchDocument, on_line: OnLine) -> answers.Pulled:
        for name, service in asked.compose["services"].items():
            on_line({"event": "service", "service": name, "state": "pulled"})
            machine.images.add(ImageReference.parse(service["image"]).by_digest)
        return answers.Pulled()

    def _rehearse(
        self, machine: FakeMachine, asked: rehearsal.RehearseDocument, on_line: OnLine
    ) -> rehearsal.Rehearsal:
        on_line({"event": "phase", "name": "copy", "state": "started", "message": "Copying 7 MiB beside what runs"})
        found = machine.rehearsed
        images, before = ({name: one["image"] for name, one in those.items()} for those in (asked.target, asked.before))
        found = replace(found, operation=asked.operation, images=images, before=before, at="2025-01-21T02:30:00+00:00")
        machine.rehearsals.append(found)
        return found

    def _hold(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> answers.Held:
        stopped, machine.services = sorted(machine.services), {}
        machine.exited = set()
        machine.store.change(asked.operation, serving=None)
        return answers.Held(stopped)

    def _stop(self, machine: FakeMachine, asked: documents.StopDocument, on_line: OnLine) -> answers.Rested:
        note = {"by": asked.by, "since": "2025-01-21T02:00:00.000+00:00", "reason": asked.reason}
        machine.notes = {**dict.fromkeys(asked.services, note), **machine.notes}
        machine.exited |= set(asked.services) & machine.services.keys()
        machine.store.change(asked.operation, changed=True)
        return answers.Rested(machine.stopped_on_purpose())

    def _start(self, machine: FakeMachine, asked: documents.OfServices, on_line: OnLine) -> answers.Started:
        for name in asked.services:
            machine.notes.pop(name, None)
        machine.store.change(asked.operation, changed=True)
        active = self._world.engine.stack_file
        assert active is not None
        images = StackConfig.model_validate_json(active["deployment"]).images
        machine.start({name: images[name] for name in asked.services})
        return answers.Started(machine.stopped_on_purpose(), asked.services)

    def _newer(self, machine: FakeMachine, asked: documents.Nothing, on_line: OnLine) -> answers.Newer:
        return answers.Newer(machine.newer)

    def _renew(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> answers.Renewed:
        assert not machine.services, "Docker is renewed when nothing runs"
        on_line({"event": "phase", "name": "packages", "state": "started", "message": "Downloading 60 MB"})
        renewed, machine.newer = machine.newer, {}
        return answers.Renewed(renewed)

    def _restart(self, machine: FakeMachine, asked: documents.OfServices, on_line: OnLine) -> answers.Restarted:
        machine.restarted += asked.services
        machine.hung -= set(asked.services)
        return answers.Restarted(asked.services)

    def _authorize(
        self, machine: FakeMachine, asked: documents.AuthorizeDocument, on_line: OnLine
    ) -> answers.Authorized:
        machine.store.change(asked.operation, changed=True)
        machine.authorized.add(asked.key)
        if asked.remove is not None:
            # What an earlier rotation let in goes as well; the fake knows no other keys.
            machine.authorized = {asked.key}
        return answers.Authorized(others=0)

    def _password(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> answers.PasswordNoted:
        machine.store.change(asked.operation, changed=True)
        machine.password_changes = True
        return answers.PasswordNoted(asked.operation)

    def _key(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> answers.PasswordNoted:
        machine.store.change(asked.operation, changed=True)
        machine.key_changes = True
        return answers.PasswordNoted(asked.operation)

    def _apply(self, machine: FakeMachine, asked: documents.ApplyDocument, on_line: OnLine) -> answers.Applied:
        """Without the engine, as a rotation has it run: of the active version."""
        active = self._world.engine.stack_file
        assert active is not None
        config, secrets = StackConfig.model_validate_json(active["deployment"]), self._world.engine.load_secrets()
        assert asked.environment == secret_environment(config, secrets)
        target = Target.model_validate_json(active["target"])
        assert asked.compose == render(config, data_volume=True, site=target.site)
        operation = {"operation_id": asked.operation, "kind": asked.kind}
        provenance = Provenance.model_validate_json(active["provenance"]).model_copy(update=operation)
        machine.apply(provenance, config, target, asked.file_system_id, asked.instance_id, secrets)
        return answers.Applied(changed=["n8n", "postgresql"])

    def _gc(self, machine: FakeMachine, asked: documents.GcDocument, on_line: OnLine) -> answers.Collected:
        running = {ImageReference.parse(image).by_digest for image in machine.services.values()}
        known = {one for one in machine.images if ImageReference.parse(one).repository in asked.repositories}
        removed = (known | (machine.images & set(asked.former or ()))) - set(asked.keep) - running
        machine.images -= removed
        return answers.Collected(sorted(removed))

    def _health(self, machine: FakeMachine, asked: documents.HealthDocument, on_line: OnLine) -> looks.Health:
        wanted = _definitions((asked.compose or {}).get("services") or {}, asked.environment or {})
        there = machine.definitions
        differs = {
            name: [
                *(["definition"] if name not in there or definition[0] != there[name][0] else []),
                *(["secrets"] if name in there and definition[1] != there[name][1] else []),
            ]
            for name, definition in wanted.items()
            if definition != there.get(name)
        }
        return looks.Health(
            services={name: self._service(machine, name) for name in asked.services or {}},
            mount=looks.Mount(machine.mounted is not None, machine.mounted),
            disk=looks.Space(40 * 2**30, machine.free_bytes),
            data_volume=looks.DataVolume(20 * 2**30, 15 * 2**30, "vol-1", mounted=True),
            missing_images=sorted(
                name
                for name, image in (asked.images or {}).items()
                if ImageReference.parse(image).by_digest not in machine.images
            ),
            differs=None if asked.compose is None else differs,
            lease=machine.held_by(),
            operations_running=[looks.RunningOperation(*each, pid=7) for each in machine.working.items()],
            sentinel=None if (machine.sentinel or {}).get("gone") else self._sentinel(machine),
            sentinel_known=machine.mounted is not None and not machine.data_hangs,
            data_problem="The file system did not answer within 5 seconds." if machine.data_hangs else None,
            stopped=machine.stopped_on_purpose(),
            interruption=machine.interruption,
            rehearsals=machine.rehearsals[-5:],
            backups=machine.backups,
            domains=machine.domains if asked.domains is not None else None,
            models=machine.models if asked.models else None,
            boot=f"boot-{(boots := self._world.cloud.boot())}",
            reboot=machine.reboot and ([] if boots else machine.reboot),
            instance_id="i-1" if machine.set_up else None,
        )

    def _measure(self, machine: FakeMachine, asked: documents.MeasureDocument, on_line: OnLine) -> looks.Measured:
        if asked.operation is not None:
            with as_told_by_the_host():
                machine.store.give_way(asked.operation, gives_way=asked.gives_way)
            if asked.gives_way:
                machine.measured += 1
                machine.on_measure(machine.measured)
            machine.require(asked.operation, held=True)
        return looks.Measured(
            {
                name: looks.Figures(
                    **machine.life(name),
                    ready=machine.state_of(name) == "healthy",
                    detail=machine.state_of(name),
                    **{"answer_seconds": 0.01, "log_seconds": asked.log_seconds} | machine.figures.get(name, {}),
                )
                for name in asked.services
            }
        )

    @staticmethod
    def _service(machine: FakeMachine, name: str) -> looks.ServiceHealth:
        found = machine.state_of(name)
        return looks.ServiceHealth(
            **machine.life(name),
            image=machine.services.get(name),
            state={"healthy": "running", "unhealthy": "running"}.get(found, found),
            healthy=found == "healthy",
            detail="" if found == "healthy" else found,
            address="127.0.0.2:1",
            pid=7,
            migration=read(looks.Migration, machine.migration) if machine.migration and name == "n8n" else None,
        )

    @staticmethod
    def _sentinel(machine: FakeMachine) -> stored.Sentinel | None:
        return None if machine.sentinel is None else read(stored.Sentinel, machine.sentinel)

    def _manifest(self, machine: FakeMachine, asked: documents.ManifestDocument, on_line: OnLine) -> looks.Manifest:
        served = {name: read(stored.Served, one) for name, one in machine.served.items()}
        data = dict(machine.data)
        if asked.n8n_mentions is not None:
            data["n8n"] = {**data.get("n8n", {}), "mentions": machine.mentions}
        open_return = machine.returning.get("operation", "") if machine.returning.get("state") == "swapped" else ""
        return looks.Manifest(machine.mounted, machine.sentinel, data, served, data_return=open_return)

    def _checkpoint(self, machine: FakeMachine, asked: documents.CheckpointDocument, on_line: OnLine) -> answers.Copied:
        for name in asked.services:
            if machine.state_of(name) != "healthy":
                raise HostError(f"{name} does not run, so its data cannot be copied.", code="checkpoint_failed")
        name = f"v{asked.number}/{asked.operation}"
        machine.checkpoints[name] = {
            "checkpoint": name,
            "version": asked.number,
            "operation": asked.operation,
            "kind": asked.kind,
            "taken_at": self._world.clock.now().isoformat(),
            "images": dict(machine.services),
            **machine.holds(asked.services),
            "data": json.loads(json.dumps(machine.data)),
        }
        return read(answers.Copied, machine.checkpoints[name])

    def _checkpoints(
        self, machine: FakeMachine, asked: documents.CheckpointsDocument, on_line: OnLine
    ) -> looks.Checkpoints:
        now = machine.holds(asked.now) if asked.now else None
        return looks.Checkpoints(list(machine.checkpoints.values()), now)

    def _backup(self, machine: FakeMachine, asked: documents.BackupDocument, on_line: OnLine) -> answers.BackedUp:
        held = machine.held_by()
        if held is not None and held.state == "held":
            holder = {"operation": held.operation, "state": "held", "kind": held.kind, "actor": held.actor}
            raise HostError("It is held.", code="lease_held", detail={"holder": holder})
        machine.on_step("copying")
        copied = documents.CheckpointDocument(asked.operation, asked.number, "backup", ["postgresql", "qdrant"])
        about = machine.checkpoints[self._checkpoint(machine, copied, on_line).checkpoint]
        about |= {"by": asked.by, "verified_at": about["taken_at"]}
        return answers.BackedUp(about)

    def _schedule(self, machine: FakeMachine, asked: documents.ScheduleDocument, on_line: OnLine) -> answers.Scheduled:
        held = machine.held_by()
        if held is not None and held.state == "held":
            raise HostError("It is held.", code="lease_held", detail={"holder": {"kind": held.kind, "actor": "bob"}})
        since = self._world.clock.now().isoformat()
        plan = BackupPlan(asked.every_seconds, asked.keep, since, asked.by) if asked.every_seconds else None
        machine.backups = replace(machine.backups, plan=plan)
        return answers.Scheduled(machine.backups)

    def _load(self, machine: FakeMachine, asked: documents.LoadDocument, on_line: OnLine) -> answers.Loaded:
        if asked.checkpoint not in machine.checkpoints:
            raise HostError(f"There is no checkpoint {asked.checkpoint}.", code="no_checkpoint")
        machine.returning = {"operation": asked.operation, "checkpoint": asked.checkpoint, "state": "loaded"}
        machine.on_step("loaded")
        return answers.Loaded()

    def _restore(self, machine: FakeMachine, asked: documents.RestoreDocument, on_line: OnLine) -> answers.Restored:
        if asked.checkpoint not in machine.checkpoints:
            raise HostError(f"There is no checkpoint {asked.checkpoint}.", code="no_checkpoint")
        wanted = machine.checkpoints[asked.checkpoint]["data"]
        if "n8n" in machine.services:
            machine.stopped["n8n"] = machine.services.pop("n8n")
        kept = {}
        try:
            machine.on_step("stopped")
            copy_of_now = documents.CheckpointDocument(asked.operation, asked.number, "restore", asked.services)
            fresh = self._checkpoint(machine, copy_of_now, on_line)
            machine.on_step("copied")
            machine.store.change(asked.operation, changed=True)
            if "qdrant" in asked.services:
                machine.data["qdrant"] = dict(wanted["qdrant"])
            machine.on_step("recovered")
            if "postgresql" in asked.services:
                kept = {name: f"{name}_before_{asked.operation}" for name in wanted["postgresql"]["databases"]}
                databases = machine.data["postgresql"]["databases"]
                before = {new: databases.pop(old) for old, new in kept.items()}
                databases |= wanted["postgresql"]["databases"] | before
                machine.data["n8n"] = dict(wanted["n8n"])
            machine.on_step("swapped")
        except Killed:
            raise
        except BaseException:
            machine.start_stopped()
            raise
        machine.start_stopped()
        return answers.Restored(fresh, kept, list(machine.set_aside))

    def _gate(self, machine: FakeMachine, asked: documents.GateDocument, on_line: OnLine) -> looks.Gate:
        states = {name: machine.state_of(name) for name in asked.services if name not in machine.notes}
        if ill := sorted(name for name, state in states.items() if state != "healthy"):
            raise HostError(f"Not healthy: {', '.join(ill)}.", code="unhealthy")
        services = {name: looks.Passed(**machine.life(name), healthy=True) for name in states}
        machine.after_gate()
        return looks.Gate(services, machine.stopped_on_purpose())

    def _journal(self, machine: FakeMachine, asked: documents.JournalDocument, on_line: OnLine) -> looks.Journal:
        if asked.append is not None:
            machine.journal.append(asked.append)
        if asked.returned:
            machine.interruption = None
        if asked.operations:
            return looks.Journal([entry for entry in machine.journal if entry["operation_id"] in asked.operations])
        return looks.Journal(machine.journal[-asked.tail :] if asked.tail else [])

    def _evidence(self, machine: FakeMachine, asked: documents.OfOperation, on_line: OnLine) -> looks.Evidence:
        said = {name: machine.evidence_logs.get(name, [f"{name} said"]) for name in machine.services}
        return looks.Evidence({name: looks.ServiceEvidence(lines, inspect={}) for name, lines in said.items()})

    def _logs(self, machine: FakeMachine, asked: documents.LogsDocument, on_line: OnLine) -> looks.Logs:
        names = [name for name in machine.services if asked.service in (None, name)]
        for name in names:
            on_line({"event": "note", "message": "reading"})
            on_line({"event": "log", "service": name, "line": f"{name} said", "time": "2026-01-01T00:00:00.5Z"})
        return looks.Logs(len(names))


class FakeEngine:
    """A Pulumi stack in memory.

    ``outcomes`` scripts coming updates; what is not scripted follows from the images' tags and the machine.
    ``on_preview`` may change what a preview answers.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self.created = False
        self.entries: list[dict[str, Any]] = []
        """Newest first, as Pulumi prints them."""
        self.intent_tag = ""
        self.bad: tuple[int, ...] = ()
        self.pinned: tuple[int, ...] = ()
        self.verdicts_tag = ""
        self.stopped_tag = ""
        self.marks_tag = ""
        """In the place of what was marked here."""
        self.notes: dict[int, str] = {}
        self.labels: dict[str, str] = {}
        self.lost_writes = 0
        """So many coming writes of marks are undone by somebody else's."""
        self.secrets: Secrets | None = None
        self.rotations = 0
        self.new_secrets: Secrets | None = None
        """In a candidate, and nobody's before it is accepted."""
        self.stack_file: dict[str, Any] | None = None
        self.state: dict[str, dict[str, Any]] = {}
        """URN → {type, id, protect, inputs}."""
        self.lock: LockOwner | None = None
        self.shows_lock = True
        """Whether the backend is a folder; in others the lock shows only when a run is refused."""
        self.pending = False
        self.creating: dict[str, str] = {}
        """URN → type of what the killed engine was about to create."""
        self.needed: set[str] = set()
        """What is not protected and has something protected that depends on it."""
        self.lost: dict[str, dict[str, Any]] = {}
        """What was removed from the state by hand."""
        self.adopted: dict[str, str] = {}
        """A killed engine left a pending operation; only ``clear_pending`` settles it."""
        self.outcomes: deque[Script] = deque()
        self.on_preview: Callable[[list[ResourceOperation]], list[ResourceOperation]] = lambda operations: operations
        self.preview_error: EngineError | None = None
        self.destroy_failure = ""
        self.numbers: list[int] = []
        """The number of every update ever begun."""
        self.limits: list[int | None] = []
        """How much of the history was asked for, each time."""

    # --- the key of its secrets --------------------------------------------------------------------------------------

    def require_current(self) -> None:
        self._world.call("engine.require_current")

    def change_key(self, provider: str, passphrase: str) -> None:
        self._world.call("engine.change_key")

    def record_config(self) -> None:
        self._world.call("engine.record_config")

    def rotate_secrets(self, secrets: Secrets, rotation: str) -> None:
        """As long as the history has not the new ones, the old ones hold: a killed one's file is taken from there."""
        self._world.call("engine.rotate_secrets")
        self._world.call("engine.record_config")
        self.secrets, self.new_secrets = secrets, None
        self.rotations += 1
        if self.stack_file is not None:
            self.stack_file = {**self.stack_file, "rotation": rotation}
            self._ended("refresh", "succeeded")

    def with_passphrase(self, passphrase: str) -> FakeEngine:
        return self

    def opens(self) -> bool:
        return self.secrets is not None

    def any_other(self) -> bool:
        return False

    # --- what the stack is ---------------------------------------------------------------------------------------

    def exists(self) -> bool:
        self._world.call("engine.exists")
        return self.created

    def create(self) -> None:
        self._world.call("engine.create")
        self.created = True

    def remove(self) -> None:
        self._world.call("engine.remove")
        if self.state:
            raise EngineError("The stack still has resources.")
        self.__init__(self._world, self._folder)  # type: ignore[misc]  # as new

    def history(self, limit: int | None = 100) -> list[HistoryEntry]:
        self._world.call("engine.history")
        self.limits.append(limit)
        return [HistoryEntry.read(**entry) for entry in self.entries[: limit or None]]

    def tags(self) -> StackTags:
        self._world.call("engine.tags")
        return StackTags.read(
            intent=self.intent_tag or None,
            marks=self.marks_tag or json.dumps({"bad": self.bad, "pinned": self.pinned}),
            verdicts=self.verdicts_tag or None,
            notes=self.notes,
            stopped=self.stopped_tag or None,
            labels=self.labels,
        )

    def set_stopped(self, note: StoppedInstance | None) -> None:
        self._world.call("engine.set_stopped")
        self.stopped_tag = note.to_tag() if note is not None else ""

    def set_intent(self, intent: Intent) -> None:
        self._world.call(f"engine.set_intent:{intent.outcome or 'begun'}")
        self.intent_tag = intent.to_tag()

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._world.call("engine.turn")
        yield

    def set_marks(self, bad: Iterable[int], pinned: Iterable[int]) -> None:
        self._world.call("engine.set_marks")
        if self.lost_writes:
            self.lost_writes -= 1
            return
        self.bad, self.pinned = tuple(sorted(bad)), tuple(sorted(pinned))

    def set_verdicts(self, verdicts: Verdicts) -> None:
        self._world.call("engine.set_verdicts")
        self.verdicts_tag = verdicts.to_tag()

    def set_labels(self, changes: Mapping[str, str]) -> None:
        self._world.call("engine.set_labels")
        self.labels = {key: value for key, value in {**self.labels, **changes}.items() if value}

    def set_note(self, number: int, text: str) -> None:
        self._world.call("engine.set_note")
        self.notes = {**self.notes, number: text} if text else {k: v for k, v in self.notes.items() if k != number}

    # --- config --------------------------------------------------------------------------------------------------

    def write_candidate(
        self,
        config: StackConfig,
        provenance: Provenance,
        target: Target,
        new_secrets: Secrets | None = None,
        other_secrets: Secrets | None = None,
    ) -> Path:
        self._world.call("engine.write_candidate")
        if (self.secrets is None) == (new_secrets is None):
            raise WorkspaceError(f"The secrets of {DEPLOYMENT} cannot be read from this machine.")
        self.new_secrets = new_secrets = other_secrets or new_secrets
        path = self._folder / f"{provenance.operation_id}.json"
        document = {
            "deployment": config.model_dump_json(),
            "provenance": provenance.model_dump_json(),
            "target": target.model_dump_json(),
            "rotation": provenance.operation_id if other_secrets else (self.stack_file or {}).get("rotation"),
            **({} if new_secrets is None else {"secrets": new_secrets.model_dump_json()}),
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def rewrite_candidate(self, candidate: Path, provenance: Provenance) -> None:
        self._world.call("engine.rewrite_candidate")
        document = json.loads(candidate.read_text(encoding="utf-8"))
        document["provenance"] = provenance.model_dump_json()
        candidate.write_text(json.dumps(document), encoding="utf-8")

    def accepted(self) -> tuple[StackConfig, Target] | None:
        if self.stack_file is None:
            return None
        config = StackConfig.model_validate_json(self.stack_file["deployment"])
        return config, Target.model_validate_json(self.stack_file["target"])

    def has_secrets(self) -> bool:
        self._world.call("engine.has_secrets")
        return self.secrets is not None

    def load_secrets(self) -> Secrets:
        if (secrets := self.new_secrets or self.secrets) is None:
            raise WorkspaceError(f"The secrets of {DEPLOYMENT} cannot be read from this machine.")
        return secrets

    def replace_secrets(self, secrets: Secrets) -> None:
        self._world.call("engine.replace_secrets")
        self.secrets = secrets

    # --- runs of the program -------------------------------------------------------------------------------------

    def preview(self, candidate: Path, on_secrets: Callable[[], None] | None = None) -> list[ResourceOperation]:
        self._world.call("engine.preview")
        if self.preview_error is not None:
            raise self.preview_error
        if on_secrets is not None:
            on_secrets()
        return self.on_preview(self._plan(json.loads(candidate.read_text(encoding="utf-8"))))

    def _given_up(self, config: StackConfig, gives_up: Callable[[], str] | None) -> str:
        """Why a run is stopped while the provider goes on asking for an instance of the new type."""
        cloud = self._world.cloud
        assert gives_up is not None and cloud.instance is not None
        before, cloud.instance = cloud.instance, cloud.instance.model_copy(update={"type": config.instance_type})
        while not (why := gives_up()):
            self._world.clock.sleep(1.0)
        cloud.instance = before
        return why

    def up(
        self,
        candidate: Path,
        message: str,
        on_event: Callable[[Event], None],
        deadline_seconds: float,
        on_stop: Callable[[], None] | None = None,
        before_instance: Callable[[], None] | None = None,
        only: list[str] | None = None,
        after_mount: Callable[[Secrets], Secrets] | None = None,
        after_mount_seconds: float = 0.0,
        gives_up: Callable[[], str] | None = None,
    ) -> ApplyOutcome:
        self._world.call("engine.up")
        self._lock()
        document = json.loads(candidate.read_text(encoding="utf-8"))
        candidate.unlink()
        held = self.secrets
        if "secrets" in document:
            self.secrets = Secrets.model_validate_json(document.pop("secrets"))
        self.new_secrets = None
        self.stack_file = document
        config = StackConfig.model_validate_json(document["deployment"])
        provenance = Provenance.model_validate_json(document["provenance"])
        target = Target.model_validate_json(document["target"])
        if only is not None:
            for name in only:
                self.state[name]["protect"] = target.protect
            return self._ended("update", "succeeded")
        self.numbers.append(provenance.number)
        script = self.outcomes.popleft() if self.outcomes else None
        if before_instance is not None:
            try:
                before_instance()
            except GeusemakerError:
                return self._ended("update", "failed", failure="The update failed.", diagnostics=("Traceback …",))
            except (Killed, KeyboardInterrupt):
                self._ended("update", "failed")
                raise
        try:
            self._world.call("up.infrastructure")
            if script == "volume-modified-too-often":
                return self._ended("update", "failed", diagnostics=("VolumeModificationRateExceeded: wait 6 hours",))
            if script in ("no-capacity", "silent-provider"):
                assert self._world.cloud.instance is not None
                self._world.cloud.instance = self._world.cloud.instance.model_copy(update={"state": "stopped"})
                if script == "silent-provider":
                    return self._ended("update", "failed", failure=self._given_up(config, gives_up))
                return self._ended("update", "failed", diagnostics=("InsufficientInstanceCapacity: try later",))
            self._infrastructure(config, document)
            self._world.call("up.mount")
            self._world.machine.set_up = True
            if after_mount is not None:
                try:
                    after_mount(self.load_secrets())
                except GeusemakerError:
                    return self._ended("update", "failed", failure="The update failed.", diagnostics=("Traceback …",))
            self._world.call("up.apply")
            if script is not None:
                assert on_stop is not None
                on_stop()
            if script == "deadline-kill":
                self.pending = True
                return ApplyOutcome(succeeded=False, timed_out=True)  # no entry, and the lock stays
            if script == "timeout":
                return self._ended("update", "failed", timed_out=True)
            assert self._world.cloud.file_system is not None
            if target.adopting:
                self._world.machine.password_changes = True
            file_system, instance = self._world.cloud.file_system, self._world.cloud.instance
            assert instance is not None
            if self._world.machine.stops_for:
                for name in self._world.machine.replaced_by(config):
                    on_event(Event(kind="service", name=name, state="stopping"))
                self._world.clock.sleep(self._world.machine.stops_for)
            self._world.machine.apply(provenance, config, target, file_system.id, instance.id, self.load_secrets())
            self._world.call("up.gate")
        except HostError as error:
            return self._ended(
                "update", "failed", agent_error={"event": "error", "code": error.code, "message": error.message}
            )
        except Killed:
            self.pending = True
            self.secrets = held or self.secrets  # the history does not have others, and it decides
            raise
        except KeyboardInterrupt:  # the engine is told, and ends in order
            assert on_stop is not None
            on_stop()
            self._ended("update", "failed")
            raise
        return self._gate(config, provenance.operation_id, on_event)

    def _gate(self, config: StackConfig, operation: str, on_event: Callable[[Event], None]) -> ApplyOutcome:
        machine = self._world.machine
        states = {name: machine.state_of(name) for name in config.services if name not in machine.notes}
        for name, state in states.items():
            on_event(Event(kind="service", name=name, state=state))
        ill = set(states.values()) - {"healthy"}
        machine.end_own_lease(operation, "failed" if ill else "done")
        if ill:
            error = {
                "event": "error",
                "code": "unhealthy",
                "message": "Services did not become healthy.",
                "detail": {"services": {name: {"state": state, "reason": state} for name, state in states.items()}},
            }
            return self._ended("update", "failed", agent_error=error)
        services = {name: {"image": machine.services[name], "healthy": True, **machine.life(name)} for name in states}
        machine.after_gate()
        told = {"gate": {"services": services}, "apply": dict(machine.became)}
        return self._ended("update", "succeeded", agent_results=told)

    def destroy(
        self,
        on_event: Callable[[Event], None],
        before: Callable[[], None] | None = None,
        deadline_seconds: float = 900.0,
    ) -> ApplyOutcome:
        self._world.call("engine.destroy")
        self._lock()
        if before is not None:
            try:
                before()
            except GeusemakerError as error:
                return self._ended("destroy", "failed", failure=str(error))
            except KeyboardInterrupt:  # the engine is told, and ends in order
                self._ended("destroy", "failed")
                raise
        if self.destroy_failure:
            return self._ended("destroy", "failed", failure=self.destroy_failure)
        kept = {name: one for name, one in self.state.items() if one["protect"] or name in self.needed}
        if not any(resource["type"] == FILE_SYSTEM for resource in kept.values()):
            self._world.cloud.file_system = None
            self._world.cloud.mount_target = "missing"
            self._world.machine.lease = self._world.machine.sentinel = None
            self._world.machine.password = ""
            self._world.machine.n8n_key = None
            self._world.machine.journal = []
        if not any(resource["type"] == VOLUME for resource in kept.values()):
            self._world.cloud.volume = None
        self.state = kept
        self._world.cloud.instance = None
        self._world.cloud.has_address = False
        self._world.machine.services = {}
        self._world.machine.images = set()
        self._world.machine.mounted = None
        return self._ended("destroy", "succeeded")

    def resources(self) -> dict[str, dict[str, Any]]:
        self._world.call("engine.resources")
        return {
            name: {
                **{key: value[key] for key in ("type", "id", "protect")},
                "kept": value["protect"] or name in self.needed,
            }
            for name, value in self.state.items()
        }

    # --- repair --------------------------------------------------------------------------------------------------

    def lock_owner(self) -> LockOwner | None:
        self._world.call("engine.lock_owner")
        if self.lock is None or not self.shows_lock:
            return None
        return self.lock.model_copy(update={"lives": self.lock.pid in self._world.alive})

    def remove_lock(self, owner: LockOwner) -> None:
        self._world.call("engine.remove_lock")
        self.lock = None

    def lose(self, *types: str) -> None:
        """Somebody removes resources from the state by hand."""
        for name, resource in list(self.state.items()):
            if resource["type"] in types:
                self.lost[name] = self.state.pop(name)

    def missing_data(self, *, has_volume: bool) -> dict[str, str]:
        self._world.call("engine.missing_data")
        known = {resource["type"] for resource in self.state.values()}
        wanted = [FILE_SYSTEM, BACKUP_POLICY, MOUNT_TARGET, *([VOLUME] if has_volume else [])]
        return {urn(type, "data"): type for type in wanted if type not in known}

    def stored_target(self) -> Target | None:
        return Target.model_validate_json(self.stack_file["target"]) if self.stack_file else None

    def stack_id(self) -> str:
        self._world.call("engine.stack_id")
        return self._world.cloud.tags.get(STACK_TAG, "") if self.state or self.creating else ""

    def pending_creates(self) -> dict[str, Sought]:
        self._world.call("engine.pending_creates")
        tags = self._world.cloud.tags
        return {name: Sought(type=type, tags=tags) for name, type in self.creating.items()}

    def clear_pending(self, adopt: dict[str, str], candidate: Path | None = None) -> None:
        self._world.call("engine.clear_pending")
        self._lock()
        if candidate is not None and self.secrets is None:
            document = json.loads(candidate.read_text(encoding="utf-8"))
            self.secrets = Secrets.model_validate_json(document.pop("secrets"))
            self.stack_file = document
        self.adopted = adopt
        self._read_again(adopt)
        self.pending = False
        self._ended("refresh", "succeeded")

    @contextmanager
    def rehearse(self, adopt: dict[str, str], candidate: Path | None = None) -> Iterator[FakeEngine]:
        self._world.call("engine.rehearse")
        twin = copy.copy(self)
        twin._read_again(adopt)
        yield twin

    def _read_again(self, adopt: dict[str, str]) -> None:
        cloud = self._world.cloud
        state = copy.deepcopy(self.state) | {name: self.lost[name] for name in adopt if name in self.lost}
        read: dict[str, dict[str, Any]] = {
            FILE_SYSTEM: {"encrypted": True},
            BACKUP_POLICY: {"status": "ENABLED"},
            MOUNT_TARGET: {"subnet": "subnet-1"},
            VOLUME: {"size": cloud.volume.size_gib if cloud.volume is not None else 0},
            ADDRESS: {},
        }
        for name, found in adopt.items():  # by id alone: what it was made with is read from AWS
            type = next((each for each in read if f"::{each}::" in name), "")
            if type in read and name not in self.creating:
                resource: dict[str, Any] = {"type": type, "id": found, "protect": type != ADDRESS, "inputs": read[type]}
                state.setdefault(name, resource)
        gone = {type for type, there in ((INSTANCE, cloud.instance), (ADDRESS, cloud.has_address)) if not there}
        if cloud.instance is None and cloud.file_system is None and cloud.volume is None:
            gone |= {found["type"] for found in state.values() if found["type"] != COMMAND}
        self.state = {name: found for name, found in state.items() if found["type"] not in gone}
        for resource in self.state.values():
            if resource["type"] == INSTANCE:
                resource["inputs"] = {**resource["inputs"], "rootBlockDevice": cloud.root_gib}
            if resource["type"] == VOLUME and cloud.volume is not None:
                resource["inputs"] = {"size": cloud.volume.size_gib}

    # --- plumbing ------------------------------------------------------------------------------------------------

    def _lock(self) -> None:
        if self.lock is not None:
            lives = self.lock.pid in self._world.alive
            raise DeploymentBusyError(
                f"Another run of the engine holds {DEPLOYMENT}: process {self.lock.pid}.",
                lock=self.lock.model_copy(update={"lives": lives}),
            )
        self.lock = LockOwner(pid=self._world.engine_pid, user="ann", host=HOST_NAME, since="2025-01-21T02:00:00Z")

    def _ended(self, kind: str, result: str, **outcome: Any) -> ApplyOutcome:
        self.lock = None
        now = self._world.clock.now().isoformat()
        self.entries.insert(0, {"kind": kind, "result": result, "started_at": now, "ended_at": now, **self._file()})
        return ApplyOutcome(succeeded=result == "succeeded", **outcome)

    def _file(self) -> dict[str, Any]:
        return self.stack_file or {"deployment": None, "provenance": None, "target": None}

    def _wanted(self, document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
        config, target = json.loads(document["deployment"]), Target.model_validate_json(document["target"])
        operation = json.loads(document["provenance"])["operation_id"]
        return {
            urn(type, name): (type, name, inputs)
            for type, name, inputs in (
                (FILE_SYSTEM, "data", {"encrypted": True}),
                (BACKUP_POLICY, "data", {"status": "ENABLED"}),
                (MOUNT_TARGET, "data", {"subnet": "subnet-1"}),
                (VOLUME, "data", {"size": target.data_volume_gib}),
                (
                    INSTANCE,
                    "instance",
                    {
                        "instanceType": config["instance_type"],
                        "ami": config["ami"],
                        "rootBlockDevice": target.root_volume_gib or config["root_volume_gib"],
                    },
                ),
                (ADDRESS, "address", {}),
                (COMMAND, "apply", {"stdin": [operation, config["services"]]}),
                (COMMAND, "gate", {"stdin": operation}),
            )
            if type != VOLUME or target.data_volume_gib
        }

    def _plan(self, document: dict[str, Any]) -> list[ResourceOperation]:
        operations = []
        for name, (type, logical, inputs) in self._wanted(document).items():
            old = self.state.get(name)
            changed = tuple(key for key in inputs if old is not None and old["inputs"].get(key) != inputs[key])
            anew = type == INSTANCE and "ami" in changed
            operations.append(
                ResourceOperation(
                    op="create" if old is None else "replace" if anew else "update" if changed else "same",
                    replaces=("ami",) if anew else (),
                    type=type,
                    name=logical,
                    urn=name,
                    changed=changed,
                    inputs_digest=_sha256(json.dumps(inputs, sort_keys=True)),
                    protected=bool(old and old["protect"]),
                    provider_id=old["id"] if old else "",
                )
            )
        return operations

    def _infrastructure(self, config: StackConfig, document: dict[str, Any]) -> None:
        cloud, machine = self._world.cloud, self._world.machine
        target = Target.model_validate_json(document["target"])
        protect = target.protect
        cloud.tags = own_tags(DEPLOYMENT, target.stack_id)
        for name, (type, _, inputs) in self._wanted(document).items():
            known = self.state.get(name)
            if type == FILE_SYSTEM and known is None:
                cloud.file_system = FileSystemState(id="fs-1", mounted=False, state="available")
            if type == MOUNT_TARGET and known is None:
                cloud.mount_target = "available"
            if type == VOLUME and known is None:
                cloud.volume = DataVolumeState(
                    id="vol-1", size_gib=inputs["size"], state="in-use", availability_zone="us-east-1a", attached_to=""
                )
            if type == VOLUME and known is not None and known["inputs"] != inputs:
                assert cloud.volume is not None and inputs["size"] > cloud.volume.size_gib, "EBS refuses anything else"
                cloud.volume = cloud.volume.model_copy(update={"size_gib": inputs["size"]})
            if type == INSTANCE:
                size = inputs["rootBlockDevice"]
                if known is None:
                    cloud.root_gib = 0
                elif known["inputs"]["rootBlockDevice"] != size:
                    assert size > cloud.root_gib, "EBS refuses anything else"
                cloud.root_gib = size
                self._instance(config, known is None or known["inputs"]["ami"] != inputs["ami"])
            if type == ADDRESS:
                cloud.has_address = True
            ids = {FILE_SYSTEM: "fs-1", VOLUME: "vol-1", INSTANCE: cloud.instance.id if cloud.instance else ""}
            ids[ADDRESS] = "eipalloc-1"
            self.state[name] = {
                "type": type,
                "id": ids.get(type, name),
                "protect": protect and type in (FILE_SYSTEM, MOUNT_TARGET, BACKUP_POLICY, VOLUME),
                "inputs": inputs,
            }
        assert cloud.file_system is not None
        machine.mounted = cloud.file_system.id

    def _instance(self, config: StackConfig, create: bool) -> None:
        cloud = self._world.cloud
        if create:
            cloud.created += 1
            self._world.machine.authorized = {login_of(self.load_secrets())}
            cloud.instance = InstanceState(
                id=f"i-{cloud.created}",
                type=config.instance_type,
                state="running",
                address="127.0.0.9",
                image_id=config.ami,
            )
        elif cloud.instance is not None and cloud.instance.type != config.instance_type:
            cloud.instance = cloud.instance.model_copy(update={"type": config.instance_type, "state": "running"})


class MemoryJournal:
    """A journal that keeps its records in a list."""

    def __init__(self, folder: Path, call: Callable[[str], None] = lambda name: None) -> None:
        self.records: list[OperationRecord] = []
        self.damage = ""
        self.undelivered = ""
        self._folder = folder
        self._call = call

    def append(self, record: OperationRecord) -> None:
        self._call("journal.append")
        self.records.append(OperationRecord.model_validate_json(record.model_dump_json()))

    def read(self) -> list[OperationRecord]:
        self._call("journal.read")
        return self.records

    def evidence_folder(self, operation_id: str) -> Path:
        self._call("journal.evidence_folder")
        folder = self._folder / "evidence" / operation_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder


OLD_IMAGES: Final[dict[str, str]] = {
    "postgresql": "postgres:16.9",
    "n8n": "n8nio/n8n:1.100.1",
    "ollama": "ollama/ollama:0.9.6",
    "qdrant": "qdrant/qdrant:v1.14.1",
    "crawl4ai": "unclecode/crawl4ai:0.7.0",
}


class World:
    """Everything around one deployment; its verbs run the real services.

    ``kill_at`` names a call (``host.prefetch``, ``up.apply``, ``engine.set_intent:done`` …) at which the process is
    killed: ``Killed`` is raised there, and whatever the dead process still tries fails as well.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.registry = FakeRegistry()
        self.cloud = FakeCloud(self.call)
        self.machine = FakeMachine()
        self.become = ""
        self.engine = FakeEngine(self, folder)
        self.records = MemoryJournal(folder, self.call)
        self.journal: Journal = self.records
        self.teller: Teller = Nobody()
        self.prices: Prices = Unpriced()
        self.advisories: Advisories | None = None
        self.events: list[Event] = []
        self.calls: list[str] = []
        self.host_name = HOST_NAME
        self.kill_at = ""
        self.host_reachable = True
        self.seen_from = "127.0.0.1"
        """Where this machine connects from, as the instance sees it."""
        self.silent_until_restart = False
        """Whether the instance answers only after it was stopped and started."""
        self.boot_seconds = 0
        """How often an instance that was just started is asked in vain."""
        self.host_failures: dict[str, HostError] = {}
        self.pid = 1000
        self.engine_pid = 5000
        self.alive: set[int] = set()
        """Processes of others that live."""
        self.births: dict[int, str] = {}
        """When those began whose number another one had before."""
        self._dead = False
        self._failures: list[tuple[str, BaseException]] = []

    def call(self, name: str) -> None:
        """Note a call to the outside; the place where the process dies if it is told to."""
        if self._dead:
            raise Killed
        self.calls.append(name)
        if name == self.kill_at:
            self.kill_at, self._dead = "", True
            raise Killed
        for place, (wanted, error) in enumerate(self._failures):
            if wanted in (name, f"{name}#{self.calls.count(name)}"):
                del self._failures[place]
                self._dead = isinstance(error, Killed)
                raise error

    def fail_at(self, name: str, error: BaseException) -> None:
        """Let a coming call fail, once: the next of that name or, as ``name#N``, the N-th of a verb."""
        self._failures.append((name, error))

    def is_alive(self, pid: int, born: str) -> bool:
        if born and self.births.get(pid, born) != born:
            return False
        return pid in self.alive or (pid == self.pid and not self._dead)

    def collaborators(self) -> Collaborators:
        """What a new process acts through."""
        self.pid += 1
        self.engine_pid += 1
        self._dead = False
        self.engine.new_secrets = None
        self.calls.clear()
        self.events.clear()
        return Collaborators(
            become=self.become,
            deployment=DEPLOYMENT,
            engine=self.engine,
            cloud=lambda region: self.cloud,
            registry=self.registry,
            open_host=self._open_host,
            open_tunnel=self._open_tunnel,
            journal=self.journal,
            clock=self.clock,
            actor="ann",
            host_name=self.host_name,
            pid=self.pid,
            born=f"born-{self.pid}",
            is_alive=self.is_alive,
            on_event=self.events.append,
            teller=self.teller,
            prices=self.prices,
            advisories=self.advisories,
        )

    @contextmanager
    def _open_host(self, address: str, target: Target, secrets: Secrets) -> Iterator[Instance]:
        assert address and secrets.host_private_key == self.engine.load_secrets().host_private_key
        yield Instance(FakeHost(self, login_of(secrets)))

    @contextmanager
    def _open_tunnel(
        self, address: str, target: Target, secrets: Secrets, forwards: Sequence[Forward]
    ) -> Iterator[dict[str, str]]:
        self.call("tunnel")
        yield {one.service: f"http://localhost:{one.port}" for one in forwards}

    # --- verbs ---------------------------------------------------------------------------------------------------

    def deploy(self, request: DeployRequest | None = None, confirm: Callable[[Plan], bool] = yes) -> OperationResult:
        request = request or DeployRequest()
        first = not any(entry["kind"] == "update" and entry["result"] == "succeeded" for entry in self.engine.entries)
        if first and request.desired is None:
            # Releases of one age, whatever today's defaults are: the stories go on from these to later ones.
            enabled = {SERVICE_ALIASES.get(name, name) for name in request.services or OLD_IMAGES}
            enabled -= {SERVICE_ALIASES.get(name, name) for name in request.without}
            old = {name: image for name, image in OLD_IMAGES.items() if name in enabled}
            request = request.model_copy(update={"images": old | request.images})
        return DeployService(self.collaborators()).deploy(request, confirm)

    def update(
        self,
        confirm: Callable[[Plan], bool] = yes,
        verify: Callable[[Mapping[str, str]], object] | None = None,
        **request: Any,
    ) -> OperationResult:
        return UpdateService(self.collaborators()).update(UpdateRequest(**request), confirm, verify)

    def n8n(self, tag: str, **request: Any) -> OperationResult:
        """Update n8n to a tag: the ordinary change."""
        return self.update(images={"n8n": f"n8nio/n8n:{tag}"}, **request)

    def set_secret(
        self, name: str, value: str, confirm: Callable[[Plan], bool] = yes, **options: Any
    ) -> OperationResult:
        """Store a secret of the operator's, or update what has it."""
        return SetSecretService(self.collaborators()).set(name, SecretStr(value), ChangeOptions(**options), confirm)

    def delete_secret(
        self, name: str, confirm: Callable[[str], bool] = lambda text: True, **options: Any
    ) -> OperationResult:
        return SetSecretService(self.collaborators()).delete(name, ChangeOptions(**options), confirm)

    def rollback(self, confirm: Callable[[Plan], bool] = yes, **request: Any) -> RollbackResult:
        return RollbackService(self.collaborators()).rollback(RollbackRequest(**request), confirm)

    def restore(self, confirm: Callable[[RestorePlan], bool] = lambda plan: True, **request: Any) -> RestoreResult:
        return RestoreService(self.collaborators()).restore(RestoreRequest(**request), confirm)

    def rehearse(self, **images: str) -> RehearsalResult:
        return RehearseService(self.collaborators()).rehearse(RehearseRequest(images=images, reason="Friday"))

    def mark(self, number: int, *, bad: bool, reason: str = "") -> MarkResult:
        return MarkService(self.collaborators()).mark(number, bad=bad, reason=reason)

    def recover(self, confirm: Callable[[Plan], bool] = yes, **options: Any) -> OperationResult:
        return RecoverService(self.collaborators()).recover(ChangeOptions(**options), confirm)

    def stop(
        self, *services: str, instance: bool = False, confirm: Callable[[RestPlan], bool] = lambda plan: True
    ) -> OperationResult:
        request = RestRequest(kind="stop", services=services, instance=instance, reason="moving the database")
        return RestService(self.collaborators()).run(request, confirm)

    def start(self, *services: str, confirm: Callable[[RestPlan], bool] = lambda plan: True) -> OperationResult:
        return RestService(self.collaborators()).run(RestRequest(kind="start", services=services), confirm)

    def rotate(
        self, kind: RotationKind, confirm: Callable[[str], bool] = lambda text: True, key: str | None = None
    ) -> SecretRotationResult:
        given = SecretStr(key) if key is not None else None
        return RotateSecretService(self.collaborators()).run(kind, confirm, given)

    def destroy(
        self, delete_data: bool = False, confirm: Callable[[Plan], bool] = yes, **options: Any
    ) -> OperationResult:
        return DestroyService(self.collaborators()).destroy(ChangeOptions(**options), confirm, delete_data=delete_data)

    def inspect(self, **options: Any) -> Inspection:
        return InspectService(self.collaborators()).inspect(**options)

    def state(self) -> DeploymentState:
        return load_state(self.collaborators(), whole=True)

    def messages(self, kind: str) -> list[str]:
        """The messages of the latest verb's events of a kind."""
        return [event.message for event in self.events if event.kind == kind]


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
