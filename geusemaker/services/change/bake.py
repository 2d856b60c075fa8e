"""Looks on after the gate has passed: the version is active by then, and goes back by itself where it does worse.

The change is recorded before, and its intent has ended: whoever is killed here leaves a version that stays, and a
lease that gives way. Each look says by that lease that it is still our turn; a rollback or a recovery takes it, from
anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from geusemaker.agent.protocol.looks import Figures, Life, Measured
from geusemaker.errors import HostError, InterruptedOperationError
from geusemaker.host.instance import failure_detail
from geusemaker.host.redaction import redaction
from geusemaker.host.tunnel import Forward
from geusemaker.models.bake import BakeReport, FailedTest, Regression
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.result import OperationResult
from geusemaker.program.compose import probes
from geusemaker.services import bookkeeping, facts
from geusemaker.services.bake.judge import LOOK_SECONDS, judge
from geusemaker.services.bake.trials import Place, Rounds, Trial
from geusemaker.services.bake.words import span, who
from geusemaker.services.change.finish import write_record
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.outcomes import gate_of
from geusemaker.services.reach.ports import ports_of

LONGEST_SECONDS: Final = 24 * 3600.0
_KEPT: Final = 10
"""So many of the last looks are judged by."""
_LOG_SECONDS: Final = 60.0
_BASELINE_LOG_SECONDS: Final = 600.0
_BASELINE_ROUNDS: Final = 5
_TEST_PAUSE_SECONDS: Final = 5.0
_BLIND_SECONDS: Final = 60.0
"""So long after its end a bake waits for an instance that cannot be asked, which may be this machine's network."""


@dataclass(frozen=True)
class Bake:
    """What is asked for."""

    seconds: float = 0.0
    """How long; 0: until all tests have passed once."""
    trials: tuple[Trial, ...] = ()
    """The operator's tests."""


def measure_before(work: Work) -> Mapping[str, Figures]:
    """How the services do before the change; nothing where there is nobody to ask."""
    host, active = work.connection.host, work.asked.state.active
    if host is None or active is None:
        return {}
    found = bookkeeping.attempt(
        work.collaborators.on_event,
        "How the services do before the change was not measured, so the bake compares with nothing",
        lambda: host.measure(probes(active.config), log_seconds=_BASELINE_LOG_SECONDS, rounds=_BASELINE_ROUNDS),
    )
    return found.services if found is not None else {}


def bake(
    work: Work, asked: Bake, host: Host | None, outcome: ApplyOutcome, before: Mapping[str, Figures]
) -> tuple[BakeReport, str]:
    """Look on.

    Returns:
        What it came to; and, where it was ended by something else than what it looked for, by what, in words.
    """
    watched = Watched(work, asked, outcome, before)
    how = f"for {span(asked.seconds)}" if asked.seconds else "until the tests have passed"
    message = f"v{work.plan.number} is active and healthy; looking on {how} (Ctrl-C ends that, and it stays)"
    try:
        with work.phase("bake", message):
            if host is None:
                return watched.report("unseen"), "there is no way to the instance"
            if not work.operation.has_lease:  # there was no instance to take it through, and `apply` did
                _take_lease(work, host)
            return watched.run(host)
    except KeyboardInterrupt:
        return watched.report("interrupted"), "Ctrl-C"
    except Exception as error:  # whatever it is: the change is done, and it says nothing of what runs
        return watched.report("unseen"), bookkeeping.reason(error).rstrip(".")


