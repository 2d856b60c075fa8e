"""Looks how things are, before anything is changed: asks AWS, the registries, the engine and the instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

from geusemaker.checks.cloud import CheckContext, ask_ami, run_cloud_checks
from geusemaker.checks.images import ask_registries
from geusemaker.checks.new_disk import ask_new_disk
from geusemaker.checks.planned import check_rights
from geusemaker.errors import EngineError, GeusemakerError, RefusedError
from geusemaker.models.inspection import InstanceState
from geusemaker.models.ownership import Tagged, new_stack_id
from geusemaker.models.plan import CheckResult, ResourceOperation
from geusemaker.models.stack import Target, root_volume_gib
from geusemaker.models.version import Provenance
from geusemaker.services import adopt, costs, mending, progress
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change.ask import ask_instance
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.findings import Answers, Findings
from geusemaker.services.change.holes import Asking
from geusemaker.services.change.model import Asked
from geusemaker.services.change.other_secrets import find_changed
from geusemaker.services.change.power import find_settled
from geusemaker.services.collaborators import Cloud, Collaborators, Engine, Host
from geusemaker.services.differences import another_instance
from geusemaker.services.guard import DATA_TYPES, SINGLE
from geusemaker.services.identity import require_account
from geusemaker.services.known_rules import groups_with_new_rules, known_rules
from geusemaker.services.rest.at_rest import require_awake
from geusemaker.services.states import read_journal


def look(collaborators: Collaborators, connection: Connection, asked: Asked) -> Findings:
    """Look. Nothing is changed by it; ``connection`` holds the agent afterwards, where there is one that answers.

    Raises:
        RefusedError: this is not the account, or AWS has nothing left of all that the state knows.
        DeploymentBusyError: a run of the engine holds the stack.
        GeusemakerError: something could not be asked.
    """
    asked = asked.but(target=require_account(collaborators, asked.change.target))
    asked, mends = _left_by_the_engine(collaborators, asked)
    if not asked.change.target.stack_id:
        own = collaborators.engine.stack_id() or new_stack_id()
        asked = asked.but(target=asked.change.target.model_copy(update={"stack_id": own}))
    with ThreadPoolExecutor(1) as pool:
        sized = pool.submit(_sized, collaborators, asked)
        instance = find_settled(collaborators, connection, asked.change.target)
        asked = asked.but(target=sized.result())
    if asked.change.kind != "recover":
        require_awake(asked.state, instance, asked.untouched)
    provenance = _provenance(collaborators, asked, instance)
    change = asked.change
    other_secrets, names = find_changed(collaborators, asked, provenance.operation_id)
    if names:
        provenance = provenance.model_copy(update={"set_secrets": names})
    new_secrets = change.new_secrets
    if new_secrets is not None and other_secrets is not None:
        new_secrets, other_secrets = other_secrets, None
    candidate = collaborators.engine.write_candidate(
        change.config, provenance, change.target, new_secrets, other_secrets
    )
    connection.at_end(
        lambda: attempt(collaborators.on_event, f"{candidate} was left", lambda: candidate.unlink(missing_ok=True))
    )
    if mends is not None and change.target.adopting:
        mends = replace(mends, candidate=candidate)
    active = asked.state.active
    context = CheckContext(
        deployment=asked.name,
        config=change.config,
        target=change.target,
        has_data=asked.has_data,
        instance=instance,
        running=active.config if active is not None else None,
        proven=change.kind in ("rollback", "recover"),
        mixed=bool(change.services_from),
    )
    cloud = collaborators.cloud(change.target.region)
    # The preview takes longest. AWS and the registries are asked meanwhile, and the instance as soon as the engine
    # has decrypted what it takes to get there.
    holes = Asking(collaborators, asked)
    with ThreadPoolExecutor(5) as pool:
        observed = pool.submit(cloud.observe, asked.name)
        living = pool.submit(_find_living, collaborators, asked, mends)
        published = pool.submit(ask_registries, change.config, collaborators.registry)
        cloud_checks = pool.submit(run_cloud_checks, context, cloud)
        ami = pool.submit(ask_ami, change.config, cloud)
        new = instance is None or (active is not None and bool(another_instance(active.config, change.config)))
        sizes = (change.config, change.target, cloud, collaborators.registry)
        disk = [pool.submit(ask_new_disk, *sizes, has_data=asked.has_data)] if new else []
        dates = pool.submit(_image_dates, cloud, context)
        types = {change.config.instance_type, *([instance.type] if instance is not None else ())}
        spot = "spot" in (change.config.purchase, active.config.purchase if active is not None else "")
        priced = pool.submit(costs.ask, collaborators, change.target, types, spot=spot)
        asking: list[Future[tuple[Host | None, Answers]]] = []
        failed: EngineError | None = None
        operations: Sequence[ResourceOperation] = ()
        tagged: Sequence[Tagged] = ()
        answers = Answers()
        try:
            with (
                progress.phase(collaborators.on_event, "plan"),
                _planning_engine(collaborators, asked, mends) as engine,
            ):
                operations = engine.preview(
                    candidate,
                    lambda: asking.append(pool.submit(ask_instance, collaborators, connection, asked, instance)),
                )
                if rules := _known_rules(cloud, change.target, operations):
                    provenance = provenance.model_copy(update={"known_rules": rules})
                    collaborators.engine.write_candidate(
                        change.config, provenance, change.target, new_secrets, other_secrets
                    )
                    operations = engine.preview(candidate)
        except EngineError as error:
            failed = error
        with progress.phase(collaborators.on_event, "validate"):
            waited_for = observed.result(), living.result(), cloud_checks.result(), ami.result()
            rights: list[CheckResult] = []
            if failed is None:
                missing = pool.submit(cloud.missing_rights, asked.name, change.config, change.target, operations)
                tagged = cloud.find_tagged(asked.name)
                rights = check_rights(missing.result())
            if failed is None and not asking:
                connection.host, answers = ask_instance(collaborators, connection, asked, instance)
            for one in asking:
                connection.host, answers = one.result()
            images = published.result()
            disks = [one.result() for one in disk]
    return Findings(
        asked=asked,
        provenance=provenance,
        candidate=candidate,
        context=context,
        mending=mends,
        operations=tuple(operations),
        preview_error=failed,
        observed=waited_for[0],
        living=waited_for[1],
        tagged=tuple(tagged),
        file_system=_file_system(collaborators, asked, answers),
        cloud_checks=(*waited_for[2], *rights, *disks),
        ami=waited_for[3],
        published=images,
        answers=answers,
        past=tuple(read_journal(collaborators)),
        image_dates=dates.result(),
        priced=priced.result(),
        holes=holes.result(),
    )


def _known_rules(cloud: Cloud, target: Target, operations: Sequence[ResourceOperation]) -> dict[str, str]:
    """The rules that a plan would make and AWS has; AWS is asked just where one of a group that is there is new."""
    groups = groups_with_new_rules(operations)
    return known_rules(operations, target, groups, cloud.find_rules(groups.values())) if groups else {}


def _left_by_the_engine(collaborators: Collaborators, asked: Asked) -> tuple[Asked, mending.Mending | None]:
    """What a killed or failed engine left, where that is to be put right, with the lines of the plan that say so."""
    found = None
    if asked.change.repair:
        with progress.phase(collaborators.on_event, "look", "what the engine left"):
            found = mending.find(
                collaborators,
                asked.state,
                asked.change.target.region,
                has_data=asked.has_data,
                owner_is_gone=asked.options.owner_is_gone,
            )
        asked = asked.but(repairs=(*asked.change.repairs, *found.lines))
    target = asked.change.target
    if not target.adopting:
        return asked, found
    if asked.has_data:
        # Once a version is healthy the data is the deployment's, and taking it up is over.
        return asked.but(target=target.model_copy(update={"adopting": ""})), found
    # A first deploy that takes up data: what of it the state lacks comes in, as after a killed engine.
    ids, types = adopt.find_missing(collaborators, target)
    base = found or mending.Mending()
    own = mending.Mending(ids, types).lines + adopt.lines(target, asked.change.config)
    asked = asked.but(repairs=(*asked.change.repairs, *own))
    return asked, replace(base, adopt=base.adopt | ids, types=base.types | types)


def _sized(collaborators: Collaborators, asked: Asked) -> Target:
    """The target with the sizes that the disks have, or are to have: they may have grown, and never shrink."""
    target, size = asked.change.target, asked.change.data_volume_gib
    cloud = collaborators.cloud(target.region)
    if target.has_data_volume and size is None:
        found = cloud.find_data_volume(asked.name, target.stack_id)
        size = found.size_gib if found is not None else None
    has = cloud.find_root_volume_gib(asked.name) or root_volume_gib(target, asked.change.config)
    sizes = {"root_volume_gib": max(has, asked.change.root_volume_gib or 0)}
    return target.model_copy(update=sizes | ({"data_volume_gib": size} if size is not None else {}))


def _provenance(collaborators: Collaborators, asked: Asked, instance: InstanceState | None) -> Provenance:
    change, state = asked.change, asked.state
    runs = instance is not None and instance.state == "running"
    others = instance.others if instance is not None else ()
    if change.put_back is not None:
        last = {"previous_operation_id": state.last_operation_id, "takes_over": True}
        return change.put_back.model_copy(update={**last, "other_instances": others})
    return Provenance(
        number=max(state.next_number, change.above + 1),
        operation_id=collaborators.clock.new_operation_id(),
        previous_operation_id=state.last_operation_id,
        # Without a running instance no lease can be taken before: `apply` takes it, whoever had it last.
        takes_over=change.repair or not runs,
        other_instances=others,
        kind=change.kind,
        source_version=change.source_version,
        services_from=change.services_from,
        trigger=change.trigger,
        actor=collaborators.actor,
        reason=asked.options.reason,
        created_at=collaborators.clock.now(),
        active_operation_id=state.active.provenance.operation_id if state.active is not None else "",
        with_data=change.with_data,
    )


@contextmanager
def _planning_engine(collaborators: Collaborators, asked: Asked, mends: mending.Mending | None) -> Iterator[Engine]:
    """The engine to plan with: on a copy of the state where that is put right already, so looking writes nothing.

    Raises:
        RefusedError: AWS has nothing left of all that the state knows.
    """
    if mends is None:
        yield collaborators.engine
        return
    with collaborators.engine.rehearse(mends.adopt, mends.candidate) as rehearsed:
        if mending.all_gone(collaborators.engine.resources(), rehearsed.resources()):
            raise RefusedError(
                f"AWS has nothing of all that {asked.name} had: this is not the account, region or local "
                "cloud that it was made in, or all of it was removed at once.",
                state="Nothing was changed.",
                next_step="Check the credentials and the region; "
                f"`geusemaker inspect {asked.name}` shows what there was.",
            )
        yield rehearsed


def _image_dates(cloud: Cloud, context: CheckContext) -> dict[str, str]:
    """AMI → its day, where another one comes; that AWS cannot be asked for it, is told by the checks."""
    before, after = (config.ami if config is not None else "" for config in (context.running, context.config))
    if not before or before == after:
        return {}
    with suppress(GeusemakerError):
        return {ami: cloud.image_date(ami) for ami in (before, after)}
    return {}


def _find_living(collaborators: Collaborators, asked: Asked, mends: mending.Mending | None) -> dict[str, str]:
    """What AWS has under the deployment's name of which there must be just one: type → in words.

    What is to be taken up is left out; so is data where there is a version, which has its own words.
    """
    target = asked.change.target
    # Data that is taken up is in the state when this is planned: making another is refused.
    adoptable = set(mends.adopt.values()) if mends is not None and not target.adopting else set()
    wanted = set(SINGLE) - (set(DATA_TYPES) if asked.has_data else set())
    living: dict[str, list[str]] = {}
    for one in collaborators.cloud(target.region).find_tagged(asked.name):
        if one.type in wanted and one.id not in adoptable:
            living.setdefault(one.type, []).append(f"{one.id} ({one.state})" if one.state else one.id)
    return {kind: " and ".join(sorted(those)) for kind, those in living.items()}


def _file_system(collaborators: Collaborators, asked: Asked, answers: Answers) -> str:
    """The id of the file system that holds the data: the mounted one, else the one that AWS has for it."""
    target = asked.change.target
    if not asked.has_data:
        return target.adopting
    if answers.mounted:
        return answers.mounted
    found = collaborators.cloud(target.region).find_file_system(asked.name, target.stack_id)
    return found.id if found is not None else ""
