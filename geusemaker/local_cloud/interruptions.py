"""EC2 takes spot capacity back, and gives it again, when somebody asks the local cloud for it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from geusemaker.local_cloud import spot
from geusemaker.local_cloud.instances import Fleet
from geusemaker.local_cloud.machines import METADATA
from geusemaker.local_cloud.metadata import answer as answer_metadata
from geusemaker.local_cloud.paths import OWN_PATHS
from geusemaker.local_cloud.strictness import AwsRefusalError

__all__ = ["INTERRUPT", "Interruptions"]

_LOG = logging.getLogger(__name__)
INTERRUPT: Final = f"{OWN_PATHS}interrupt"
_ACTIONS: Final = ("stop", "terminate", "return")


class Interruptions:
    """Interrupts instances.

    Args:
        fleet: the machines.
        change: has EC2 do something by itself, and the machines follow.
    """

    def __init__(self, fleet: Fleet, change: Callable[[Callable[[], None]], None]) -> None:
        self._fleet = fleet
        self._change = change
        self._tokens: set[str] = set()

    def metadata(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """The metadata service of an instance of the kind ``process``."""
        instance_id, _, path = environ["PATH_INFO"].removeprefix(METADATA).partition("/")
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        root = self._fleet.root_of(instance_id)
        status, body = (
            (404, "")
            if root is None
            else answer_metadata(environ["REQUEST_METHOD"], f"/{path}", headers, self._tokens, root, instance_id)
        )
        start_response(f"{status} {'OK' if status == 200 else 'Refused'}", [("Content-Type", "text/plain")])
        return [body.encode()]

    def answer(self, environ: dict[str, Any], body: bytes, start_response: Callable[..., Any]) -> list[bytes]:
        """Do what is asked for; returns when EC2 has done it, the instance's machine included."""
        status, document = "200 OK", {"problem": ""}
        try:
            if environ["PATH_INFO"] != INTERRUPT or environ["REQUEST_METHOD"] != "POST":
                raise AwsRefusalError("NotFound", "There is no such page.", 404)
            self.interrupt(**json.loads(body))
        except AwsRefusalError as refusal:
            status, document = f"{refusal.status} {refusal.code}", {"problem": refusal.message}
        except (ValueError, TypeError) as error:
            status, document = "400 Bad Request", {"problem": f"{type(error).__name__}: {error}"}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]

    def interrupt(self, instance: str, action: str, notice_seconds: float) -> None:
        """Interrupt an instance, or give it its capacity back.

        Args:
            instance: its id.
            action: ``stop``; ``terminate``: it is gone for good; ``return``: EC2 starts again what it stopped.
            notice_seconds: so long before, the instance is told; 0: it is not.

        Raises:
            AwsRefusalError: EC2 could not do that to it.
        """
        if action not in _ACTIONS:
            raise ValueError(f"the action is to be one of {', '.join(_ACTIONS)}")
        ec2 = _backend_of(instance)
        if action == "return":
            self._change(lambda: spot.give_back(ec2, instance))
            return
        if notice_seconds > 0:
            spot.require_running(ec2, instance)
            at = datetime.now(UTC) + timedelta(seconds=notice_seconds)
            notice = {"action": action, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
            self._fleet.tell(instance, json.dumps(notice))
            _LOG.info("%s is told that EC2 will %s it at %s", instance, action, notice["time"])
            threading.Event().wait(notice_seconds)  # EC2 keeps its word to the second
        self._change(lambda: spot.take_back(ec2, instance, stops=action == "stop"))
        _LOG.info("%s was interrupted (%s)", instance, action)


def _backend_of(instance_id: str) -> Any:
    """moto's backend of the region that an instance is in.

    Raises:
        AwsRefusalError: there is no such instance.
    """
    from moto.ec2.models import ec2_backends

    for _, _, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        if any(one.id == instance_id for one in ec2.all_instances()):
            return ec2
    raise AwsRefusalError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
