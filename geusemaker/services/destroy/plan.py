"""What a destroy would delete, and what of it a killed engine was still making."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.models.ownership import own_tags
from geusemaker.models.plan import CheckResult, Plan, ResourceOperation
from geusemaker.models.request import ConfigRequest
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Cloud, Engine
from geusemaker.services.configure import first_config
from geusemaker.services.destroy.leftovers import strangers
from geusemaker.services.guard import DATA_TYPES


def _stays_with_you(state: DeploymentState) -> str:
    """What of a domain is not geusemaker's to remove."""
    site = state.target.site if state.target is not None else None
    if site is None or state.destroyed:
        return ""
    hosts = " and ".join(sorted(site.domains.values()))
    return f" The DNS record of {hosts} stays: it leads to an address that AWS then gives to somebody else. Remove it."


@dataclass(frozen=True)
class Planned:
    """The plan, and what is put right before it."""

    plan: Plan
    adopted: dict[str, str] = field(default_factory=dict)
    """What a killed engine was making and AWS has: URN → id. It is taken up, and deleted with the rest."""
    dropped: bool = False
    """Whether a killed engine was about to make what AWS has not."""


def look(
    engine: Engine, cloud: Cloud | None, state: DeploymentState, operation_id: str, *, delete_data: bool
) -> Planned:
    """Look what there is; ``cloud`` is AWS where the deployment is, None where nobody knows where that is."""
    resources = engine.resources()
    adopted: dict[str, str] = {}
    dropped = False
    checks: list[CheckResult] = []
    if cloud is not None:
        pending = engine.pending_creates()
        found = {urn: (sought.type, cloud.find_created(sought)) for urn, sought in pending.items()}
        adopted = {urn: created for urn, (_, created) in found.items() if created is not None}
        dropped = len(found) > len(adopted)
        for urn, created in adopted.items():
            resources[urn] = {"type": found[urn][0], "id": created, "protect": found[urn][0] in DATA_TYPES}
        own = own_tags(state.name, engine.stack_id())
        ids = [resource["id"] for resource in resources.values()]
        if apart := strangers(cloud.find_tagged(state.name), ids, own):
            checks.append(apart)
    operations = tuple(
        ResourceOperation(
            # What the data needs stays with it: the mount target's security groups.
            op="delete" if delete_data or not (resource["protect"] or resource.get("kept")) else "same",
            type=resource["type"],
            name=urn.rsplit("::", 1)[-1],
            urn=urn,
            provider_id=resource["id"],
            protected=resource["protect"],
        )
        for urn, resource in resources.items()
    )
    plan = Plan(
        deployment=state.name,
        kind="destroy",
        operation_id=operation_id,
        number=state.next_number,
        active_version=state.active.number if state.active else None,
        config=state.versions[-1].config if state.versions else first_config(ConfigRequest()),
        operations=operations,
        checks=tuple(checks),
        downtime="Everything stops for good.",
        data_notice=(
            "ALL DATA IS DELETED, and the history with it. There is no way back."
            if delete_data
            else "The data with its file system and volume, the history and the secrets are kept; "
            f"`geusemaker deploy {state.name}` takes them up again."
        )
        + _stays_with_you(state),
        target_kind=state.target.kind if state.target else "unknown",
    )
    return Planned(plan, adopted, dropped)
