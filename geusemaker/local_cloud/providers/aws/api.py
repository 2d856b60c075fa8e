"""Access to the AWS API: clients kept for good, and errors worded as the AWS provider words them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.providers.server import EitherEvent, ProviderError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_efs import EFSClient
    from mypy_boto3_iam import IAMClient

T = TypeVar("T")

_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 1.0
ATTEMPTS: Final = 25
"""How often the provider asks where nothing else is set: its ``max_retries`` counts attempts, as it was seen to."""
_LONGEST_BACKOFF: Final = 20.0
"""Seconds: the standard retryer of AWS's SDK for Go waits a random part of 2 ** attempt, up to this."""


class Clients:
    """boto3 clients of one endpoint, made when first used, one for each service and region, shared by all threads."""

    def __init__(self, endpoint: str, key: AccessKey) -> None:
        self._endpoint = endpoint
        self._key = key
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str, int], Any] = {}
        self._session: Any = None
        self._account_id = ""

    def account_id(self, region: str) -> str:
        """The account of the credentials; asked once."""
        if not self._account_id:
            with doing("retrieving AWS account details"):
                self._account_id = self.get("sts", region).get_caller_identity()["Account"]
        return self._account_id

    def get(self, service: str, region: str, attempts: int = 3) -> Any:
        """The client of a service in a region, which asks ``attempts`` times where AWS does not answer well."""
        with self._lock:
            client = self._made.get((service, region, attempts))
            if client is None:
                client = self._made[service, region, attempts] = self._make(service, region, attempts)
            return client

    def _make(self, service: str, region: str, attempts: int) -> Any:
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.session.Session()
        return self._session.client(
            service,
            region_name=region,
            endpoint_url=self._endpoint,
            aws_access_key_id=self._key.id,
            aws_secret_access_key=self._key.secret,
            config=Config(
                max_pool_connections=32,
                connect_timeout=5,
                read_timeout=120,
                retries={"mode": "standard", "max_attempts": attempts},
                tcp_keepalive=True,
            ),
        )


class Aws:
    """AWS as one call of an engine sees it: a region's clients, and waiting that the engine can end.

    Once the engine is gone nothing more is asked of AWS: a call's context ends with the engine's connection.
    """

    def __init__(
        self,
        clients: Clients,
        region: str,
        cancelled: threading.Event,
        gone: threading.Event,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._clients = clients
        self._attempts = attempts
        self._gone = gone
        self._stopped = EitherEvent(cancelled, gone)
        self.region = region

    @property
    def ec2(self) -> EC2Client:
        client: EC2Client = self._get("ec2")
        return client

    @property
    def efs(self) -> EFSClient:
        client: EFSClient = self._get("efs")
        return client

    @property
    def iam(self) -> IAMClient:
        client: IAMClient = self._get("iam")
        return client

    def _get(self, service: str, attempts: int = 3) -> Any:
        if self._gone.is_set():
            raise failed("context canceled")
        return self._clients.get(service, self.region, attempts)

    def insist(self, call: Callable[[EC2Client], T]) -> T:
        """A call of EC2 that the provider repeats in silence while AWS has no capacity, which is its HTTP status 500.

        Raises:
            ClientError: it was the last attempt, or another refusal.
            ProviderError: the engine was told to stop.
        """
        from botocore.exceptions import ClientError

        for number in range(self._attempts):
            try:
                return call(self._get("ec2", attempts=1))
            except ClientError as error:
                if error_code(error) != "InsufficientInstanceCapacity":
                    raise
                if number + 1 == self._attempts:
                    raise
            if self._stopped.wait(min(_LONGEST_BACKOFF, random.random() * 2**number)):
                raise failed("context canceled")
        raise AssertionError("there is at least one attempt")

    @property
    def account_id(self) -> str:
        return self._clients.account_id(self.region)

    def wait_until(self, check: Callable[[], T | None], timeout: float, on_timeout: Callable[[], Exception]) -> T:
        """Ask until the answer is not ``None``; at first often, later once a second.

        Raises:
            ProviderError: the engine was told to stop (the real provider words it the same).
            Exception: what ``on_timeout`` makes, after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        pause = _POLL_SECONDS
        while True:
            answer = check()
            if answer is not None:
                return answer
            if time.monotonic() >= deadline:
                raise on_timeout()
            if self._stopped.wait(pause):
                raise failed("context canceled")
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


def attempts(config: Mapping[str, Any]) -> int:
    """How often a call is made: ``maxRetries``, of which 0 is as good as none (seen with provider 5.100)."""
    return int(config.get("maxRetries") or 0) or ATTEMPTS


def failed(what: str) -> ProviderError:
    """An error in the form in which Terraform's plugin SDK hands it to Pulumi."""
    return ProviderError(f"1 error occurred:\n\t* {what}\n\n")


@contextmanager
def doing(action: str) -> Iterator[None]:
    """Turn AWS errors into ``ACTION: operation error …``."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise failed(f"{action}: {describe(error)}") from error
    except BotoCoreError as error:
        raise failed(f"{action}: {_describe_transport(error)}") from error


class Attempt:
    """Like :func:`doing`, but AWS error codes in ``ignore`` end the block silently."""

    def __init__(self, action: str, ignore: Iterable[str]) -> None:
        self._ignore = frozenset(ignore)
        self._outer = doing(action)

    def __enter__(self) -> None:
        self._outer.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        from botocore.exceptions import ClientError

        if isinstance(error, ClientError) and error_code(error) in self._ignore:
            return True
        return bool(self._outer.__exit__(kind, error, traceback))


def error_code(error: ClientError) -> str:
    """AWS error code, such as ``InvalidInstanceID.NotFound``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def describe(error: ClientError) -> str:
    """The error as the AWS SDK for Go prints it."""
    response: Mapping[str, Any] = error.response
    metadata = response.get("ResponseMetadata", {})
    detail = response.get("Error", {})
    return (
        f"operation error {_service_of(error.operation_name)}: {error.operation_name}, "
        f"https response error StatusCode: {metadata.get('HTTPStatusCode', 0)}, "
        f"RequestID: {metadata.get('RequestId', '')}, api error {detail.get('Code', '')}: {detail.get('Message', '')}"
    )


def _describe_transport(error: BotoCoreError) -> str:
    return f"https response error StatusCode: 0, RequestID: , request send failed, {error}"


_SERVICES: Final = {
    "EFS": ("FileSystem", "MountTarget", "BackupPolicy", "LifecycleConfiguration"),
    "IAM": ("Role", "InstanceProfiles", "PolicyVersion"),
    "STS": ("CallerIdentity",),
}


def _service_of(operation: str) -> str:
    if operation.endswith(("InstanceProfile", "Role", "RolePolicy")) and "Association" not in operation:
        return "EC2" if operation.startswith(("Associate", "Disassociate")) else "IAM"
    for service, words in _SERVICES.items():
        if any(word in operation for word in words):
            return service
    return "EC2"


def tag_list(tags: Mapping[str, Any] | None) -> list[Any]:
    """Tags in the form of the API."""
    return [{"Key": key, "Value": str(value)} for key, value in (tags or {}).items()]


def tag_map(tags: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Tags as a mapping, without AWS's own."""
    return {tag["Key"]: tag["Value"] for tag in tags or () if not tag["Key"].startswith("aws:")}


def read_tags(tags: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    """The two tag properties of a resource that was read."""
    found = tag_map(tags)
    return {"tags": found, "tagsAll": found}
