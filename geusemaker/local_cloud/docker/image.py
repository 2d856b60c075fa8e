"""The instance images: Debian 13 as on AWS, made of Debian's packages, once for each recipe.

The bare one has what AWS's has before anybody was there. That of most instances is made of it, and has what the agent
installs, so that a deployment need not wait for it; the image registry runs in one, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from geusemaker.local_cloud.docker.command import Docker, DockerError

__all__ = ["bare_image_name", "ensure_bare_image", "ensure_debian", "ensure_image", "image_name"]

RELEASE: Final = "trixie"
"""Debian 13."""

REPOSITORY: Final = "geusemaker/instance"
_BARE_REPOSITORY: Final = "geusemaker/bare-instance"
_MIRROR: Final = "http://deb.debian.org/debian"
_GUEST: Final = Path(__file__).parent / "guest"
_RECIPE: Final = _GUEST / "recipe.sh"
_BARE_RECIPE: Final = _GUEST / "bare.sh"
_GUEST_FILES: Final = (
    _GUEST / "boot.sh",
    _GUEST / "mount_helper.py",
    _GUEST / "registry.yml",
    _GUEST.parents[1] / "machine/volumes.py",
)
_SECONDS: Final = 1800.0

Note = Callable[[str], None]


def image_name() -> str:
    """The image of today's recipes: its tag is their digest."""
    return f"{REPOSITORY}:{_digest(_BARE_RECIPE, _RECIPE)}"


def bare_image_name() -> str:
    """The bare image of today's recipe."""
    return f"{_BARE_REPOSITORY}:{_digest(_BARE_RECIPE)}"


def _digest(*recipes: Path) -> str:
    digest = hashlib.sha256(RELEASE.encode())
    for file in (*recipes, *_GUEST_FILES):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def ensure_image(docker: Docker, note: Note) -> str:
    """The image's name, once it is there; it is built where it is not.

    Raises:
        DockerError: it could not be built.
    """
    return _ensure(docker, image_name(), note, _build_whole)


def ensure_bare_image(docker: Docker, note: Note) -> str:
    """As ``ensure_image``, the bare one."""
    return _ensure(docker, bare_image_name(), note, _build_bare)


def _ensure(docker: Docker, name: str, note: Note, build: Callable[[Docker, Note], None]) -> str:
    if docker.find("image", name) is not None:
        return name
    with (Path(tempfile.gettempdir()) / f"geusemaker-instance-image.{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever else is building it is waited for
        if docker.find("image", name) is None:
            build(docker, note)
    return name


def _build_whole(docker: Docker, note: Note) -> None:
    note(
        "Building the instance image, Debian 13 from Debian's own packages: this once, 2 to 6 minutes, "
        "about 300 MB to download and 1 GB on disk."
    )
    if docker.find("image", bare_image_name()) is None:
        _build_bare(docker, note)
    _build(docker, bare_image_name(), _RECIPE, image_name(), note)


def _build_bare(docker: Docker, note: Note) -> None:
    _build(docker, ensure_debian(docker, RELEASE, note), _BARE_RECIPE, bare_image_name(), note)


def _build(docker: Docker, base: str, recipe: Path, name: str, note: Note) -> None:
    builder = f"geusemaker-build-{os.getpid()}"
    try:
        docker.run(
            "create", "--interactive", "--name", builder, "--network", "host", "--entrypoint", "sh",
            base, f"/run/{recipe.name}",
        )  # fmt: skip
        docker.run("cp", "-", f"{builder}:/run", stdin=_guest_archive(recipe))
        note("Installing packages in it.")
        installed = 0

        def progress(line: str) -> None:
            nonlocal installed
            if line.startswith("Setting up "):
                installed += 1
                if installed % 25 == 0:
                    note(f"{installed} packages are installed.")

        docker.follow("start", "--attach", "--interactive", builder, stdin=b"", on_line=progress)
        docker.run("commit", "--change", 'ENTRYPOINT ["/usr/local/sbin/boot"]', "--change", "CMD []", builder, name)
    except DockerError as error:
        raise DockerError(
            f"The instance image could not be built: {error.message}",
            next_step="Debian's package mirror (deb.debian.org) has to be reachable; then run the same command again.",
        ) from error
    finally:
        docker.run("rm", "--force", "--volumes", builder)
    note(f"The instance image is {name}.")


def _guest_archive(recipe: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(recipe, recipe.name)
        for file in _GUEST_FILES:
            archive.add(file, f"guest/{file.name}")
    return stream.getvalue()


def ensure_debian(docker: Docker, release: str, note: Note) -> str:
    """An image of a Debian release's minimal system, by debootstrap where that can be, else as Debian publishes it.

    Raises:
        DockerError: it could not be had.
    """
    made, published = f"geusemaker/debian:{release}", f"debian:{release}"
    if docker.find("image", made) is not None:
        return made
    if os.geteuid() == 0 and shutil.which("debootstrap"):
        note("Fetching Debian's minimal system with debootstrap.")
        _debootstrap(docker, release, made)
        return made
    note(f"Pulling {published}.")
    try:
        docker.run("pull", published, timeout=_SECONDS)
    except DockerError as error:
        raise DockerError(
            f"There is no Debian to build from: {error.message}",
            next_step=f"Make {published} available to Docker, or install debootstrap and run this once as root.",
        ) from error
    return published


def _debootstrap(docker: Docker, release: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="geusemaker-debian-") as folder:
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", release, folder, _MIRROR],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
        if done.returncode != 0:
            raise DockerError(f"debootstrap failed: {' / '.join(done.stdout.splitlines()[-3:])}")
        with (
            docker.feeding("import", "-", name) as importing,
            tarfile.open(fileobj=importing.stdin, mode="w|") as archive,
        ):
            archive.add(folder, ".", filter=_without_packages)


def _without_packages(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.startswith("./var/cache/apt/archives/") and entry.isfile() else entry
