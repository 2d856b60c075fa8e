"""Asks the instance of itself and of the data, for a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from geusemaker.agent.protocol.stored import Lease
from geusemaker.catalog import MIGRATED
from geusemaker.catalog.rules import DataFacts
from geusemaker.checks.host import check_data, run_host_checks
from geusemaker.checks.images import bytes_to_pull
from geusemaker.checks.walls import KEYED, check_key, needs_key
from geusemaker.errors import HostError
from geusemaker.models.held import DataReturn
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig
from geusemaker.program.compose import probes, render, secret_environment
from geusemaker.services import data_return, facts, lost
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.findings import Answers
from geusemaker.services.change.model import Asked
from geusemaker.services.change.plan import copied
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.compatibility import compatibility_checks
from geusemaker.services.judgement import fails_by_itself
from geusemaker.services.lease import damage_notice
from geusemaker.services.states import read_journal

_SILENT: Final = ("unreachable", "timeout")
"""The host's error codes that say that nobody answers, rather than what is wrong."""


def ask_instance(
    collaborators: Collaborators, connection: Connection, asked: Asked, instance: InstanceState | None
) -> tuple[Host | None, Answers]:
    """(the agent, where it can be told; what it says). Where it cannot be asked, the history tells of the data."""
    host = connection.open(asked.change.target, instance)
    answers = _ask_host(collaborators, asked, host) if host is not None else Answers()
    if answers.reboot or answers.never_set_up:
        host = None
    answers = replace(answers, is_there=host is not None)
    known = _known_data(collaborators, asked, host)
    returned = None
    if asked.change.with_data:
        returned = data_return.find(host, asked, known, collaborators.clock.now())
    checks = (*answers.checks, *_check_data(asked, known, answers, returned))
    return host, replace(answers, checks=checks, data_return=returned)


def _ask_host(collaborators: Collaborators, asked: Asked, host: Host) -> Answers:
    change, state = asked.change, asked.state
    active = state.active
    watched = active.config if active is not None else change.config
    try:
        secrets = secret_environment(change.config, collaborators.engine.load_secrets())
        health = host.health(
            probes(watched),
            images=change.config.images,
            compose=render(
                change.config,
                data_volume=change.target.has_data_volume,
                site=change.target.site,
                models_on_volume=change.target.models_on == "volume",
            ),
            environment=secrets,
            models=change.target.kind == "aws",
        )
    except HostError as error:
        return _unanswered(asked, error)
    if health.never_set_up:
        # What a lease, a mount or an image needs is not there: the engine's run is what brings it.
        told = CheckResult(name="instance", status="warn", detail="it was never set up; that is done first")
        return Answers(checks=(told,), never_set_up=True)
    settled = active is not None and not state.unsettled
    to_pull = bytes_to_pull(health, change.config, active.config if active else None, collaborators.registry)
    checks = run_host_checks(health, change.config, change.target, to_pull)
    if asked.has_data:
        checks.insert(1, check_data(health, asked.name))
    checks += _check_lease(asked, health.lease_damaged)
    checks += _check_history(collaborators, asked, host, health.lease)
    checks += _check_key(asked, host, active.config if active is not None else None)
    return Answers(
        checks=tuple(checks),
        mounted=health.mount.file_system_id or "",
        stopped=health.stopped,
        missing_images=health.missing_images,
        differs=health.differs,
        unhealthy=frozenset(
            name for name, found in health.services.items() if not found.healthy and name not in health.stopped
        )
        if settled
        else frozenset(),
        models=health.models,
        rehearsals=tuple(health.rehearsals),
        active_fails=settled and fails_by_itself(probes(watched), health.services),
    )


def _check_lease(asked: Asked, damaged: str | None) -> list[CheckResult]:
    """Whether the lease can be read; a repair makes a new one."""
    if not damaged:
        return []
    if asked.change.repair:
        return [CheckResult(name="lease", status="warn", detail=f"{damaged.rstrip('.')}; it is set aside")]
    return [CheckResult(name="lease", status="fail", detail=damage_notice(asked.name, damaged).rstrip("."))]


def _check_history(collaborators: Collaborators, asked: Asked, host: Host, held: Lease | None) -> list[CheckResult]:
    """Whether the file system knows a version that the history does not; a repair is the way out of that."""
    found = None if asked.change.repair else lost.read_lost(collaborators, host, asked.state, held)
    if found is None:
        return []
    return [CheckResult(name="history", status="fail", detail=lost.notice(asked.name, found).rstrip("."))]


def _check_key(asked: Asked, host: Host, running: StackConfig | None) -> list[CheckResult]:
    """Who has to show a key that was not asked for before."""
    if not needs_key(asked.change.config, running):
        return []
    try:
        found = host.manifest(mentions=KEYED).data.of(MIGRATED.name).mentions
    except HostError:
        found = None  # a plan need not fail for it, and says that it could not be told
    runs_n8n = running is not None and MIGRATED.name in running.services
    return [check_key(asked.name, found if runs_n8n else [])]


def _unanswered(asked: Asked, error: HostError) -> Answers:
    """The instance runs, and its agent does not answer."""
    detail = error.message.rstrip(".")
    if error.code not in _SILENT:
        return Answers(checks=(CheckResult(name="instance", status="fail", detail=detail),))
    if asked.options.reboot:
        text = f"{detail}; it is stopped and started first"
        return Answers(checks=(CheckResult(name="instance", status="warn", detail=text),), reboot=True)
    text = (
        f"{detail}. Check that your address may connect; if nobody gets in any more, "
        f"`geusemaker recover {asked.name} --reboot` stops and starts the instance"
    )
    return Answers(checks=(CheckResult(name="instance", status="fail", detail=text),))


def _known_data(collaborators: Collaborators, asked: Asked, host: Host | None) -> DataFacts | None:
    """What is known of the data; None where it has no say."""
    change = asked.change
    if not facts.are_needed(asked.state, change.config) and not change.with_data:
        return None
    return facts.read_facts(host, read_journal(collaborators), asked.state, change.config)


def _check_data(
    asked: Asked, known: DataFacts | None, answers: Answers, returned: DataReturn | None
) -> list[CheckResult]:
    if known is None:
        return []
    change = asked.change
    if open_return := data_return.check_open(asked, known):
        return [open_return]
    if returned is not None:
        known = data_return.as_returned(known, returned)
    checks = compatibility_checks(
        change.config,
        known,
        allow_downgrade=asked.options.allow_data_downgrade,
        lenient=change.trigger != "manual" or change.kind == "recover",
        copied=copied(asked, answers),
    )
    return [*([data_return.check(returned)] if returned is not None else []), *checks]
