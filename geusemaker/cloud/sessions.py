"""Session Manager, as far as it leads to one deployment's instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.policy import PORTS
from geusemaker.errors import EnvironmentProblemError, HostError

_NOT_CONNECTED: Final = "TargetNotConnected"


class AwsSessions:
    """Asks for sessions, and ends them.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html
    """

    def __init__(self, cloud: AwsCloud, deployment: str) -> None:
        self._cloud = cloud
        self._deployment = deployment
        self.region = cloud.region

    @property
    def endpoint(self) -> str:
        """The service's address, which its program wants to be told."""
        return self._cloud.endpoint_of("ssm")

    def credentials(self) -> dict[str, str]:
        """The variables by which its program is told whose credentials count: it signs for the session itself."""
        return self._cloud.credential_environment()

    def running_instance(self) -> str | None:
        """The id of the deployment's instance; None where none runs."""
        found = self._cloud.find_instance(self._deployment)
        return found.id if found is not None and found.state == "running" else None

    def start(self, instance_id: str, parameters: Mapping[str, list[str]]) -> dict[str, Any]:
        """StartSession's answer: SessionId, StreamUrl, TokenValue.

        Raises:
            HostError: ``unreachable``: the instance's agent is not connected to AWS.
            EnvironmentProblemError: AWS refuses.
        """
        try:
            answer: dict[str, Any] = self._cloud.ask(
                "ssm",
                lambda ssm: ssm.start_session(Target=instance_id, DocumentName=PORTS, Parameters=dict(parameters)),
            )
        except EnvironmentProblemError as error:
            if _NOT_CONNECTED not in _codes(error):
                raise
            raise HostError(self._why_not(instance_id), code="unreachable") from error
        return answer

    def end(self, session_id: str) -> None:
        """End a session.

        Raises:
            EnvironmentProblemError: AWS refuses.
        """
        self._cloud.ask("ssm", lambda ssm: ssm.terminate_session(SessionId=session_id))

    def _why_not(self, instance_id: str) -> str:
        """What AWS knows of an agent to which no session leads."""
        filters = [{"Key": "InstanceIds", "Values": [instance_id]}]
        found = self._cloud.ask("ssm", lambda ssm: ssm.describe_instance_information(Filters=filters))
        known = found["InstanceInformationList"]
        if not known:
            return (
                f"{instance_id} is not known to Session Manager (yet): its agent is not installed, has no way out to "
                "AWS, or the instance's role does not allow it."
            )
        return f"The Session Manager agent of {instance_id} is not connected ({known[0]['PingStatus']})."


def _codes(error: BaseException) -> str:
    response = getattr(error.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
