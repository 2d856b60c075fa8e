"""What the tests against real peers share: the engine, a moto server, stacks in folders of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from geusemaker.engine.binary import find_engine
from geusemaker.local_cloud import moto_backends, moto_gaps
from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.providers import ProviderServer, serve_aws
from geusemaker.models.doctor import EngineInfo
from tests.local_cloud.cloud_box import box, cloud, operator, own_cloud, own_operator  # noqa: F401 (fixtures)
from tests.local_cloud.provider_caller import ProviderCaller


@pytest.fixture(scope="session")
def pulumi_command() -> EngineInfo:
    """The real engine."""
    found = find_engine()
    if found is None:
        pytest.skip("no Pulumi engine on this machine")
    return found


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a lenient moto server of this test run's own, filled as the local cloud's."""
    moto_backends.load(tmp_path_factory.mktemp("moto") / "images.json")
    moto_gaps.fill()
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    moto, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """moto is not made for threads: now and then one of two first calls side by side failed."""
        with turn:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(moto_endpoint: str) -> Iterator[ProviderServer]:
    """The AWS stand-in, with moto behind it."""
    running = serve_aws(moto_endpoint, AccessKey("test", "test"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def aws(server: ProviderServer) -> Iterator[ProviderCaller]:
    """The AWS stand-in as the engine speaks to it."""
    caller = ProviderCaller(server.port)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def client(moto_endpoint: str) -> Callable[[str], Any]:
    """Makes a boto3 client of a service on the same moto: what somebody does past the stand-in."""

    def made(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=moto_endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    return made


@pytest.fixture(scope="module")
def ec2(client: Callable[[str], Any]) -> Any:
    return client("ec2")


@pytest.fixture(scope="module")
def subnet(ec2: Any) -> Any:
    return min(ec2.describe_subnets()["Subnets"], key=lambda item: str(item["AvailabilityZone"]))


@pytest.fixture(scope="module")
def ami(ec2: Any) -> str:
    images = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    return str(min(image["ImageId"] for image in images if image.get("RootDeviceName")))
