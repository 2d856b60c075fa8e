"""Local ports that lead to the services on an instance's loopback, over SSH, for as long as they are wanted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from geusemaker.errors import EnvironmentProblemError, GeusemakerError, HostError
from geusemaker.host.connection import Login, why

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_INSTANCE: Final = "127.0.0.1"
_HERE: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""Both, since a name like localhost may be either, and one of them could be somebody else's."""
_ANY: Final = (0, 0, 0)
"""Any free port; what is free on one of the addresses need not be on the other."""
_CHUNK: Final = 65536
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect again; the first comes after one, each later after twice as many."""
_PATIENCE: Final = 20.0
"""For how many seconds somebody who connects here waits for a connection that is being made again."""


class Forward(NamedTuple):
    """One way through the tunnel."""

    service: str
    port: int
    """On the instance."""
    http: bool
    local: int | None = None
    """The port wanted here; None: the same as there, or any other that is free."""


class Tell(Protocol):
    """Is told in a sentence what becomes of the tunnel; ``bad``: it does not work now."""

    def __call__(self, text: str, *, bad: bool) -> None: ...


class Tunnel(Mapping[str, str]):
    """Service → its address here: ``http://localhost:5678``, or ``localhost:5432`` for what does not speak HTTP.

    It stands inside a ``with``. A connection that is lost is made again, at longer and longer intervals up to 30 s; the
    addresses stay. Whoever is on this machine can use them meanwhile.
    """

    def __init__(self, login: Login, forwards: Sequence[Forward], find: Callable[[], Login], tell: Tell) -> None:
        self._login = login
        self._forwards = forwards
        self._find = find
        self._tell = tell
        self._addresses: dict[str, str] = {}
        self._silent: set[str] = set()
        self._failure: GeusemakerError | None = None
        self._over = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connected = asyncio.Event()
        self._servers: list[asyncio.Server] = []

    def __getitem__(self, service: str) -> str:
        return self._addresses[service]

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def silent(self) -> tuple[str, ...]:
        """The services that nobody answered for on the instance when they were last asked."""
        return tuple(sorted(self._silent))

    def wait(self) -> None:
        """Wait until the tunnel cannot go on, or for Ctrl-C.

        Raises:
            HostError: the instance takes the key no more, or is another one.
        """
        self._over.wait()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self._serve, name="geusemaker-tunnel", daemon=True).start()
        try:
            self._do(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._addresses = {}
        self._over.set()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._login.release()

    # -- the loop in its thread

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        self._connection = await self._login.connect()
        self._connected.set()
        for forward in self._forwards:
            port = await self._listen(forward)
            self._addresses[forward.service] = f"{'http://' if forward.http else ''}localhost:{port}"
        await asyncio.gather(*(self._knock(forward) for forward in self._forwards))
        self._keeping = asyncio.ensure_future(self._keep())

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()

    # -- this end

    async def _listen(self, forward: Forward) -> int:
        wanted = (forward.port, *_ANY) if forward.local is None else (forward.local,)
        for port in wanted[:-1]:
            with contextlib.suppress(OSError):
                return await self._listen_on(forward, port)
        try:
            return await self._listen_on(forward, wanted[-1])
        except OSError as error:
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({why(error)})"
            raise EnvironmentProblemError(
                f"Port {wanted[-1] or forward.port} of this machine {taken}.",
                next_step="Give another --port, or leave it out: a free one is taken then.",
            ) from error

    async def _listen_on(self, forward: Forward, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._pass(forward, reader, writer)

        taken: list[socket.socket] = []
        try:
            for family, address in _HERE:
                try:
                    taken.append(_listening(family, address, port))
                except OSError as error:
                    if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                        raise
                    continue  # there is no such address on this machine
                port = taken[0].getsockname()[1]
            self._servers += [await asyncio.start_server(serve, sock=each) for each in taken]
        except OSError:
            for each in taken:
                each.close()
            raise
        return port

    # -- through it

    async def _pass(self, forward: Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                there = await self._reach(forward)
        except (HostError, TimeoutError) as error:
            if isinstance(error, HostError) and forward.service not in self._silent:
                self._tell(error.message, bad=True)
                self._silent.add(forward.service)
            # As a connection that is refused, and not as one that was answered with nothing.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        self._silent.discard(forward.service)
        answers, questions = there
        try:
            await asyncio.gather(_pump(reader, questions), _pump(answers, writer))
        finally:
            questions.close()
            writer.close()

    async def _reach(self, forward: Forward) -> tuple[Any, Any]:
        import asyncssh

        while True:
            await self._connected.wait()
            connection = self._connection
            assert connection is not None
            try:
                return await connection.open_connection(_INSTANCE, forward.port)
            except (OSError, asyncssh.Error) as error:
                if connection is self._connection and not connection.is_closed():
                    message = f"{forward.service} does not answer on the instance ({why(error)})."
                    raise HostError(message, code="refused") from error
            if connection is self._connection:  # it was lost; who keeps the connection makes another
                self._connected.clear()

    async def _knock(self, forward: Forward) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                _, questions = await self._reach(forward)
            questions.close()
        except (HostError, TimeoutError) as error:
            self._silent.add(forward.service)
            if isinstance(error, HostError):
                self._tell(error.message, bad=True)

    # -- the connection

    async def _keep(self) -> None:
        """Make the connection again whenever it is lost."""
        while True:
            assert self._connection is not None
            await self._connection.wait_closed()
            self._connected.clear()
            self._tell("The connection to the instance was lost; it is being made again.", bad=True)
            try:
                self._connection = await self._again()
            except GeusemakerError as error:
                self._failure = error
                self._over.set()
                return
            self._connected.set()
            self._tell("Connected to the instance again.", bad=False)

    async def _again(self) -> asyncssh.SSHClientConnection:
        pause = 1.0
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._login.connect()
            except HostError as error:
                if error.code != "unreachable":
                    await self._look_again(error)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _look_again(self, error: HostError) -> None:
        """The key or the instance may be another one since: ask; where neither is, there is no way on."""
        found = await asyncio.to_thread(self._find)
        if found == self._login:
            raise error
        self._login.release()
        self._login = found


def _listening(family: int, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(100)
    except OSError:
        made.close()
        raise
    return made


async def _pump(source: Any, sink: Any) -> None:
    """Hand on all that comes, then its end; a side that went away ends it, too."""
    import asyncssh

    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
