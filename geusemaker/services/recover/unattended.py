"""Looks again and again, and brings back an instance that nobody wanted to stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from geusemaker.errors import DeploymentBusyError, GeusemakerError, InterruptedOperationError
from geusemaker.models.inspection import Inspection
from geusemaker.models.plan import Event
from geusemaker.models.result import OperationResult
from geusemaker.services.recover.decide import MOST, Decision, decide, pause


class Unattended:
    """A process that nobody watches.

    Args:
        name: the deployment's.
        look: how the deployment is.
        repair: recovers it, and asks nobody.
        give_up: tells whoever is told of operations that this repairs no more for now.
        now: the time, in UTC.
        on_event: is told what is seen, when that changes.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Inspection],
        repair: Callable[[], OperationResult],
        give_up: Callable[[str], None],
        now: Callable[[], datetime],
        on_event: Callable[[Event], None],
    ) -> None:
        self._name = name
        self._look = look
        self._repair = repair
        self._give_up = give_up
        self._now = now
        self._on_event = on_event
        self._said = ""
        self._told = False
        self._failures = 0
        self.looks = 0
        self.repairs = 0

    def run(self, every: float, ended: Callable[[float], bool]) -> None:
        """Look until it is to end. What fails at the first look is an error; later it is told, and tried again.

        Args:
            every: seconds from one look to the next.
            ended: waits so many seconds; whether there is to be no further look.

        Raises:
            GeusemakerError: the first look failed.
            InterruptedOperationError: a repair was cut off.
        """
        while True:
            try:
                self._once()
            except (KeyboardInterrupt, InterruptedOperationError):
                raise
            except DeploymentBusyError:
                pass  # another operation has it: the next look finds what that came to
            except GeusemakerError as error:
                if not self.looks:
                    raise
                self._failures += 1
                self._say(f"{error.message} {error.next_step}".strip(), "warning")
            if ended(pause(every, self._failures)):
                return

    def _once(self) -> None:
        found = self._look()
        self.looks += 1
        decision = decide(found, self._now())
        if decision.verdict != "gave-up":
            self._told = False
        match decision.verdict:
            case "repairs":
                self._say(f"{self._name}: {decision.why}. Bringing it back.")
                self._bring_back()
            case "gave-up":
                self._gives_up(decision)
            case "leaves":
                self._say(f"{self._name}: {decision.why} Left as it is: this repairs an interrupted instance alone.")
            case "waits":
                self._say(f"{self._name}: {decision.why}. Waiting.")
            case _:
                self._failures = 0
                self._say(f"{self._name} is {found.status}.")

    def _bring_back(self) -> None:
        result = self._repair()
        if result.success:
            self._failures = 0
            self.repairs += 1
            self._say(f"{self._name} is back: v{result.version}.")
            return
        self._failures += 1
        self._say(f"{self._name} did not come back: {result.error_message or ''} {result.next_step}".strip(), "warning")

    def _gives_up(self, decision: Decision) -> None:
        text = (
            f"{self._name}: {decision.why}, and it was brought back {MOST} times within 24 hours already. It is left "
            f"to you: `geusemaker status {self._name}`, then `geusemaker recover {self._name}`."
        )
        self._say(text, "warning")
        if not self._told:
            self._told = True
            self._give_up(text)

    def _say(self, text: str, kind: str = "note") -> None:
        if text != self._said:
            self._said = text
            self._on_event(Event(kind="warning" if kind == "warning" else "note", message=text))
