"""Connections: how they are accepted, how many, how long they may be silent, and how they end.

grpclib accepts whoever comes, with the certificates of its start, and its keepalive cannot end a connection with unsent bytes
(envoy-observed.md, trap 7). So it is given connections that we have accepted, counted and shaken hands with, and that we watch:
whoever sends nothing, not even the answer to a ping, is gone, and whoever opens no stream is not wanted.

Its exact version is pinned for the private attributes that this module touches. It must not know what a stream says.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import grpclib.server
import structlog
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from controlplane.xds.http2 import Handler, Protocol
from controlplane.xds.refusals import Refusals
from controlplane.xds.settings import Settings

Count = Callable[[str], None]
ContextOfNow = Callable[[], ssl.SSLContext | None]

_BACKLOG: Final = 1024
_FLUSH_SECONDS: Final = 1.0
"""For the last words to a client that is sent away."""
_PAUSE_SECONDS: Final = 0.5
"""After the system had no socket for us."""
log = structlog.get_logger(__name__)


class ClientConnection(Protocol):
    """One client's connection, watched.

    Attributes:
        streams: Streams of proxies that are open on it.
        ended: Why we ended it; empty while we have not.
    """

    def __init__(self, server: Server, handler: Any, config: Any, h2_config: Any) -> None:
        super().__init__(handler, config, h2_config)
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._ping_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self.streams = 0
        self.ended = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is accepted, and encrypted where it has to be."""
        self._transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self.connection.client = self  # type: ignore[attr-defined]
        settings = self._server.settings
        # Twice what is allowed: a client that keeps to what it is told would wait for ever, unanswered, instead of being told.
        most = {SettingCodes.MAX_CONCURRENT_STREAMS: 2 * settings.max_connection_streams}
        self.connection._connection.update_settings(most)  # type: ignore[arg-type]
        self.connection.flush()
        self._heard = self._loop.time()
        self._ping_timer = self._loop.call_later(settings.keepalive_seconds, self._ping)
        self._idle_timer = self._loop.call_later(settings.idle_seconds, self._look_whether_idle)
        self._server.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        for timer in (self._ping_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._server.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What the client sends; whatever it is, nothing worse comes of it than this connection's end."""
        self._heard = self._loop.time()
        super().data_received(data)

    def broken(self, reason: str) -> None:
        """The client was sent away for what it sent."""
        self.ended = self.ended or reason
        self._server.count("connections_broken")
        self._server.refusals.tell("connection_broken", reason, address=self.address)

    @property
    def address(self) -> str:
        """``host:port`` of the client; empty when it is gone."""
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")

    def certificate(self) -> bytes | None:
        """The client's certificate (DER), verified; None where it was not asked for one."""
        tls = self._transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    def abort(self, reason: str) -> None:
        """Ends it now, unsent bytes and all; ``close`` would wait for the client to read them."""
        self.ended = self.ended or reason
        self._transport.abort()

    def dismiss(self, reason: str) -> None:
        """Ends it with a word to the client, who may not be listening."""
        self.ended = self.ended or reason
        if not self._transport.is_closing():
            h2_connection = self.connection._connection
            h2_connection.close_connection(ErrorCodes.NO_ERROR, additional_data=reason.encode("ascii", "replace"))
            self.connection.flush()
            self._transport.close()
        self._loop.call_later(_FLUSH_SECONDS, self._transport.abort)

    def _ping(self) -> None:
        """Asks for a sign of life once nothing was heard for long enough."""
        if self._transport.is_closing():
            return
        settings = self._server.settings
        silent = self._loop.time() - self._heard
        if silent < settings.keepalive_seconds:
            self._ping_timer = self._loop.call_later(settings.keepalive_seconds - silent, self._ping)
            return
        self._server.count("pings")
        self.connection._connection.ping(bytes(8))
        self.connection.flush()
        timeout = settings.keepalive_timeout_seconds
        self._ping_timer = self._loop.call_later(timeout, self._look_whether_alive, self._heard)

    def _look_whether_alive(self, heard: float) -> None:
        if self._heard > heard:
            self._ping()
            return
        self._server.count("connections_silent")
        self.abort(f"the client did not answer a ping for {self._server.settings.keepalive_timeout_seconds:g} s")

    def _look_whether_idle(self, was_idle: bool = True) -> None:
        """A connection that had no stream at two looks in a row, its beginning included, is not wanted."""
        idle_seconds = self._server.settings.idle_seconds
        is_idle = not self.processor.streams
        if is_idle and was_idle:
            self._server.count("connections_idle")
            self.dismiss(f"the connection had no stream for {idle_seconds:g} s")
            return
        self._idle_timer = self._loop.call_later(idle_seconds, self._look_whether_idle, is_idle)


class Acceptor:
    """Accepts connections; in the form in which grpclib keeps an ``asyncio.Server``."""

    def __init__(self, server: Server, sockets: list[socket.socket], context: ContextOfNow) -> None:
        self._server = server
        self._context = context
        self._loop = asyncio.get_running_loop()
        self.port: int = sockets[0].getsockname()[1]
        self._listening = [self._listen(listener) for listener in sockets]
        self._greeting: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Takes no new connection, nor one that has not finished its handshake."""
        for task in (*self._listening, *self._greeting):
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns once nobody listens any more."""
        await asyncio.gather(*self._listening, *self._greeting, return_exceptions=True)

    @property
    def open_count(self) -> int:
        """Connections, those that shake hands included."""
        return len(self._server.connections) + len(self._greeting)

    def _listen(self, listener: socket.socket) -> asyncio.Task[None]:
        """The socket is closed when its task ends, no sooner: the loop looks at it until then."""
        task = self._loop.create_task(self._accept(listener))
        task.add_done_callback(lambda _: listener.close())
        return task

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:  # else the client has gone again
                    remedy = "raise the limit of open files"
                    self._server.refusals.tell("connections_not_accepted", str(error.strerror), remedy=remedy)
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._server.count("connections")
            limit = self._server.settings.max_connections
            if self.open_count >= limit:
                client.close()
                self._server.count("connections_refused")
                self._server.refusals.tell("connection_refused", f"{limit} connections are open, which is the limit")
                continue
            greeting = self._loop.create_task(self._greet(client))
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, client: socket.socket) -> None:
        """Hands a connection to grpclib, once it is encrypted."""
        context = self._context()
        address = ""
        try:
            address = "{}:{}".format(*client.getpeername()[:2])
            seconds = self._server.settings.handshake_seconds if context is not None else None
            await self._loop.connect_accepted_socket(
                self._server.make_connection, client, ssl=context, ssl_handshake_timeout=seconds
            )
        except asyncio.CancelledError:
            client.close()
            raise
        except (OSError, ValueError) as error:
            client.close()
            if context is not None:
                self._server.count("handshakes_failed")
                self._server.refusals.tell("handshake_failed", _reason(error), address=address)


