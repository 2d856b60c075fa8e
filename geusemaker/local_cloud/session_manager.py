"""Session Manager, as far as ports are forwarded by it: who may be reached, sessions, and the agent's package.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html. moto has none of this.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.account import own_account
from geusemaker.local_cloud.instances import Fleet
from geusemaker.local_cloud.paths import OWN_PATHS
from geusemaker.local_cloud.processes import is_same_process
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError

__all__ = ["BUCKETS", "SESSION", "SESSION_ACTIONS", "Sessions", "answer_download"]

BUCKETS: Final = "/amazon-ssm-"
"""How the paths of AWS's own buckets with the agent begin; they are for everybody."""
SESSION: Final = f"{OWN_PATHS}session/"
SESSION_ACTIONS: Final = frozenset({"StartSession", "TerminateSession", "DescribeInstanceInformation"})
_DOCUMENT: Final = "AWS-StartPortForwardingSession"
_POLICY: Final = "AmazonSSMManagedInstanceCore"
_PACKAGE: Final = {"Package": "amazon-ssm-agent", "Version": "3.3.4624.0-1"}
_SIGNER: Final = "1C5B395CBE5E74E2F1CA21592784DBF388D19D46"
"""The key that AWS signs with: https://github.com/aws/eks-hybrid, internal/ssm/source.go."""
_StartResponse = Callable[..., Any]


@dataclass(frozen=True)
class _Session:
    token: str
    instance_id: str
    port: int
    agent: int
    """The process of the agent that carries it."""


class Sessions:
    """Answers the calls, and tells the plugin of a session where it leads."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._sessions: dict[str, _Session] = {}

    def answer(self, call: AwsCall, body: bytes, port: int, start_response: _StartResponse) -> list[bytes]:
        """Answer a call.

        Raises:
            AwsRefusalError: as AWS refuses it.
        """
        asked = json.loads(body or b"{}")
        if call.action == "StartSession":
            found = self._start(call.region, asked, port)
        elif call.action == "TerminateSession":
            self._sessions.pop(str(asked.get("SessionId")), None)
            found = {"SessionId": asked.get("SessionId")}
        else:
            found = {"InstanceInformationList": self._known(call.region, asked)}
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps(found).encode()]

    def stream(self, environ: dict[str, Any], start_response: _StartResponse) -> list[bytes]:
        """Where a session leads, for who has its token; that it leads nowhere any more, else."""
        session = self._sessions.get(environ["PATH_INFO"].removeprefix(SESSION))
        place = self._place(session) if session is not None else None
        if session is None or place is None:
            return _say(start_response, "410 Gone", {"problem": "The session has ended."})
        if not secrets.compare_digest(session.token, str(environ.get("HTTP_X_TOKEN", ""))):
            return _say(start_response, "403 Forbidden", {"problem": "The token is not this session's."})
        host, port = place
        if session.port != port:
            return _say(start_response, "404 Not Found", {"problem": "Connection to destination port failed."})
        return _say(start_response, "200 OK", {"host": host, "port": port})

    def _start(self, region: str, asked: dict[str, Any], port: int) -> dict[str, Any]:
        target, parameters = str(asked.get("Target")), asked.get("Parameters") or {}
        if asked.get("DocumentName") != _DOCUMENT:
            raise AwsRefusalError("InvalidDocument", "The local cloud forwards ports, and nothing else.", 400)
        agent = self._agent_of(region, target)
        if agent == 0:
            raise AwsRefusalError("TargetNotConnected", f"{target} is not connected.", 400)
        name, token = f"geusemaker-local-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
        self._sessions[name] = _Session(token, target, int(parameters["portNumber"][0]), agent)
        return {"SessionId": name, "TokenValue": token, "StreamUrl": f"ws://127.0.0.1:{port}{SESSION}{name}"}

    def _known(self, region: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = [value for one in asked.get("Filters", ()) for value in one["Values"] if one["Key"] == "InstanceIds"]
        return [
            {"InstanceId": name, "PingStatus": "Online", "PlatformType": "Linux"}
            for name in wanted
            if self._agent_of(region, name)
        ]

    def _place(self, session: _Session) -> tuple[str, int] | None:
        root = self._fleet.root_of(session.instance_id)
        if root is None or _agent(root) != session.agent:
            return None
        return self._fleet.ssh_of(session.instance_id)

    def _agent_of(self, region: str, instance_id: str) -> int:
        """The process of an instance's agent, where AWS hears of it: it runs, and its role lets it tell; 0: not."""
        root = self._fleet.root_of(instance_id)
        return _agent(root) if root is not None and _may_tell(region, instance_id) else 0


def answer_download(path: str, start_response: _StartResponse) -> list[bytes]:
    """The agent's package, and its signature: that AWS's key has signed what has this digest."""
    package = json.dumps(_PACKAGE).encode()
    signature = json.dumps({"signer": _SIGNER, "sha256": hashlib.sha256(package).hexdigest()}).encode()
    name = path.partition("/latest/")[2].partition("/")[2]
    found = {"amazon-ssm-agent.deb": package, "amazon-ssm-agent.deb.sig": signature}.get(name)
    if found is None:
        start_response("404 Not Found", [("Content-Type", "application/xml")])
        return [b"<Error><Code>NoSuchKey</Code></Error>"]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [found]


def _say(start_response: _StartResponse, status: str, document: dict[str, Any]) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]


def _agent(root: Path) -> int:
    """The process of the agent on an instance, as its systemctl remembers it; 0: it does not run."""
    try:
        record = json.loads((root / "run/systemd/amazon-ssm-agent.service.json").read_text())
    except (FileNotFoundError, ValueError):
        return 0
    runs = record["started"] is not None and is_same_process(record["pid"], record["started"])
    return int(record["pid"]) if runs else 0


def _may_tell(region: str, instance_id: str) -> bool:
    from moto.ec2.models import ec2_backends

    ec2: Any = ec2_backends[own_account()][region]
    profiles = [
        one.iam_instance_profile
        for one in ec2.iam_instance_profile_associations.values()
        if one.instance.id == instance_id
    ]
    return any(
        arn.endswith(f"/{_POLICY}") for profile in profiles for role in profile.roles for arn in role.managed_policies
    )
