"""The stand-in for ``pulumi-resource-command`` 1.2.1.

Differences that are on purpose: no ``proxy`` (an error), no ``local`` resources, no copies of files. Variables of
``environment`` are judged as a stock sshd with Debian's ``AcceptEnv LANG LC_*`` judges them, without asking the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2

from geusemaker.local_cloud.providers import wire
from geusemaker.local_cloud.providers.command.ssh import CommandRequest, Connection, SshLoop
from geusemaker.local_cloud.providers.diff import plain_changes
from geusemaker.local_cloud.providers.server import (
    EitherEvent,
    EngineSession,
    Provider,
    ProviderError,
    diff_response,
    gone_event,
    reply,
    version_of,
)

COMMAND: Final = "command:remote:Command"

_CONNECTION_DEFAULTS: Final = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
_OUTPUTS: Final = ("stdout", "stderr")
_LOGGINGS: Final = ("stdout", "stderr", "stdoutAndStderr", "none")


class CommandProvider(Provider):
    """Remote commands over SSH."""

    def __init__(self) -> None:
        super().__init__(version_of("pulumi_command"))
        self._ssh = SshLoop()

    def close(self) -> None:
        self._ssh.close()

    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        def action() -> provider_pb2.CheckResponse:
            _known(request.urn)
            inputs, failures = check(wire.decode(request.news))
            return provider_pb2.CheckResponse(inputs=wire.encode(inputs), failures=failures)

        response: provider_pb2.CheckResponse = reply(context, action)
        return response

    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        def action() -> provider_pb2.DiffResponse:
            olds, news = wire.decode(request.olds), wire.decode(request.news)
            news.update({name: olds[name] for name in request.ignoreChanges if name in olds})
            found = plain_changes(wire.decode(request.old_inputs), news, replaces=("triggers",))
            return diff_response(found, delete_before_replace=False)

        response: provider_pb2.DiffResponse = reply(context, action)
        return response

    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        def action() -> provider_pb2.CreateResponse:
            inputs = wire.decode(request.properties)
            resource_id = request.urn.split("::", 3)[3] + secrets.token_hex(4)
            if request.preview:
                outputs = {**inputs, **dict.fromkeys(_OUTPUTS, wire.UNKNOWN)}
                return provider_pb2.CreateResponse(properties=wire.encode(outputs))
            outputs = self._apply(context, request.urn, inputs, inputs.get("create"), {})
            return provider_pb2.CreateResponse(id=resource_id, properties=wire.encode(outputs))

        response: provider_pb2.CreateResponse = reply(context, action)
        return response

    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        def action() -> provider_pb2.UpdateResponse:
            olds, news = wire.decode(request.olds), wire.decode(request.news)
            news.update({name: olds[name] for name in request.ignoreChanges if name in olds})
            previous = {name: olds.get(name, "") for name in _OUTPUTS}
            if request.preview:
                if _is_rerun(olds, news):
                    previous = dict.fromkeys(previous, wire.UNKNOWN)
                return provider_pb2.UpdateResponse(properties=wire.encode({**news, **previous}))
            command = news.get("update", news.get("create"))
            outputs = self._apply(context, request.urn, news, command, previous)
            return provider_pb2.UpdateResponse(properties=wire.encode(outputs))

        response: provider_pb2.UpdateResponse = reply(context, action)
        return response

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        def action() -> empty_pb2.Empty:
            state = wire.decode(request.properties)
            if state.get("delete") is not None:
                previous = {name: state.get(name, "") for name in _OUTPUTS}
                self._apply(context, request.urn, state, state["delete"], previous)
            return empty_pb2.Empty()

        response: empty_pb2.Empty = reply(context, action)
        return response

    def _apply(
        self,
        context: grpc.ServicerContext,
        urn: str,
        inputs: dict[str, Any],
        command: str | None,
        previous: dict[str, Any],
    ) -> dict[str, Any]:
        """Do the work of one operation and return the resource's new state."""
        if command is None:
            return {**inputs, **{name: previous.get(name, "") for name in _OUTPUTS}}
        session = self.session(context)
        gone = gone_event(context)
        connection = _connection(inputs)
        with (
            _engine_log(session, urn) as log,
            self._ssh.connect(connection, EitherEvent(session.cancelled, gone), log.status) as dialled,
        ):
            logging = inputs.get("logging")
            output = self._ssh.execute(
                dialled,
                CommandRequest(
                    command=command,
                    stdin=inputs.get("stdin", ""),
                    environment=_environment(inputs, previous, log),
                    log_stdout=logging in (None, "stdout", "stdoutAndStderr"),
                    log_stderr=logging in (None, "stderr", "stdoutAndStderr"),
                ),
                gone,
                log.status,
            )
        return {**inputs, "stdout": output.stdout, "stderr": output.stderr}