def _reason(error: Exception) -> str:
    """What went wrong, without the line of the C source at which it did."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).lower().replace("_", " ")
    return str(error) or type(error).__name__


class Server(grpclib.server.Server):
    """A grpclib server around these connections.

    Args:
        handlers: Services, as grpclib takes them.
        settings: Limits and times.
        count: Told of what happens to connections.
        refusals: Where it is logged.
        context: For a new connection; None is plaintext.
        arguments: Further ones of grpclib's.
    """

    def __init__(
        self,
        handlers: Any,
        settings: Settings,
        count: Count,
        refusals: Refusals,
        context: ContextOfNow = lambda: None,
        **arguments: Any,
    ) -> None:
        super().__init__(handlers, config=settings.grpc_configuration(), **arguments)
        self.settings = settings
        self.count = count
        self.refusals = refusals
        self.connections: set[ClientConnection] = set()
        self._context = context
        self._acceptor: Acceptor | None = None
        self._h2_config.validate_inbound_headers = True

    async def listen(self, host: str, port: int) -> int:
        """Listens on every address of a host; the port.

        Raises:
            OSError: An address cannot be had.
        """
        self._acceptor = Acceptor(self, await _bind(host, port), self._context)
        self._server = cast("asyncio.AbstractServer", self._acceptor)
        self._server_closed_fut = asyncio.get_running_loop().create_future()
        return self._acceptor.port

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            RuntimeError: It does not listen.
        """
        if self._acceptor is None:
            raise RuntimeError("the xDS server does not listen")
        return self._acceptor.port

    @property
    def open_count(self) -> int:
        """Connections, those that shake hands included."""
        return self._acceptor.open_count if self._acceptor is not None else 0

    def make_connection(self) -> ClientConnection:
        """A protocol for the next connection."""
        self.__gc_step__()
        handler = Handler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        self._handlers.add(handler)
        return ClientConnection(self, handler, self._config, self._h2_config)

    def stop_listening(self) -> None:
        """Takes no new connection; those that are open go on."""
        if self._acceptor is not None:
            self._acceptor.close()

    def abort_connections(self) -> None:
        """Ends what is still open, without waiting for unsent bytes."""
        for connection in tuple(self.connections):
            connection.abort("the control plane is shutting down")


async def _bind(host: str, port: int) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
    except BaseException:
        for listener in sockets:
            listener.close()
        raise
    return sockets