class Watched:
    """One bake that is under way."""

    def __init__(self, work: Work, asked: Bake, outcome: ApplyOutcome, before: Mapping[str, Figures]) -> None:
        self._work = work
        self._asked = asked
        self._before = before
        gate = gate_of(outcome)
        self._lives: Mapping[str, Life] = gate.services if gate is not None else {}
        self._began = work.collaborators.clock.monotonic()
        self._looks: list[Mapping[str, Figures]] = []
        self._count = 0
        self._passed = 0

    @property
    def lasted(self) -> float:
        """Seconds since it began."""
        return self._work.collaborators.clock.monotonic() - self._began

    def run(self, host: Host) -> tuple[BakeReport, str]:
        """Look again and again, until the time is over and all tests have passed, or there is something to tell.

        Raises:
            GeusemakerError: the tests' tunnel cannot be had.
        """
        if not self._asked.trials:
            return self._look_on(host, Rounds((), self._place({}), lambda value: value))
        secrets = self._work.collaborators.engine.load_secrets()
        with self._work.collaborators.open_tunnel(
            _address(self._work), self._work.change.target, secrets, self._forwards()
        ) as addresses:
            rounds = Rounds(self._asked.trials, self._place(addresses), redaction(secrets))
            rounds.begin(_TEST_PAUSE_SECONDS)
            try:
                return self._look_on(host, rounds)
            finally:
                rounds.end()

    def _look_on(self, host: Host, rounds: Rounds) -> tuple[BakeReport, str]:
        clock, blind = self._work.collaborators.clock, ""
        while True:
            try:
                self._take(self._measure(host))
                blind = ""
            except HostError as error:
                if taken := self._by_whom(error):
                    return self.report("gave_way"), taken
                if not blind:
                    self._work.warn(f"The instance was not seen, and is asked again: {error.message}")
                blind = error.message.rstrip(".")
            self._passed = rounds.passed
            found, failed = judge(self._before, self._lives, self._looks), rounds.failed
            if (found or failed is not None) and (taken := self._taken_over(host)):
                return self.report("gave_way"), taken
            if found:
                return self.report("regression", regressions=found), ""
            if failed is not None:
                return self.report("test_failed", failed=failed), ""
            left = self._asked.seconds - self.lasted
            if left <= 0 and not rounds.are_needed and not blind:
                return self.report("passed"), ""
            if left <= -_BLIND_SECONDS and blind:
                return self.report("unseen"), blind
            if left <= 0 and rounds.are_needed:
                rounds.wait(LOOK_SECONDS)
            else:
                clock.sleep(min(LOOK_SECONDS, left) if left > 0 else LOOK_SECONDS)

    def report(
        self, ended: Any, *, regressions: Sequence[Regression] = (), failed: FailedTest | None = None
    ) -> BakeReport:
        """What it came to."""
        return BakeReport(
            seconds=self._asked.seconds,
            lasted_seconds=round(self.lasted, 1),
            ended=ended,
            looks=self._count,
            tests=self._passed,
            regressions=list(regressions),
            failed_test=failed,
        )

    def _taken_over(self, host: Host) -> str:
        """Who has the lease by now, in words; empty: we have it, and it gives way no more, as we go back ourselves."""
        try:
            host.measure({}, self._work.operation.id, gives_way=False)
        except HostError as error:
            return self._by_whom(error)
        return ""

    def _by_whom(self, error: HostError) -> str:
        """Who took over, where that is what an error says; else empty."""
        if error.code != "lease_lost":
            return ""
        return who(failure_detail(error).holder, self._work.operation.id)

    def _measure(self, host: Host) -> Measured:
        # Only what was written since the gate passed: a start is allowed its lines of trouble.
        seconds = min(_LOG_SECONDS, max(1.0, self.lasted))
        return host.measure(probes(self._work.plan.config), self._work.operation.id, log_seconds=seconds)

    def _take(self, found: Measured) -> None:
        self._count += 1
        self._looks = [*self._looks, found.services][-_KEPT:]

    def _place(self, addresses: Mapping[str, str]) -> Place:
        return Place(self._work.asked.name, self._work.plan.number, addresses)

    def _forwards(self) -> list[Forward]:
        return [Forward(name, port.number, port.http) for name, port in ports_of(self._work.plan.config).items()]


def _take_lease(work: Work, host: Host) -> None:
    instance = work.collaborators.cloud(work.change.target.region).find_instance(work.asked.name)
    work.operation.take_lease(host, instance.id if instance else "", expects=work.operation.id, takeover=None)


def _address(work: Work) -> str:
    """Where the instance is by now.

    Raises:
        HostError: there is none.
    """
    instance = work.collaborators.cloud(work.change.target.region).find_instance(work.asked.name)
    if instance is None or not instance.may_answer:
        raise HostError("The instance does not run.", code="unreachable")
    return instance.address


def close(
    work: Work,
    result: OperationResult,
    report: BakeReport,
    why: str,
    host: Host | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
) -> OperationResult:
    """End a bake after which the version stays, or another operation goes on: put it on record, give the lease back.

    Raises:
        InterruptedOperationError: Ctrl-C ended it.
    """
    result = result.model_copy(update={"bake": report, **_told(work, report, why)})
    on_record = result.model_copy(update={"success": True, "error_message": None})  # the change itself was one
    record = write_record(work, on_record, before, after, checkpoint, tells=False)
    if host is not None and report.ended not in ("gave_way", "unseen"):
        facts.copy_record(work.collaborators, host, record)
    work.operation.give_back(host, "done")
    if report.ended == "interrupted":
        raise InterruptedOperationError(
            f"The bake was interrupted after {span(report.lasted_seconds)}.",
            state=f"v{work.plan.number} is active: its gate had passed, and nothing worse than before was seen.",
            next_step=f"`geusemaker status {work.asked.name}` says how it is, `geusemaker rollback {work.asked.name}` "
            "goes back.",
        )
    return result


def _told(work: Work, report: BakeReport, why: str) -> dict[str, Any]:
    """What a result says of a bake that was not brought to its end."""
    name, version, lasted = work.asked.name, f"v{work.plan.number}", span(report.lasted_seconds)
    if report.ended == "gave_way":
        return {
            "success": False,
            "exit_code": 6,
            "error_message": f"The bake of {version} was ended after {lasted}: {why}.",
            "next_step": f"`geusemaker status {name}` says what runs now.",
            "undo": "",
        }
    if report.ended == "unseen":
        return {
            "success": False,
            "exit_code": 4,
            "error_message": f"{version} is active, its gate has passed, and it was not watched to the end: {why}.",
            "next_step": f"`geusemaker status {name}` says how it is.",
        }
    return {}
