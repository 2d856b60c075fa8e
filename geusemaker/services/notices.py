"""The sentences a change is announced and explained with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from geusemaker.agent.protocol.answers import Applied
from geusemaker.agent.protocol.stored import Stopped
from geusemaker.catalog import SERVICES
from geusemaker.cloud.refusals import told
from geusemaker.models.held import DataReturn
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.inspection import InstanceState
from geusemaker.models.own import OWN_FOLDER
from geusemaker.models.plan import Plan
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.services.guard import replaces_instance
from geusemaker.services.outcomes import failure_of, refusal_in, to_blame, trigger_of
from geusemaker.services.rollback.target import advice

if TYPE_CHECKING:
    from geusemaker.services.change import Change

"""States of a service at the gate that are no failure: it may become healthy yet."""

CHECKPOINTS: Final = "/mnt/efs/.geusemaker/checkpoints"
EFS_POINT: Final = "/mnt/efs"
VOLUME_POINT: Final = "/mnt/data"


def downtime(plan: Plan, instance: InstanceState | None = None) -> str:
    """What stops, and for about how long."""
    if plan.active_version is None:
        return "None: nothing runs yet."
    if instance is not None and instance.state == "stopped":
        return "Nothing runs now: the instance is stopped. It is started first."
    if replaces_instance(plan.operations):
        return "All services stop until another instance is made and has pulled every image: 5 to 15 minutes on AWS."
    if plan.reboots:
        return "All services stop while the instance reboots: a minute or two on AWS."
    if plan.renewals:
        return "All services stop while Docker is renewed: a minute or two."
    if plan.stops_instance:
        return "All services stop while the instance is stopped, resized and started: a few minutes on AWS."
    paths = {change.path.split(".")[0] for change in plan.changes}
    every = "rendering" in paths
    named = paths | {change.path.partition(".")[2] for change in plan.changes if change.path.startswith("domain.")}
    services = sorted(plan.config.services if every else named & set(plan.config.services))
    if plan.replaced is not None:
        services = sorted(plan.replaced)
    removed = sorted(
        change.path.removesuffix(".image")
        for change in plan.changes
        if change.path.endswith(".image") and change.new is None
    )
    added = sorted(
        change.path.removesuffix(".image")
        for change in plan.changes
        if change.path.endswith(".image") and change.old is None
    )
    services = [service for service in services if service not in added]
    sentences = [f"{', '.join(removed)}: no longer runs; its data stays."] if removed else []
    if added:
        sentences.append(f"{', '.join(added)}: new, starts beside the others.")
    if every and {*services, *added} == set(plan.config.services):
        return " ".join(
            [
                *sentences,
                "All services restart, each away for a few seconds while its container is replaced: geusemaker itself "
                "makes the compose file in another way now (rendering).",
            ]
        )
    if services:
        sentences.append(f"{', '.join(services)}: a few seconds while the container is replaced.")
    if sentences and set(plan.config.services) - {*services, *added}:
        sentences.append("The others keep running.")
    return " ".join(sentences) or "None: no container is replaced."


def stays_stopped(name: str, kind: str, config: StackConfig, stopped: Mapping[str, Stopped]) -> tuple[str, ...]:
    """What a change does not start, because somebody stopped it on purpose. A deploy starts everything."""
    if kind == "deploy":
        return ()
    return tuple(
        f"{service} stays stopped: {note.by} stopped it at {note.since}{_because(note.reason)}; "
        f"`geusemaker start {name} {service}` starts it"
        for service, note in sorted(stopped.items())
        if service in config.services
    )


def _because(reason: object) -> str:
    return f" ({reason})" if reason else ""


def data_notice(plan: Plan, has_data: bool, adopting: str = "") -> str:
    """What happens to the data; ``adopting`` is the file system whose data is taken up."""
    if adopting and not has_data:
        return f"The data on {adopting} is taken up as it is: nothing of it is made new, replaced or removed."
    if not has_data:
        return "A new encrypted file system and data volume are created; they are protected from then on."
    sentences = ["The data stays as it is."]
    if plan.kind == "rollback":
        sentences = [
            "The data stays as it is: a rollback brings back images and settings, not older data.",
            "What an upgrade migrated stays migrated.",
        ]
    if plan.data_return is not None:
        sentences = _goes_back(plan, plan.data_return)
    if any(change.path == "data_volume_gib" for change in plan.changes):
        sentences.append("The data volume grows while it is used; it stays so large, whatever is gone back to.")
    if any(change.path == "root_volume_gib" for change in plan.changes):
        sentences.append("The instance's own disk grows while it is used; it stays so large, whatever is gone back to.")
    sentences += data_kept(plan)
    if plan.checkpoint_of is not None:
        copied = " and ".join(SERVICES[service].copied for service in plan.checkpoint_services)
        # Not the name of its own folder, which is there only if the plan is carried out; then its operation tells it.
        name = f"v{plan.checkpoint_of}"
        sentences.append(
            f"Before anything stops, {copied} to {CHECKPOINTS}/{name}; going back never restores that, "
            f"`geusemaker restore {plan.deployment} --checkpoint {name}` does."
            if plan.data_return is None
            else f"Before anything stops, {copied} to {CHECKPOINTS}/{name}: it is the data of "
            f"{name}, and goes into no older software."
        )
    return " ".join(sentences)


def _goes_back(plan: Plan, found: DataReturn) -> list[str]:
    """What becomes of the data where it goes back as well."""
    title, names = SERVICES[found.service].title, " and ".join(SERVICES[name].title for name in found.services)
    kept = ", ".join(f"{old} as {new}" for old, new in found.kept.items())
    lost = [
        f"{old - new} of {old} {what} in {one.then.name}"
        for one in found.replaced
        if one.now is not None
        for what, new, old in (
            ("workflows", one.then.workflows, one.now.workflows),
            ("rows", one.then.rows, one.now.rows),
        )
        if new is not None and old is not None and old > new
    ]
    return [
        f"The data of {title} goes back as well, with all databases of {names}, to checkpoint {found.checkpoint}: what "
        f"was written in the {spoken_time(found.since_seconds)} since is not in it"
        + (f" ({', '.join(lost)})." if lost else "."),
        *([f"Nothing of that is removed: what is there now is kept, {kept}."] if kept else []),
        *(["The files of n8n's executions go back with it; those of now are set aside."] if found.files else []),
        "It is loaded beside them while everything still runs.",
    ]


def spoken_time(seconds: float) -> str:
    """``40 minutes``: how long, in one unit."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"


