"""The socket and what is served on it: who may listen how, and how long clients may take."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from reconciler.addresses import is_loopback
from reconciler.engine.config import EngineConfig, HttpLimits
from reconciler.engine.tls import Certificate
from reconciler.errors import ReconcilerError, UsageError

__all__ = ["answering", "listen", "url_of"]

# Starting to answer takes milliseconds once the socket is open.
START_LIMIT_S = 30.0

# How long open connections may hold up the end of an engine whose deployments have ended.
CLOSE_LIMIT_S = 3

# A peer that takes nothing of what it is sent is given up.
UNSENT_LIMIT_MS = 60_000

# Of the descriptors that this process may have, connections get half: files need the others.
_SHARE = 2


@contextmanager
def listen(config: EngineConfig) -> Iterator[socket.socket]:
    """Give the open socket; UsageError where it cannot be, or should not be without TLS."""
    if not is_loopback(config.host) and config.tls is None and not config.insecure_listen:
        raise UsageError(
            f"{config.host} is not this machine alone, and without TLS tokens and secrets can be "
            "read on the way: give --tls-certificate and --tls-key, or listen on 127.0.0.1 behind "
            "a proxy with TLS, or say --insecure-listen where the network itself is safe"
        )
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections have it from their listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_LIMIT_MS)
        # An answer goes out in two pieces, and the second one must not wait until the client has
        # said that it has the first: that takes a client 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        message = f"cannot listen on {config.host}:{config.port}: {error.strerror}"
        raise UsageError(message) from error
    with listener:
        yield listener


def url_of(config: EngineConfig, listener: socket.socket) -> str:
    """Return where the engine answers."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    scheme = "http" if config.tls is None else "https"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


@contextmanager
def answering(
    app: Starlette,
    listener: socket.socket,
    config: EngineConfig,
    closing: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[float], bool]]:
    """Serve an application within; UsageError where the certificate is none.

    What it gives says whether the server's loop has taken a turn within so many seconds.

    `closing` is called in the server's loop when it begins to end, to end answers that go on.
    """
    settings = _Config(
        app,
        http=_Connection,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        # Whom to believe about addresses, the guard knows.
        proxy_headers=False,
        timeout_graceful_shutdown=CLOSE_LIMIT_S,
    )
    settings.limits = config.http
    settings.closing = closing
    settings.load()
    if config.tls is not None:
        settings.ssl = Certificate(config.tls).context()
    server = _Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), name="http")
    thread.start()
    try:
        if not server.answers.wait(START_LIMIT_S):
            raise ReconcilerError("the engine's HTTP server did not start")
        yield server.turns
    finally:
        server.should_exit = True
        thread.join()


class _Config(uvicorn.Config):
    """The server's settings, with the limits of its connections."""

    limits: HttpLimits
    closing: Callable[[], None]
    ssl: ssl.SSLContext | None


class _Server(uvicorn.Server):
    """Tells when it answers, and leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.answers.set()

    def turns(self, limit_s: float) -> bool:
        """Whether the loop takes a turn within a time; may be asked by any thread."""
        turned = threading.Event()
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(limit_s)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, and drop those connections that are still there after the time for it."""
        cast("_Config", self.config).closing()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # A dropped connection is closed by the loop's next turn, which would not come any more.
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """A connection whose client has to be done with its request in time.

    The server bounds how long a connection may wait for a next request, and not how long the
    first one may take, nor one that has begun to come.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = cast("_Config", self.config).limits
        self._awaited: object = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, or drop it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > most_connections(self._limits):
            transport.abort()
            return
        self._await("head", self._limits.head_s)

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        super().data_received(data)
        # Before the first request there is none, whatever the server's own types say.
        cycle: object = self.cycle
        if isinstance(cycle, RequestResponseCycle) and not cycle.response_complete:
            self._await(cycle if cycle.more_body else None, self._limits.body_s)
        else:
            self._await("head", self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._await(None, 0)
        super().connection_lost(exc)

    def _await(self, what: object, limit_s: float) -> None:
        """Give the client so long for what it is to send; for the same thing only once."""
        if what is self._awaited:
            return
        self._awaited = what
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if what is not None:
            self._deadline = self.loop.call_later(limit_s, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()


def most_connections(limits: HttpLimits) -> int:
    """Return how many connections there may be at once, with the descriptors that there are."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return limits.connections
    return max(1, min(limits.connections, descriptors // _SHARE))
