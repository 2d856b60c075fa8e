"""What an outcome says of the config that was tried: whether its own services failed. Pure, but for ``note``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from geusemaker.agent.protocol.answers import FailedService
from geusemaker.models.history import ApplyOutcome, Verdicts
from geusemaker.models.version import WayBackKind
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.outcomes import failure_of

_GATE_FAILED: Final = "unhealthy"
"""The agent's code for services that did not become healthy; all others are of something that was lacking."""

_NOT_THEIR_OWN: Final = ("missing", "image_mismatch")
"""States of a service at the gate that are no failure of what the config runs: somebody else had a hand in it."""
_LACKS_STORAGE = re.compile(
    r"no space left on device|disk quota exceeded|read-only file system|input/output error|stale (nfs )?file handle"
    r"|transport endpoint is not connected",
    re.IGNORECASE,
)
"""What a service says whose disk or mount is at fault (ENOSPC, EDQUOT, EROFS, EIO, ESTALE, ENOTCONN); others that need
it fail with it."""
_LACKS_NETWORK = re.compile(
    r"network is unreachable|no route to host|temporary failure in name resolution|EAI_AGAIN|ENETUNREACH", re.IGNORECASE
)


def condemns(outcome: ApplyOutcome) -> bool:
    """Whether a failed outcome is a verdict on the config: its own services ran, and failed their gate.

    No verdict is what AWS or the engine refused, a deadline of the whole operation, an interruption, an image that
    could not be had, a mount that was lost, and services that say that disk, mount or network is what they lack.
    """
    failure = failure_of(outcome)
    if outcome.succeeded or outcome.timed_out or failure is None or failure.code != _GATE_FAILED:
        return False
    services = failure.detail.services.values()
    unhealthy = [found for found in services if found.state not in ("healthy", "waiting", "migrating")]
    own = [_said(found) for found in unhealthy if found.state not in _NOT_THEIR_OWN]
    if unhealthy and not own:
        return False
    return not any(map(_LACKS_STORAGE.search, own)) and not (own and all(map(_LACKS_NETWORK.search, own)))


def _said(found: FailedService) -> str:
    return "\n".join((found.reason, *found.logs))


def note(
    collaborators: Collaborators,
    *,
    failed: int | None = None,
    newer: int | None = None,
    cleared: int | None = None,
    returns: Mapping[int, WayBackKind] | None = None,
) -> None:
    """Add a verdict on a version to those on record, or take one back. Written under the lease, as all tags are.

    That it cannot be written is a warning: what is done about the failure matters more.

    Args:
        failed: its own services failed.
        newer: it became healthy on data that newer software had migrated.
        cleared: it runs on data of its own again.
        returns: its way back, which is another one than was foreseen.
    """

    def write() -> None:
        known = collaborators.engine.tags().verdicts
        found = Verdicts(
            failed=tuple(sorted({*known.failed, *([failed] if failed is not None else [])})),
            newer=tuple(sorted({*known.newer, *([newer] if newer is not None else [])} - {cleared})),
            returns={**known.returns, **(returns or {})},
        )
        if found != known:
            collaborators.engine.set_verdicts(found)

    attempt(collaborators.on_event, "What was found of the version could not be recorded", write)
