"""The instance's metadata service, version 2: with a token, and none of it for a container.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html: a token is had by PUT, lives for
at most six hours, and 401 says that it does no more. Where the service is, AWS's SDKs are told by a variable
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html), and so is this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from geusemaker.agent.errors import AgentError

ENDPOINT: Final = "http://169.254.169.254"
ENDPOINT_VARIABLE: Final = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_SECONDS: Final = 2.0
_TOKEN_SECONDS: Final = 21600
_HEADER: Final = "X-aws-ec2-metadata-token"
_LIMIT: Final = 1 << 16


class Metadata:
    """What the metadata service tells. No proxy is asked: nobody else can be this service."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        url = urlsplit(environment.get(ENDPOINT_VARIABLE) or ENDPOINT)
        self._host, self._port, self._prefix = url.hostname or "", url.port or 80, url.path.rstrip("/")
        self._token = ""

    def read(self, path: str) -> str | None:
        """What stands under a path; None: there is nothing.

        Raises:
            AgentError: metadata_failed
        """
        status, body = (401, "") if not self._token else self._ask("GET", path, {_HEADER: self._token})
        if status == 401:
            status, self._token = self._ask("PUT", "/latest/api/token", {f"{_HEADER}-ttl-seconds": str(_TOKEN_SECONDS)})
            if status == 200:
                status, body = self._ask("GET", path, {_HEADER: self._token})
        if status not in (200, 404):
            raise AgentError("metadata_failed", f"The metadata service answers {status} for {path}.")
        return body if status == 200 else None

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        import http.client

        connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        try:
            connection.request(method, self._prefix + path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(_LIMIT).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise AgentError("metadata_failed", f"The metadata service does not answer: {error}") from error
        finally:
            connection.close()
