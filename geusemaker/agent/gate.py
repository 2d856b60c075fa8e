"""Looking at services again and again, until all are ready and stay so or that is out of reach."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import POLL_INTERVAL, seconds_between, wait_until
from geusemaker.agent.containers import Container, Failure, find_failure, life_of
from geusemaker.agent.data.migration import look_at_migration, migration_detail, migration_state
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently
from geusemaker.agent.images import Image
from geusemaker.agent.watches import PROBE_TIMEOUT, Watch, probe_services

SETTLE_POLL: Final = 1.0  # between two looks at services that are all healthy
MIGRATION_POLL: Final = 2.0  # between two looks at a migration: each is a psql in PostgreSQL's container
MIGRATION_STALL: Final = 30.0  # a migration in which so long nothing happens hangs
NEXT_EXIT: Final = 10.0  # how long a container that is restarted again and again is looked at for how it ends


class Gate:
    """One wait for all services of a change."""

    def __init__(
        self, agent: Agent, watches: dict[str, Watch], needed: int, deadline: float, settle: float, operation: str
    ) -> None:
        self.agent = agent
        self.watches = watches
        self.needed = needed
        self.started = time.monotonic()
        self.deadline = deadline
        self.settle = settle
        self.settling_since: float | None = None
        applied = read_leniently(agent.applied_file)
        self.baseline: dict[str, int] = applied.get("restarts", {}) if applied.get("operation") == operation else {}
        self.images: dict[str, tuple[str, list[Image]]] = {}

    def wait(self) -> Json:
        """Look until all are healthy and have been so, without a break, for the settle time.

        Raises:
            AgentError: unhealthy, image_mismatch
        """
        self.agent.reporter.phase("gate", "started", f"Waiting for {len(self.watches)} services to become healthy")
        while not self.is_settled():
            self.check_deadlines()
            time.sleep(POLL_INTERVAL if self.settling_since is None else min(SETTLE_POLL, self.settling_left()))
        self.agent.reporter.phase("gate", "done", f"All services are healthy, and were so for {self.settle:g} s")
        return {
            "healthy": True,
            "services": {
                watch.name: {
                    "image": self.running_image(watch)[0],
                    "healthy": True,
                    "state": "healthy",
                    "seconds": round(watch.seconds, 1),
                    **life_of(watch.container),
                }
                for watch in self.watches.values()
            },
        }

    def is_settled(self) -> bool:
        """Look once; whether that was the last look of a settle time without a break."""
        since = self.settling_since
        self.look(self.watches.values(), again=since is not None)
        if not all(watch.successes >= self.needed for watch in self.watches.values()):
            if since is not None:
                self.agent.reporter.note("Not all services stayed healthy; the settle time begins anew.")
            self.settling_since = None
            return False
        if since is None:
            self.settling_since = time.monotonic()
            if self.settle > 0:
                self.agent.reporter.note(f"All services are ready; they have to stay so for {self.settle:g} s.")
            return False
        return self.settling_left() <= 0

    def settling_left(self) -> float:
        since = time.monotonic() if self.settling_since is None else self.settling_since
        return max(0.0, since + self.settle - time.monotonic())

    def look(self, watches: Iterable[Watch], again: bool = False) -> None:
        """One round over all containers and those probes whose answer is still open (all of them with ``again``)."""
        containers = self.agent.containers()
        failed = False
        for watch in watches:
            watch.container = containers.get(watch.name)
            failure = self.failure(watch)
            if failure:
                failed = True
                failure = self.last_exit(watch) or failure
                self.set(watch, failure.state, failure.reason)
                continue
            self.take_life(watch)
        if failed:
            raise self.unhealthy()
        asked = [
            watch
            for watch in watches
            if watch.container and watch.container.running and (again or watch.successes < self.needed)
        ]
        answers = probe_services(self.agent, asked, PROBE_TIMEOUT)
        for watch in watches:
            if watch in asked:
                self.take_answer(watch, *answers[watch.name])
            elif watch.container and not watch.container.running:
                watch.successes = 0
                waiting_for = [name for name in watch.depends_on if not self.is_up(name)]
                self.set(watch, "waiting", f"waiting for {', '.join(waiting_for)}" if waiting_for else "starting again")

    def take_life(self, watch: Watch) -> None:
        """Answers of two lives of a container do not add up."""
        assert watch.container is not None
        life = (watch.container.id, watch.container.started_at, watch.container.restarts)
        if watch.life not in (None, life) and watch.successes:
            watch.successes = 0
            self.set(watch, "waiting", "its container was started again")
        watch.life = life

    def take_answer(self, watch: Watch, healthy: bool, detail: str, starting: bool = False) -> None:
        watch.starting = starting
        if not healthy:
            watch.successes = 0
            if not (starting and watch.name == "n8n" and self.follow_migration(watch)):
                self.set(watch, "waiting", detail)
            return
        watch.successes += 1
        watch.ever_healthy = True
        if watch.successes >= self.needed and watch.state != "healthy":
            watch.seconds = time.monotonic() - self.started
            self.set(watch, "healthy", detail)

    def follow_migration(self, watch: Watch) -> bool:
        """Look whether a service that is not ready gets on with its migrations; False: there is nothing to tell."""
        moment = time.monotonic()
        if moment - watch.migration_at >= MIGRATION_POLL:
            watch.migration_at, watch.looks = moment, watch.looks + 1
            before = watch.migration
            found = look_at_migration(self.agent, self.container_of("postgresql"))
            if found is not None and migration_state(before, found) == "working":
                watch.progress_at = moment
            watch.migration = found or before
        if watch.migration is None:
            return False
        if watch.migration.blocked is not None:
            self.set(watch, "waiting", migration_detail("waiting", watch.migration))
            return True
        if self.gets_on(watch):  # between two statements, nothing seems to happen
            seen = watch.progress_at > float("-inf")
            detail = migration_detail("working" if seen else "starting", watch.migration)
            self.set(watch, "migrating" if seen else "waiting", detail)
            return True
        return False

    def gets_on(self, watch: Watch) -> bool:
        """Whether its migrations did a moment ago. After the last of them it still has to start its API.

        It takes two looks to see that: on a busy machine a short deadline may pass before the second.
        """
        if watch.starting and watch.looks == 1:
            return True
        return time.monotonic() - watch.progress_at < MIGRATION_STALL

    def container_of(self, name: str) -> Container | None:
        watch = self.watches.get(name)
        return watch.container if watch is not None else None

    def failure(self, watch: Watch) -> Failure | None:
        container = watch.container
        excused = not all(self.is_up(name) for name in watch.depends_on)
        if container is not None:
            if watch.tolerated is None:
                watch.tolerated = self.baseline.get(container.id, container.restarts)
            if excused:
                watch.had_to_wait = True
                watch.tolerated = max(watch.tolerated, container.restarts)
            elif watch.had_to_wait or self.dependency_is_new(watch):
                # Its last attempt began before what it needs was up: that one may still fail.
                watch.had_to_wait = False
                watch.tolerated = max(watch.tolerated, container.restarts) + 1
                watch.depends_on = ()
            mismatch = self.image_mismatch(watch)
            if mismatch:
                return mismatch
        return find_failure(container, watch.tolerated or 0, excused)

    def last_exit(self, watch: Watch) -> Failure | None:
        """How a container that is restarted again and again ends: once it runs again, Docker has forgotten."""

        def has_exited() -> bool:
            watch.container = self.agent.containers().get(watch.name)
            return watch.container is None or not watch.container.running

        if watch.container is None or not watch.container.running or self.image_mismatch(watch):
            return None
        return find_failure(watch.container, watch.tolerated or 0, False) if wait_until(has_exited, NEXT_EXIT) else None

    def is_up(self, name: str) -> bool:
        watch = self.watches.get(name)
        return watch is None or watch.ever_healthy

    def dependency_is_new(self, watch: Watch) -> bool:
        """Whether something it depends on was started about when it was, or later."""
        assert watch.container is not None
        for name in watch.depends_on:
            other = self.watches[name].container if name in self.watches else None
            if other and seconds_between(other.started_at, watch.container.created_at) < 60:
                return True
        return False

    def image_mismatch(self, watch: Watch) -> Failure | None:
        if watch.image.digest is None:
            return None
        running, names = self.running_image(watch)
        if any(name.digest == watch.image.digest and name.repository == watch.image.repository for name in names):
            return None
        return Failure("image_mismatch", f"{running} runs instead of {watch.text}")

    def running_image(self, watch: Watch) -> tuple[str, list[Image]]:
        assert watch.container is not None
        if watch.container.image_id not in self.images:
            self.images[watch.container.image_id] = self.agent.running_image(watch.container)
        running, names = self.images[watch.container.image_id]
        # One image can carry several names; told is the one that was asked for.
        return (watch.text if any(name.digest == watch.image.digest for name in names) else running), names

    def check_deadlines(self) -> None:
        """Give up on what is not ready in time, unless it migrates its data and gets on with that.

        Settling has time of its own. What breaks it has to become ready again in the time that is left for that.

        Raises:
            AgentError: unhealthy
        """
        if self.settling_since is not None:
            return
        elapsed = time.monotonic() - self.started
        late = [
            watch
            for watch in self.watches.values()
            if watch.state != "healthy" and elapsed > min(watch.deadline, self.deadline) and not self.gets_on(watch)
        ]
        for watch in late:
            seen = watch.detail or "no answer"
            if watch.starting and watch.migration is not None and watch.migration.blocked is None:
                seen = migration_detail("idle", watch.migration)
            self.set(watch, "unhealthy", f"not healthy after {elapsed:.0f} s: {seen}")
        if late:
            raise self.unhealthy()

    def set(self, watch: Watch, state: str, detail: str) -> None:
        if (state, detail) != (watch.state, watch.detail):
            watch.state, watch.detail = state, detail
            self.agent.reporter.service(
                watch.name, "unhealthy" if state in ("missing", "image_mismatch") else state, detail
            )

    def unhealthy(self) -> AgentError:
        bad = [watch for watch in self.watches.values() if watch.state not in ("healthy", "waiting", "migrating")]
        services = {
            watch.name: {"state": watch.state, "reason": watch.detail, "healthy": watch.state == "healthy"}
            for watch in self.watches.values()
        }
        for watch in bad:
            if watch.container is not None:
                with contextlib.suppress(AgentError):  # the reason is what counts, its log lines are a courtesy
                    services[watch.name]["logs"] = self.agent.log_lines(watch.container.id, 20, 300)
        text = "; ".join(f"{watch.name}: {watch.detail}" for watch in bad)
        mismatch = bool(bad) and all(watch.state == "image_mismatch" for watch in bad)
        return AgentError(
            "image_mismatch" if mismatch else "unhealthy",
            f"The wrong image runs: {text}." if mismatch else f"Not healthy: {text or 'the deadline passed'}.",
            services=services,
        )
