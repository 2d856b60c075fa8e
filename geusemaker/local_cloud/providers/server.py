"""The gRPC side that both stand-ins share: attaching to engines, and telling engines apart."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from geusemaker.local_cloud.access import belongs_to_owner
from geusemaker.local_cloud.providers import wire
from geusemaker.local_cloud.providers.diff import Change

log = logging.getLogger(__name__)

# Commands hold a thread for as long as they run. Threads are made as they are needed.
_MAX_THREADS: Final = 64
_SESSIONS_KEPT: Final = 256
# The engine sends whole states in one message (pulumi/sdk/go/common/util/rpcutil: 400 MB).
_MESSAGE_LIMIT: Final = 400 * 1024 * 1024


@dataclass
class EngineSession:
    """One engine's connection to a provider: where the engine listens, and what it configured.

    Several engines may be attached at the same time; each has a connection of its own.
    """

    engine_address: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)


class EitherEvent(threading.Event):
    """Set when either of two events is; only waiting and asking are supported."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self._events = (first, second)

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    def wait(self, timeout: float | None = None) -> bool:
        first, second = self._events
        return second.is_set() or first.wait(timeout) or second.is_set()


def gone_event(context: grpc.ServicerContext) -> threading.Event:
    """Set when nobody waits for the call's answer any more: the engine was killed, or the call is over."""
    gone = threading.Event()
    if not context.add_callback(gone.set):
        gone.set()
    return gone


class ProviderError(Exception):
    """An operation failed; the message goes to the operator as it is.

    Args:
        message: what the real provider would say.
        reported_id, outputs, inputs: when given, the resource exists nevertheless and the engine saves this as its
            state, to be updated by the next run.
    """

    def __init__(
        self,
        message: str,
        *,
        reported_id: str = "",
        outputs: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.reported_id = reported_id
        self.outputs = outputs
        self.inputs = inputs


class ProviderServer:
    """A provider listening on loopback until closed.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, servicer: Provider, port: int, name: str) -> None:
        self._servicer = servicer
        self._server = grpc.server(
            ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix=f"{name}-provider"),
            interceptors=[_OwnersOnly(lambda: self.port)],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
                ("grpc.max_send_message_length", _MESSAGE_LIMIT),
                ("grpc.so_reuseport", 0),
            ],
        )
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, self._server)
        try:
            self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        except RuntimeError as error:
            raise OSError(f"the {name} provider cannot listen on 127.0.0.1:{port}") from error
        self._server.start()

    def close(self, grace: float = 0.5) -> None:
        """Stop listening; calls under way get ``grace`` seconds."""
        self._server.stop(grace).wait()
        self._servicer.close()


class _OwnersOnly(grpc.ServerInterceptor):
    """Turns other users of the machine away: an attached engine has no way to show a key."""

    def __init__(self, own_port: Callable[[], int]) -> None:
        self._own_port = own_port

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:  # the protocol has no other kind
            return None

        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            _, _, address = context.peer().partition(":")  # ipv4:127.0.0.1:40000
            host, _, port = address.rpartition(":")
            if not (port.isdigit() and belongs_to_owner((host, int(port)), self._own_port())):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this local cloud is another user's")
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Everything that does not depend on what is provided."""

    accepts_names = False
    """Whether names that the engine proposes (``pulumi:autonaming``) are taken."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._sessions: OrderedDict[str, EngineSession] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of what the provider holds; called once, when its server closes."""

    def session(self, context: grpc.ServicerContext) -> EngineSession:
        """The session of the engine that is calling."""
        peer = context.peer()
        with self._lock:
            session = self._sessions.get(peer)
            if session is None:
                # grpc-go reconnects after half an hour without a call, from another port.
                latest = next(reversed(self._sessions.values()), None)
                session = latest if latest is not None and not latest.cancelled.is_set() else EngineSession()
                self._remember(peer, session)
            return session

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        self._open(context, request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(supports_autonaming_configuration=self.accepts_names)

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._open(context, request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        session = self.session(context)
        session.config = wire.decode(request.args)
        session.cancelled = threading.Event()
        # Without secrets, resources and outputs the engine strips them from what it sends, and marks outputs that
        # are called like a secret input as secret again.
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=self.accepts_names
        )

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        # The engine says this at the end of every run; an attached provider stays.
        self.session(context).cancelled.set()
        return empty_pb2.Empty()

    def _open(self, context: grpc.ServicerContext, engine_address: str) -> None:
        peer = context.peer()
        with self._lock:
            session = self._sessions.get(peer)
            if session is None or session.cancelled.is_set():
                session = EngineSession()
                self._remember(peer, session)
            session.engine_address = engine_address or session.engine_address

    def _remember(self, peer: str, session: EngineSession) -> None:
        self._sessions[peer] = session
        while len(self._sessions) > _SESSIONS_KEPT:
            self._sessions.popitem(last=False)


def version_of(distribution: str) -> str:
    """The version of an installed SDK: the engine insists on a provider at least as new as the program's SDK."""
    return importlib.metadata.version(distribution)


def unexpected(error: Exception) -> str:
    """Log a defect of the stand-in and return what the operator sees of it."""
    if isinstance(error, ProviderError):
        return str(error)
    log.error("a call of the engine failed unexpectedly", exc_info=error)
    return f"local cloud: {type(error).__name__}: {error}"


def reply(context: grpc.ServicerContext, action: Callable[[], Any]) -> Any:
    """Run a call; an error of ours becomes the gRPC status that the engine shows as it is."""
    try:
        return action()
    except ProviderError as error:
        if error.reported_id:
            _report_partial(context, error)
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    except Exception as error:
        context.abort(grpc.StatusCode.INTERNAL, unexpected(error))


def _report_partial(context: grpc.ServicerContext, error: ProviderError) -> None:
    """Tell the engine that the resource exists although the operation failed, so that it is kept in the state."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.reported_id,
        properties=wire.encode(error.outputs or {}),
        inputs=wire.encode(error.inputs or {}),
        reasons=[str(error)],
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))


def diff_response(found: Iterable[Change], delete_before_replace: bool) -> provider_pb2.DiffResponse:
    """Changes in the form the engine wants them."""
    listed = list(found)
    kinds = {
        ("add", False): provider_pb2.PropertyDiff.ADD,
        ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
        ("delete", False): provider_pb2.PropertyDiff.DELETE,
        ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
        ("update", False): provider_pb2.PropertyDiff.UPDATE,
        ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
    }
    replaces = sorted({change.property for change in listed if change.replaces})
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if listed else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({change.property for change in listed}),
        replaces=replaces,
        detailedDiff={
            change.path: provider_pb2.PropertyDiff(kind=kinds[change.kind, change.replaces], inputDiff=True)
            for change in listed
        },
        hasDetailedDiff=True,
        deleteBeforeReplace=bool(replaces) and delete_before_replace,
    )
