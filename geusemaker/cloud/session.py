"""How AWS is asked: clients of one region and one environment, and what it refuses as an error of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from geusemaker.cloud.credentials import open_session
from geusemaker.cloud.own_address import LOOPBACK, ask_own_address
from geusemaker.cloud.refusals import refusal_of, told
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.identity import Caller


class AwsSession:
    """AWS as one deployment sees it.

    Args:
        region: the deployment's region.
        environment: variables of the target (endpoint and credentials of the local cloud); the process's own win
            nothing over them.
        settings: gives the AWS provider's settings that say whose credentials count, where a stack has such; read once.
    """

    connect_seconds = 5
    read_seconds = 60
    retries = 3

    def __init__(
        self, region: str, environment: dict[str, str], settings: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self.region = region
        self._environment = environment
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._identity_lock = threading.Lock()
        self._identity: Caller | None = None

    def prepare(self) -> None:
        """Load what the first questions need, the descriptions of AWS's APIs, which takes a while; nothing is asked.

        Raises:
            EnvironmentProblemError: the settings for AWS cannot be used.
        """
        for service in ("ec2", "efs", "sts"):
            self._ask(service, lambda client: None)

    def identity(self) -> Caller:
        """Whom the credentials belong to; asked once, as the session's credentials stay."""
        with self._identity_lock:
            if self._identity is None:
                found = self._ask("sts", lambda sts: sts.get_caller_identity())
                arn = found["Arn"]
                self._identity = Caller(account_id=found["Account"], partition=arn.split(":")[1], arn=arn)
            return self._identity

    def own_address(self) -> str:
        """The address that this machine has to AWS: the local cloud's is this machine.

        Raises:
            EnvironmentProblemError: nobody tells it.
        """
        return LOOPBACK if "AWS_ENDPOINT_URL" in self._environment else ask_own_address()

    def ask(self, service: str, question: Callable[[Any], Any]) -> Any:
        """What a service of AWS's answers.

        Args:
            service: boto3's name for it.
            question: is given its client.

        Raises:
            EnvironmentProblemError: it refuses, or cannot be asked.
        """
        return self._ask(service, question)

    def credential_environment(self) -> dict[str, str]:
        """These credentials as the variables that all of AWS's programs read.

        Raises:
            EnvironmentProblemError: there are none.
        """
        self.identity()
        found = self._session.get_credentials().get_frozen_credentials()
        values = {
            "AWS_ACCESS_KEY_ID": found.access_key,
            "AWS_SECRET_ACCESS_KEY": found.secret_key,
            "AWS_SESSION_TOKEN": found.token,
        }
        return {name: value for name, value in values.items() if value}

    def endpoint_of(self, service: str) -> str:
        """The address at which a service is asked."""
        return str(self._ask(service, lambda client: client.meta.endpoint_url))

    def _ask(self, service: str, question: Callable[[Any], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return question(self._client(service))
        except ClientError as error:
            detail = error.response.get("Error", {})
            refusal = refusal_of(str(detail.get("Code")))
            said = str(detail.get("Message") or detail.get("Code")).rstrip(".")
            raise EnvironmentProblemError(
                told(refusal, [said, f"call {error.operation_name}"])
                if refusal is not None
                else f"AWS refused a question ({error.operation_name}): {said}.",
                state="Nothing was changed.",
                next_step=f"{refusal.next_step}."
                if refusal is not None
                else "Check the credentials and their permissions; `geusemaker doctor` tells more.",
            ) from error
        except BotoCoreError as error:
            refusal = refusal_of(type(error).__name__)
            raise EnvironmentProblemError(
                told(refusal, []) if refusal is not None else f"AWS cannot be asked: {error}.",
                state="Nothing was changed.",
                next_step=f"{refusal.next_step}."
                if refusal is not None
                else "Check network and credentials (`aws sts get-caller-identity`).",
            ) from error

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    region_name=self.region,
                    endpoint_url=self._environment.get("AWS_ENDPOINT_URL"),
                    config=Config(
                        connect_timeout=self.connect_seconds,
                        read_timeout=self.read_seconds,
                        retries={"mode": "standard", "max_attempts": self.retries},
                    ),
                )
            return self._clients[service]

    @cached_property
    def _session(self) -> Any:
        local = self._environment
        return open_session(self.region, local, self._settings() if not local else {})
