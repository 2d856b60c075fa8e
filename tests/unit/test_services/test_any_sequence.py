"""Whatever is done in whatever order, the promises hold: deploy, update, fail, kill, roll back, mark, destroy."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from geusemaker.errors import DeploymentBusyError, RefusedError
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.services.differences import same_system
from geusemaker.services.rollback.target import default_target, repair_target
from tests.unit.fakes import Killed, World

TAGS = st.sampled_from(["1.100.1", "1.101.0", "1.102.0", "1.103.0"])
BAD_TAGS = st.sampled_from(["1.104.0-crash", "1.105.0-unhealthy"])


def _update(world: World) -> None:
    world.n8n("1.101.0", instance_type="m5.large")


def _recover(world: World) -> None:
    world.kill_at = "up.apply"
    with suppress(Killed):
        _update(world)
    world.recover()


def _calls(verb: Callable[[World], None]) -> list[str]:
    """The names of what a verb calls outside: there it can be killed."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.deploy(DeployRequest(services=("n8n", "postgresql")))
        verb(world)
        return sorted({*world.calls})


KILL_POINTS = st.sampled_from(_calls(_update))
RECOVER_POINTS = st.sampled_from(["", *_calls(_recover)])


class AnySequence(RuleBasedStateMachine):
    """Random verbs on one deployment."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name))
        self._read: tuple[object, DeploymentState] | None = None
        self.once_archived: set[int] = set()
        """Versions whose images may be gone, also when a pin or a mark taken back keeps them again."""

    def teardown(self) -> None:
        self._folder.cleanup()

    @property
    def state(self) -> DeploymentState:
        """What stands in the history and the tags, read anew when they changed."""
        engine = self.world.engine
        key = (engine.intent_tag, len(engine.entries), engine.bad, engine.pinned)
        if self._read is None or self._read[0] != key:
            self._read = (key, self.world.state())
        return self._read[1]

    @initialize(retention=st.integers(1, 4))
    def deploy_first(self, retention: int) -> None:
        assert self.world.deploy(DeployRequest(retention=retention, services=("n8n", "postgresql"))).success

    def is_deployed(self) -> bool:
        return not self.state.destroyed and not self.state.interrupted

    @precondition(is_deployed)
    @rule(tag=TAGS, instance_type=st.sampled_from(["t3.large", "t3.xlarge"]))
    def update(self, tag: str, instance_type: str) -> None:
        result = self.world.n8n(tag, instance_type=instance_type)
        assert result.success or self.world.machine.broken

    @precondition(is_deployed)
    @rule(tag=BAD_TAGS, auto_rollback=st.booleans())
    def update_that_fails(self, tag: str, auto_rollback: bool) -> None:
        before = self.state
        was_ill = self.world.machine.state_of("n8n") != "healthy"
        wanted = default_target(before.model_copy(update={"last_failed": True}))
        result = self.world.n8n(tag, auto_rollback=auto_rollback)
        # What is ill while nothing is unsettled is so for reasons of its own, which going back would not mend.
        goes_back = auto_rollback and (before.unsettled or not was_ill) and wanted is not None
        works = wanted is not None and self.works(wanted.config)
        assert result.exit_code == (3 if goes_back and works else 4)
        if result.exit_code == 3:
            assert wanted is not None and self.state.active is not None
            assert same_system(wanted.config, self.state.active.config), "to where a rollback would go"
        else:
            self.never_names_what_failed(result.next_step)

    def works(self, config: StackConfig) -> bool:
        """Whether nothing that a config runs has broken since."""
        return not {service.image.by_digest for service in config.services.values()} & self.world.machine.broken

    def never_names_what_failed(self, next_step: str) -> None:
        failed = self.state.versions[-1]
        named = {
            int(number) for number in re.findall(r"v(\d+)|--to-version (\d+)", next_step) for number in number if number
        }
        for number in named:
            version = self.state.find_version(number)
            assert version is not None and not same_system(version.config, failed.config)

    @precondition(is_deployed)
    @rule()
    def what_runs_breaks(self) -> None:
        """An image that ran healthy crashes from now on, as one whose licence or certificate has run out does."""
        if self.state.active is not None:
            self.world.machine.broken.add(self.state.active.config.services["n8n"].image.by_digest)

    @rule()
    def mend(self) -> None:
        self.world.machine.broken.clear()

    @precondition(lambda self: self.state.unsettled and not self.state.destroyed)
    @rule(verbs=st.lists(st.sampled_from(["recover", "rollback"]), min_size=9, max_size=9))
    def go_back_until_it_works(self, verbs: list[str]) -> None:
        """However they are mixed, they come to a version that works, or say that none is left; never in circles."""
        tried: list[str] = []
        for verb in verbs:
            target = default_target(self.state)
            try:
                result = getattr(self.world, verb)()
            except RefusedError:
                assert target is None or self.state.last_healthy is None
                return
            assert target is not None and target.config.system not in tried, "it failed minutes ago"
            if result.success:
                return
            tried.append(target.config.system)
        raise AssertionError(f"no end: {tried}")

    @precondition(is_deployed)
    @rule(tag=TAGS | BAD_TAGS, point=KILL_POINTS)
    def update_that_is_killed(self, tag: str, point: str) -> None:
        self.world.kill_at = point
        with suppress(Killed):
            self.world.n8n(tag, instance_type="m5.large")
        self.world.kill_at = ""

    @rule()
    def roll_back(self) -> None:
        before = self.state
        target = default_target(before)
        try:
            result = self.world.rollback()
        except RefusedError:
            assert target is None or before.destroyed
        else:
            assert target is not None and result.source_version == target.number
            assert result.success == self.works(target.config) or self.returned(before)

    def returned(self, before: DeploymentState) -> bool:
        """Whether a rollback that failed has gone on to somewhere by itself."""
        return len(self.state.versions) > len(before.versions) + 1

    @rule(number=st.integers(1, 12))
    def roll_back_to(self, number: int) -> None:
        try:
            result = self.world.rollback(to_version=number)
        except RefusedError:
            return
        wanted, active = self.state.find_version(number), self.state.active
        assert wanted is not None and active is not None and wanted.healthy and not wanted.bad
        assert result.success == self.works(wanted.config)
        assert not result.success or same_system(wanted.config, active.config)

    @rule(number=st.integers(1, 12))
    def roll_back_n8n_alone(self, number: int) -> None:
        before = self.state
        try:
            result = self.world.rollback(services=("n8n",), to_version=number)
        except RefusedError:
            assert self.state == before
            return
        wanted, was, active = before.find_version(number), before.active, self.state.active
        assert wanted is not None and was is not None and active is not None and wanted.healthy and not wanted.bad
        services = {**was.config.services, "n8n": wanted.config.services["n8n"]}
        mixed = was.config.model_copy(update={"services": services})
        assert result.success == self.works(mixed)
        assert not result.success or active.config == mixed

    @precondition(lambda self: not self.state.destroyed)
    @rule(point=RECOVER_POINTS)
    def recover(self, point: str) -> None:
        self.world.kill_at = point
        state = self.state
        breaks = state.active is not None and not state.unsettled and not self.works(state.active.config)
        target = repair_target(state, failing=breaks)
        try:
            result = self.world.recover()
        except Killed:
            return
        except RefusedError:
            assert target is None or not self.works(target.config), "there is one to go to"
            return
        finally:
            self.world.kill_at = ""
        assert target is None or result.success == (self.works(target.config) or not result.operation_id)
        assert not result.success or not self.state.unsettled

    @rule(number=st.integers(1, 12), bad=st.booleans())
    def mark(self, number: int, bad: bool) -> None:
        with suppress(RefusedError, DeploymentBusyError):
            self.world.mark(number, bad=bad)
            assert {version.bad for version in self.state.versions if version.same_as == number} <= {bad}

    @rule(number=st.integers(1, 12))
    def pin(self, number: int) -> None:
        self.world.engine.pinned = (number,)

    @rule()
    def destroy(self) -> None:
        assert self.world.destroy().success

    @precondition(lambda self: self.state.destroyed and not self.state.unsettled)
    @rule()
    def deploy_again(self) -> None:
        assert self.world.deploy().success or self.world.machine.broken

    @invariant()
    def numbers_only_grow_and_are_never_used_twice(self) -> None:
        begun = self.world.engine.numbers
        assert begun == sorted(set(begun))
        numbers = [version.number for version in self.state.versions]
        assert numbers == sorted(set(numbers))
        assert self.state.next_number > max([0, *begun])

    @invariant()
    def the_default_target_is_healthy_good_and_another(self) -> None:
        state = self.state
        target, active = default_target(state), state.active
        if target is not None and active is not None:
            assert target.healthy and not target.bad and target.failed_as is None and target.newer_data_as is None
            assert not target.archived
            assert target.number < active.number or (state.unsettled and target == active)
            assert state.unsettled or not same_system(target.config, active.config)

    @invariant()
    def verdicts_follow_the_config(self) -> None:
        by_system: dict[str, set[tuple[object, ...]]] = {}
        for version in self.state.versions:
            verdicts = (version.bad, version.failed_as, version.newer_data_as)
            by_system.setdefault(version.config.system, set()).add(verdicts)
        assert all(len(verdicts) == 1 for verdicts in by_system.values())

    @invariant()
    def verbs_agree(self) -> None:
        if self.state.unsettled and not self.state.destroyed:
            assert default_target(self.state) == repair_target(self.state)

    @invariant()
    def active_is_never_archived(self) -> None:
        assert not [version for version in self.state.versions if version.status == "active" and version.archived]
        assert self.state.last_healthy is None or not self.state.last_healthy.archived
        assert not [version for version in self.state.versions if version.pinned and version.archived]

    @invariant()
    def going_back_goes_further_back(self) -> None:
        """The target of a rollback after a rollback is older than that of the first."""
        state = self.state
        active, target = state.active, default_target(state)
        if active is not None and target is not None and not state.unsettled:
            assert target.number < (active.provenance.source_version or active.number)

    @invariant()
    def settled_means_what_is_active_runs(self) -> None:
        state = self.state
        if state.active is None or state.unsettled:
            return
        assert self.world.machine.services == state.active.config.images
        assert self.world.cloud.instance is not None
        assert self.world.cloud.instance.type == state.active.config.instance_type

    @invariant()
    def data_and_instance_are_single(self) -> None:
        assert self.world.cloud.file_system is None or self.world.cloud.file_system.id == "fs-1"
        assert self.world.machine.data["n8n"]["workflows"] == ["Nightly"]
        destroyed = [entry for entry in self.world.engine.entries if entry["kind"] == "destroy"]
        assert self.world.cloud.created <= 1 + len(destroyed)

    @invariant()
    def kept_versions_have_their_images(self) -> None:
        """What is ready to go back to, and always was, needs no download."""
        state = self.state
        self.once_archived |= {version.number for version in state.versions if version.archived}
        if state.unsettled or state.active is None:
            return
        target = default_target(state)
        destroys = [entry for entry in self.world.engine.entries if entry["kind"] == "destroy"]
        if target is not None and target.number not in self.once_archived and not destroys:
            wanted = {service.image.by_digest for service in target.config.services.values()}
            assert wanted <= self.world.machine.images


class LongSequences(AnySequence):
    """The same, longer and more often."""


def _settings(examples: int, steps: int) -> settings:
    # Shrinking a sequence takes minutes; the failing one is short enough to read as it is.
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=[phase for phase in Phase if phase is not Phase.shrink],
    )


AnySequence.TestCase.settings = _settings(12, 12)
TestAnySequence = AnySequence.TestCase
LongSequences.TestCase.settings = _settings(150, 25)
TestLongSequences = pytest.mark.slow(LongSequences.TestCase)
