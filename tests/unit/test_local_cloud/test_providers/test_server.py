from __future__ import annotations

from typing import Any

import grpc
import pytest

from geusemaker.local_cloud.providers import serve_command, server
from tests.local_cloud.provider_caller import ProviderCaller


def test_another_user_of_the_machine_cannot_attach(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def somebody_else(peer: tuple[str, int], own_port: int) -> bool:
        asked.append((peer[0], own_port))
        return False

    running = serve_command()
    try:
        ProviderCaller(running.port).close()  # its owner can
        monkeypatch.setattr(server, "belongs_to_owner", somebody_else)
        with pytest.raises(grpc.RpcError) as refused:
            ProviderCaller(running.port)
    finally:
        running.close()
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert asked == [("127.0.0.1", running.port)]
