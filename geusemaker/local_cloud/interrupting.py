"""Asks a running local cloud to interrupt an instance. Imports neither moto nor boto3."""

from __future__ import annotations

import http.client
import json
from typing import Literal
from urllib.parse import urlsplit

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.paths import OWN_PATHS

Action = Literal["stop", "terminate", "return"]

NOTICE_SECONDS = 120.0
"""Two minutes: docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""
_PATIENCE = 180.0
"""Seconds, beyond the notice: an instance stops its services in their time."""


def interrupt(endpoint: str, instance: str, action: Action, notice_seconds: float) -> None:
    """Have EC2 take an instance's capacity back, or give it again; returns when it is done.

    Args:
        endpoint: of its AWS API.
        instance: the instance's id.
        action: ``stop``; ``terminate``: it is gone; ``return``: EC2 starts again what it stopped.
        notice_seconds: so long before, the instance is told; 0: it is not.

    Raises:
        LocalCloudError: it does not run, or EC2 could not do that.
    """
    url = urlsplit(endpoint)
    wanted = {"instance": instance, "action": action, "notice_seconds": notice_seconds}
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=notice_seconds + _PATIENCE)
    try:
        connection.request("POST", f"{OWN_PATHS}interrupt", json.dumps(wanted))
        problem = json.loads(connection.getresponse().read())["problem"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise LocalCloudError(f"The local cloud did not answer: {type(error).__name__}: {error}.") from error
    finally:
        connection.close()
    if problem:
        raise LocalCloudError(problem, state="Nothing was changed.", next_step="See `geusemaker local status`.")
