"""Secrets taken out of what the engine and the instance say, before anybody reads or keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geusemaker.agent.output import Reporter
from geusemaker.models.stack import Secrets


def redaction(secrets: Secrets | None) -> Callable[[Any], Any]:
    """A function that gives a JSON-like value back with each secret in it replaced, in whatever form it stands there.

    The forms are the agent's own, see ``geusemaker.agent.output.secret_forms``. Without secrets nothing is replaced.
    """
    reporter = Reporter(lambda line: None)
    if secrets is not None:
        reporter.hide(secrets.texts)
    return reporter.redact
