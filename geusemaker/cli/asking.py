"""The question before a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Printer, line
from geusemaker.errors import ConfirmationNeededError

if TYPE_CHECKING:
    from geusemaker.models.plan import CheckResult, Plan


class Asking:
    """What of a session asks. ``--yes`` skips the question and nothing else."""

    verb: str
    deployment: str | None
    printer: Printer
    yes: bool
    verbose: bool
    """Whether the checks that passed are listed."""
    agreed = False
    """Whether the change was agreed to: from then on it is the library that knows what was changed."""

    def pause(self) -> None:
        """Take the live region off the screen."""
        raise NotImplementedError

    def show_plan(self, plan: Plan) -> None:
        """Show what would be done."""
        raise NotImplementedError

    def confirm(self, plan: Plan) -> bool:
        """Show the plan and ask; ``--yes`` skips the question and nothing else.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        from geusemaker.cli.output.plan import question

        self.show_plan(plan)
        offers = self.offers_details(plan.checks)
        return self.agree(question(plan, details=offers), plan.checks if offers else ())

    def offers_details(self, checks: Sequence[CheckResult]) -> bool:
        """Whether there are checks that passed and were only counted."""
        return not self.verbose and any(check.status == "pass" for check in checks)

    def agree(self, question: str, checks: Sequence[CheckResult] = ()) -> bool:
        """Ask whether to go on; ``--yes`` has answered.

        Where there are ``checks``, ``d`` lists them, and it asks again.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        answer = "" if self.yes else self.ask(question).lower()
        while checks and answer == "d":
            from geusemaker.cli.output.plan import render_checks

            self.printer.lines([*render_checks(checks), line()])
            answer = self.ask(question).lower()
        self.agreed = self.yes or answer in ("y", "yes")
        return self.agreed

    def agree_to(self, what: str) -> bool:
        """Ask whether to go on with what is said in a sentence; ``--yes`` has answered.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        return self.agree(f"{what} Go on? [y/N] ")

    def ask(self, text: str) -> str:
        """Ask on the terminal.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        self.pause()
        self.require_terminal()
        return self.printer.ask(text)

    def require_terminal(self) -> None:
        """Refuse where nobody can be asked.

        Raises:
            ConfirmationNeededError: there is no terminal to ask on.
        """
        if not self.printer.can_ask():
            name = f" {self.deployment}" if self.deployment else ""
            raise ConfirmationNeededError(
                f"`{self.verb}{name}` asks before it acts, and there is no terminal to ask on.",
                state="Nothing was changed.",
                next_step="If that is what you want, run the same command again with --yes.",
            )
