"""What the tests against real peers share: the engine, a moto server, stacks in folders of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geusemaker.engine.binary import find_engine
from geusemaker.local_cloud import moto_backends, moto_gaps
from geusemaker.models.result import EngineInfo
from tests.local_cloud.cloud_box import box, cloud, operator, own_cloud, own_operator  # noqa: F401 (fixtures)


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
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