def check(news: dict[str, Any]) -> tuple[dict[str, Any], list[provider_pb2.CheckFailure]]:
    """Inputs with defaults filled in and secrets marked, and what is wrong with them."""
    failures = []
    if "connection" not in news:
        failures.append(
            provider_pb2.CheckFailure(property="connection", reason="Missing required property 'connection'")
        )
    connection = news.get("connection")
    inputs = dict(news)
    if isinstance(connection, dict):
        if "host" not in connection:
            failures.append(
                provider_pb2.CheckFailure(property="connection.host", reason="Missing required property 'host'")
            )
        inputs["connection"] = wire.Secret({**_CONNECTION_DEFAULTS, **connection})
    elif connection is not None:
        inputs["connection"] = wire.Secret(connection)
    if news.get("logging", "none") not in _LOGGINGS and not wire.contains_unknown(news["logging"]):
        failures.append(provider_pb2.CheckFailure(property="logging", reason=f"must be one of {', '.join(_LOGGINGS)}"))
    return inputs, failures


class _EngineLog:
    """Messages to the engine about one resource."""

    def __init__(self, stub: engine_pb2_grpc.EngineStub | None, urn: str) -> None:
        self._stub = stub
        self._urn = urn

    def status(self, message: str) -> None:
        """A line of progress: shown live and streamed as an ephemeral diagnostic, not kept in the final output."""
        self._send(engine_pb2.INFO, message, ephemeral=True)

    def warning(self, message: str) -> None:
        self._send(engine_pb2.WARNING, message, ephemeral=False)

    def error(self, message: str) -> None:
        self._send(engine_pb2.ERROR, message, ephemeral=False)

    def _send(self, severity: engine_pb2.LogSeverity.ValueType, message: str, *, ephemeral: bool) -> None:
        if self._stub is None:
            return
        try:
            self._stub.Log(
                engine_pb2.LogRequest(severity=severity, message=message, urn=self._urn, ephemeral=ephemeral),
                timeout=10,
            )
        except grpc.RpcError:
            # The engine is gone. The command goes on all the same, as with the real provider.
            self._stub = None


@contextmanager
def _engine_log(session: EngineSession, urn: str) -> Iterator[_EngineLog]:
    if not session.engine_address:
        yield _EngineLog(None, urn)
        return
    with grpc.insecure_channel(session.engine_address) as channel:
        yield _EngineLog(engine_pb2_grpc.EngineStub(channel), urn)


def _environment(inputs: dict[str, Any], previous: dict[str, Any], log: _EngineLog) -> tuple[tuple[str, str], ...]:
    accepted: list[tuple[str, str]] = []
    for name, value in sorted((inputs.get("environment") or {}).items()):
        if not _is_accepted(name):
            log.error(_refused(name))
            raise ProviderError(f'could not set environment variable "{name}": ssh: setenv failed')
        accepted.append((name, value))
    if inputs.get("addPreviousOutputInEnv", True):
        for name, variable in (("stdout", "PULUMI_COMMAND_STDOUT"), ("stderr", "PULUMI_COMMAND_STDERR")):
            if previous.get(name):
                log.warning(_refused(variable))
    return tuple(accepted)


def _is_accepted(name: str) -> bool:
    return name == "LANG" or name.startswith("LC_")


def _refused(name: str) -> str:
    return (
        f"Unable to set '{name}'. This only works if your SSH server is configured to accept\n"
        "\tthese variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, "
        "you could\n\tprefix the command itself with the variables in the form 'VAR=value command'"
    )


def _connection(inputs: dict[str, Any]) -> Connection:
    connection = inputs["connection"]
    if connection.get("proxy") is not None:
        raise ProviderError("proxy: the local cloud connects to its instances directly and knows no proxies")
    return Connection.from_inputs({**_CONNECTION_DEFAULTS, **connection})


def _is_rerun(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    return any(wire.contains_unknown(value) or (name in olds and olds[name] != value) for name, value in news.items())


def _known(urn: str) -> None:
    token = urn.split("::")[2].split("$")[-1]
    if token != COMMAND:
        raise ProviderError(f"the local cloud's command provider does not know the resource type {token}")
