"""Where the local cloud keeps things. Cheap to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from geusemaker.errors import LocalCloudError

# The container engine's socket lies below an instance's folder, and AF_UNIX paths hold 107 bytes; programs reach
# it relative to that folder, so only absurdly deep folders are a problem (PATH_MAX).
_LONGEST_FOLDER = 2048

OWN_PATHS = "/_geusemaker/"
"""What is not AWS's at the address of its API."""


def default_folder() -> Path:
    """``GEUSEMAKER_LOCAL_DIR``, or ``geusemaker/local`` in the user's data folder."""
    given = os.environ.get("GEUSEMAKER_LOCAL_DIR")
    if given:
        return Path(given).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "geusemaker" / "local"


@dataclass(frozen=True)
class CloudPaths:
    """The files and folders of one local cloud."""

    root: Path

    def __post_init__(self) -> None:
        if len(os.fsencode(self.root)) > _LONGEST_FOLDER:
            raise LocalCloudError(
                f"The local cloud's folder {self.root} has too long a path.",
                next_step="Set GEUSEMAKER_LOCAL_DIR to a shorter one.",
            )

    @property
    def daemon(self) -> Path:
        """Who runs and where it answers; there only while the daemon runs (or after it was killed)."""
        return self.root / "daemon.json"

    @property
    def log(self) -> Path:
        """What the daemon and its libraries write."""
        return self.root / "daemon.log"

    @property
    def lock(self) -> Path:
        """Held (flock) by the running daemon; the kernel releases it however the daemon ends."""
        return self.root / "lock"

    @property
    def ports(self) -> Path:
        """The ports used last, taken again where they are free."""
        return self.root / "ports.json"

    @property
    def runtime(self) -> Path:
        """What the instances are, where that was chosen."""
        return self.root / "runtime.json"

    @property
    def account(self) -> Path:
        """The id of the account that this local cloud is."""
        return self.root / "account"

    @property
    def aws_state(self) -> Path:
        """moto's backends, pickled."""
        return self.root / "aws.pickle"

    @property
    def access(self) -> Path:
        """The cloud's one access key; only its owner can read it."""
        return self.root / "access.json"

    @property
    def images(self) -> Path:
        """The machine images (AMIs) that moto is given."""
        return self.root / "amis.json"

    @property
    def faults(self) -> Path:
        """Failures that a test asks the AWS API for."""
        return self.root / "faults.json"

    @property
    def policy(self) -> Path:
        """The IAM policy of whoever calls the AWS API, where a test gives one."""
        return self.root / "policy.json"

    @property
    def programs(self) -> Path:
        """Programs for whoever's machine this is, as AWS has them for its users."""
        return self.root / "programs"

    @property
    def registry(self) -> Path:
        """The image registry's state."""
        return self.root / "registry"

    @property
    def file_systems(self) -> Path:
        """One folder for each EFS file system; outlives every instance."""
        return self.root / "file_systems"

    @property
    def mount_targets(self) -> Path:
        """File system id → its mount targets, as the instances' DNS sees them."""
        return self.file_systems / "mount_targets.json"

    @property
    def volumes(self) -> Path:
        """One folder for each EBS volume but the instances' own disks; outlives every instance."""
        return self.root / "volumes"

    @property
    def instances(self) -> Path:
        """One folder for each instance."""
        return self.root / "instances"