def kept(plan: Plan, applied: Applied) -> list[str]:
    """Where that is which came out of its place when data was exchanged, one sentence each."""
    folders = " and ".join(f"{EFS_POINT}/{folder}" for folder in applied.set_aside)
    if plan.data_return is not None:
        told = [f"{old} as it was before is kept as {new}." for old, new in applied.kept.items()]
        return [*told, *([f"n8n's files as they were before are kept in {folders}."] if folders else [])]
    if not applied.put_back:
        return []
    told = [
        f"{old} as {applied.put_back} had it, for a version that failed, is kept as {new}."
        for old, new in applied.kept.items()
    ]
    also = [f"n8n's files of it are kept in {folders}."] if folders else []
    return ["The data of before is back in its place.", *told, *also]


def data_kept(plan: Plan) -> list[str]:
    """What becomes of the data of services of one's own that are taken out, one sentence each."""
    found = []
    for change in plan.changes:
        service, _, what = change.path.partition(".")
        if what == "volumes" and change.new is None and change.old and service not in plan.config.services:
            both = f" and {VOLUME_POINT}" if "on the data volume" in change.old else ""
            folder = f"{OWN_FOLDER}/{service} on {EFS_POINT}{both}"
            found.append(
                f"{service} is taken out, and what it keeps stays in its folder {folder}: "
                f"`geusemaker update {plan.deployment} --service {service}` has it run on that again."
            )
    return found


def failure(outcome: ApplyOutcome, config: StackConfig) -> str:
    """Why a change failed, in one or two sentences."""
    if outcome.timed_out:
        return f"The change was not done within its deadline of {config.rollback.deadline_minutes} minutes."
    found = failure_of(outcome)
    if found is not None:
        reasons = [f"{name}: {service.reason or service.state}" for name, service in to_blame(outcome).items()]
        if reasons:
            return f"Not healthy: {'; '.join(reasons)}."
        return f"{(found.message or found.code).rstrip('.')}."
    if (refusal := refusal_in(outcome)) is not None:
        return told(refusal, outcome.diagnostics)
    if outcome.diagnostics:
        return " ".join(outcome.diagnostics[0].split())
    return outcome.failure or "The engine's run failed."


def mend(name: str, folder: str | None, outcome: ApplyOutcome) -> str:
    """What to do when all is back as it was."""
    if (refusal := refusal_in(outcome)) is not None:
        return f"{refusal.next_step}; then make the change again."
    if trigger_of(outcome) != "health_check_failed":
        return "Mend what stood in the way, then make the change again."
    return (f"Read the evidence, then update {name}" if folder else f"Update {name}") + " to a mended release."


def no_way_back(change: Change, after: DeploymentState, *, was_healthy: bool = False) -> str:
    """What to do where nothing was taken back by itself.

    Args:
        change: what failed.
        after: the state once it has.
        was_healthy: it had passed the gate, and failed at the last look: to the history that version ran.
    """
    if change.kind == "deploy" and was_healthy:
        name = after.name
        return (
            f"`geusemaker status {name}` says how it is now and `geusemaker logs {name}` why; `geusemaker "
            f"recover {name}` starts what should run, `geusemaker update {name}` changes it."
        )
    if change.kind == "deploy" and after.last_healthy is None:
        return (
            "There is no earlier version to go back to. Mend the cause and run "
            f"`geusemaker deploy {after.name}` again, or `geusemaker destroy {after.name}`."
        )
    if change.kind == "deploy":
        return f"Mend the cause and run `geusemaker deploy {after.name}` again, or `geusemaker recover {after.name}`."
    return advice(after)
