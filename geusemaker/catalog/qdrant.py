"""Qdrant: collections of vectors.

One minor version upwards at a time, none left out.
    Source: qdrant.tech/documentation/upgrades ("you also can not skip versions").
An older minor version need not read what a newer one wrote; the way back is a snapshot of the older one.
    Source: the same page; Qdrant promises that storage is read by the same and by the next minor version only.
    qdrant.tech/documentation/concepts/snapshots: a snapshot is restored by the minor version that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from geusemaker.catalog.confinement import AS_ROOT_ON_DATA
from geusemaker.catalog.package import Package
from geusemaker.catalog.rules import Ask, DataFacts, Verdict, release
from geusemaker.catalog.service import Data, Service
from geusemaker.models.image import ImageReference

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint, DataNow


def _compatibility(image: ImageReference, facts: DataFacts, ask: Ask) -> Verdict | None:
    served = facts.served.get("qdrant")
    if served is None or served.by_digest == image.by_digest:
        return None
    old, new = release(served.tag), release(image.tag)
    step = f"from {served.tagged} to {image.tagged}"
    if old is None or new is None or (new[0] > old[0]):
        return Verdict("warn", f"whether the data can go {step} cannot be told", known=False)
    if new[:2] == old[:2]:
        if new < old:
            return Verdict("warn", f"{step} is a step back, if within one minor version")
        return Verdict("pass", f"{step}: the same minor version")
    if new < old:
        way = _way_back(facts, new[:2])
        return Verdict(ask.back, f"{step} is a downgrade: older versions need not read what newer ones wrote. {way}")
    if new[1] > old[1] + 1:
        # No way back, and none forward: no flag makes Qdrant read it.
        return Verdict(
            "warn" if ask.lenient else "fail",
            f"{step} leaves out a minor version: Qdrant migrates its data one minor version at a time; "
            f"go to the newest {old[0]}.{old[1] + 1} first",
        )
    if ask.lenient:
        return Verdict("pass", f"{step}: the next minor version")
    only = "only the snapshots that are taken first lead" if "qdrant" in ask.copied else "no snapshot is taken to lead"
    return Verdict("warn", f"{step} is the next minor version: {only} back to {old[0]}.{old[1]}")


def _way_back(facts: DataFacts, minor: tuple[int, int]) -> str:
    of_minor = (
        checkpoint
        for checkpoint in reversed(facts.checkpoints)
        if "qdrant" in checkpoint.services and (release(checkpoint.versions.get("qdrant", "")) or ())[:2] == minor
    )
    found = next(of_minor, None)
    which = f"{minor[0]}.{minor[1]}"
    if found is None:
        return f"No checkpoint has snapshots of {which}; --allow-data-downgrade takes the risk"
    return (
        f"Checkpoint {found.checkpoint} has snapshots of {which}: go back with --allow-data-downgrade, then run "
        f"`geusemaker restore {facts.deployment} --checkpoint {found.checkpoint} --service qdrant`"
    )


def _restore_check(checkpoint: Checkpoint, now: DataNow, _image: ImageReference) -> Verdict:
    made_by, runs = checkpoint.versions.get("qdrant", ""), now.versions.get("qdrant", "")
    then, here = release(made_by), release(runs)
    if then is None or here is None:
        detail = f"whether Qdrant {runs or '?'} restores a snapshot that {made_by or '?'} made cannot be told"
        return Verdict("warn", detail)
    step = f"snapshots of {made_by}, restored by {runs}"
    if then[:2] == here[:2]:
        return Verdict("pass", f"{step}: the same minor version")
    if then[0] == here[0] and here[1] == then[1] + 1:
        return Verdict("warn", f"{step}: Qdrant promises that only within one minor version")
    return Verdict("fail", f"{step}: not within one minor version, go to v{checkpoint.version} first")


SERVICE: Final = Service(
    name="qdrant",
    title="Qdrant",
    start_order=40,
    image="qdrant/qdrant:v1.20.0",
    repositories=("qdrant/qdrant",),
    # No package of its own: OSV knows its tags. Holes that are known to a CVE alone are missed.
    package=Package("GIT", "https://github.com/qdrant/qdrant.git", "v{}.{}.{}"),
    port=6333,
    memory_share=2,
    since=1,
    least_mib=128,
    # "Qdrant won't work with Network file systems such as NFS" (qdrant.tech/documentation/guides/installation,
    # "Storage"). The users are those of the Dockerfile in github.com/qdrant/qdrant.
    data=Data(path="/qdrant/storage", uid=0, variants={"unprivileged": 1000}, on_volume=True),
    reserved=frozenset(
        {"QDRANT__STORAGE__STORAGE_PATH", "QDRANT__STORAGE__SNAPSHOTS_PATH", "QDRANT__SERVICE__HTTP_PORT"}
    ),
    # qdrant.tech/documentation/security, "Authentication": without one whoever reaches it may do anything.
    third_secrets={"QDRANT__SERVICE__API_KEY": "qdrant_key"},
    # github.com/qdrant/qdrant-helm, values.yaml: no escalation of privileges. Its file system is read-only there as
    # well, with a volume for snapshots; here these are made in the container, and fetched.
    confinement=lambda _image: AS_ROOT_ON_DATA,
    ignores_case=True,  # its config crate compares variables in lower case
    readiness={"kind": "http", "path": "/readyz", "fallback": "/healthz"},
    compatibility=_compatibility,
    copied="Qdrant's collections are snapshotted",
    restoring="Collections do not answer while they are recovered.",
    goes_back_by_checkpoint=True,
    closes="writes what an older minor version need not read",
    restore_check=_restore_check,
    listed="collections",
)
