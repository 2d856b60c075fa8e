"""How a deployment is whose latest operation did not come to its end."""

from __future__ import annotations

from geusemaker.models.history import BESIDE
from geusemaker.models.inspection import Interruption
from geusemaker.services.judgement.facts import Judgement
from geusemaker.services.states import ROTATIONS, spoken, with_article


def judge_interrupted(name: str, interruption: Interruption, last: str) -> Judgement:
    if interruption.kind in ("restore", "stop", "start", *ROTATIONS) and interruption.running:
        return Judgement(
            "running",
            f"A {spoken(interruption.kind)} by {interruption.actor} is under way: process {interruption.pid} on "
            f"{interruption.host}.",
        )
    if interruption.running:
        return Judgement(
            "running",
            f"The {interruption.kind} to v{interruption.number} by {interruption.actor} is under way: process "
            f"{interruption.pid} on {interruption.host}.",
        )
    if interruption.kind in BESIDE:
        return Judgement(
            "interrupted",
            f"The operation before the {spoken(interruption.kind)} by {interruption.actor} was killed or failed. Run "
            f"`geusemaker recover {name}`.",
            ("an operation was killed",),
        )
    killed = (f"{with_article(interruption.kind)} was killed",)
    if interruption.kind == "restore":
        return Judgement(
            "interrupted",
            f"The restore by {interruption.actor} was killed before it was done. Each database is the old one or the "
            f"restored one; collections may be either, and n8n may be down. Run `geusemaker restore {name}` again as "
            f"before, or `geusemaker recover {name}` to go on with what is there.",
            killed,
        )
    if interruption.kind in ("stop", "start"):
        return Judgement(
            "interrupted",
            f"The {interruption.kind} by {interruption.actor} was killed before it was done. Run `geusemaker recover "
            f"{name}`.",
            killed,
        )
    if interruption.kind in ROTATIONS:
        return Judgement(
            "interrupted",
            f"The {spoken(interruption.kind)} by {interruption.actor} was killed before it was done. Run `geusemaker "
            f"secrets {ROTATIONS[interruption.kind]} {name}` again, or `geusemaker recover {name}` to go on "
            "with the one that is stored.",
            killed,
        )
    was = f"{last} was the last healthy version. " if last else ""
    return Judgement(
        "interrupted",
        f"The {interruption.kind} to v{interruption.number} by {interruption.actor} was killed before it was done. "
        f"{was}Run `geusemaker recover {name}`.",
        killed,
    )
