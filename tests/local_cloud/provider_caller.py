"""Speaks to a provider as the engine does, without an engine: for what needs many calls and no program."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from geusemaker.local_cloud.providers.wire import decode, encode


@dataclass(frozen=True)
class Known:
    """A resource as the engine's state has it."""

    token: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class ProviderCaller:
    """One connection to a provider on loopback, attached and configured."""

    def __init__(self, port: int, config: Mapping[str, Any] | None = None, engine_address: str = "") -> None:
        # The engine's limits: 400 MB a message, 16 MB of headers (grpc-go's default), which errors travel in.
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", 400 << 20),
            ("grpc.max_metadata_size", 16 << 20),
            ("grpc.absolute_max_metadata_size", 16 << 20),
        ]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.stub = provider_pb2_grpc.ResourceProviderStub(self._channel)
        self.stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address=engine_address))
        self.stub.Attach(plugin_pb2.PluginAttach(address=engine_address))
        self.stub.Configure(provider_pb2.ConfigureRequest(args=encode(config or {})))

    def close(self) -> None:
        self._channel.close()

    def check(self, token: str, news: Mapping[str, Any], olds: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Checked inputs; fails on any failure of the check."""
        request = provider_pb2.CheckRequest(
            urn=urn(token), olds=encode(olds or {}), news=encode(news), randomSeed=secrets.token_bytes(8)
        )
        response = self.stub.Check(request)
        assert not response.failures, response.failures
        return decode(response.inputs)

    def create(self, token: str, news: Mapping[str, Any]) -> Known:
        inputs = self.check(token, news)
        response = self.stub.Create(provider_pb2.CreateRequest(urn=urn(token), properties=encode(inputs)))
        return Known(token, response.id, inputs, decode(response.properties))

    def diff(self, known: Known, news: Mapping[str, Any]) -> provider_pb2.DiffResponse:
        response: provider_pb2.DiffResponse = self.stub.Diff(
            provider_pb2.DiffRequest(
                id=known.id,
                urn=urn(known.token),
                olds=encode(known.outputs),
                old_inputs=encode(known.inputs),
                news=encode(self.check(known.token, news, known.inputs)),
            )
        )
        return response

    def update(self, known: Known, news: Mapping[str, Any], *, preview: bool = False) -> Known:
        inputs = self.check(known.token, news, known.inputs)
        response = self.stub.Update(
            provider_pb2.UpdateRequest(
                id=known.id,
                urn=urn(known.token),
                olds=encode(known.outputs),
                old_inputs=encode(known.inputs),
                news=encode(inputs),
                preview=preview,
            )
        )
        return Known(known.token, known.id, inputs, decode(response.properties))

    def read(self, known: Known) -> Known | None:
        """The resource read again, ``None`` when it is gone."""
        response = self.stub.Read(
            provider_pb2.ReadRequest(
                id=known.id, urn=urn(known.token), properties=encode(known.outputs), inputs=encode(known.inputs)
            )
        )
        if not response.id:
            return None
        return Known(known.token, response.id, decode(response.inputs), decode(response.properties))

    def import_(self, token: str, resource_id: str) -> Known | None:
        """A resource read by nothing but its id."""
        return self.read(Known(token, resource_id, {}, {}))

    def invoke(self, token: str, **arguments: Any) -> dict[str, Any]:
        """What a function answers; fails with the error that the provider raises."""
        response = self.stub.Invoke(provider_pb2.InvokeRequest(tok=token, args=encode(arguments)))
        return decode(getattr(response, "return"))

    def delete(self, known: Known) -> None:
        self.stub.Delete(
            provider_pb2.DeleteRequest(id=known.id, urn=urn(known.token), properties=encode(known.outputs))
        )


def urn(token: str) -> str:
    """The URN of a resource called ``thing``."""
    return f"urn:pulumi:test::test::{token}::thing"
