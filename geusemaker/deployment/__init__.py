"""A deployment, as the command line and a pipeline use it: every verb, wired to the real engine, AWS and instance."""

from __future__ import annotations

from geusemaker.deployment.backups import Backups
from geusemaker.deployment.changes import Changes
from geusemaker.deployment.marks import Marks
from geusemaker.deployment.reach import Reach
from geusemaker.deployment.repair import Repair
from geusemaker.deployment.running import Running
from geusemaker.deployment.secrets import Secrets


class Deployment(Changes, Running, Backups, Marks, Secrets, Repair, Reach):
    """One deployment. Every verb blocks until it is done; progress goes to ``on_event``.

    ``confirm`` is handed the plan and says whether to go on. Without ``confirm`` a change is made without asking.
    An ``on_event`` that raises stops nothing: it is told as a RuntimeWarning.
    Verbs return what a change came to, failures included, and raise geusemaker.errors.GeusemakerError where
    nothing was changed.
    """


__all__ = ["Deployment"]
