"""Backends that say who they are and what they were asked, and remember it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
from aiohttp import web

from .client import Tally

SLOW = "/slow"
"""A path that ends like this is answered when the backend is told to, and else never."""


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    """With its query."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""

    def document(self, backend: str) -> bytes:
        """What is answered."""
        return json.dumps(
            {"backend": backend, "method": self.method, "path": self.path, "headers": self.headers}
        ).encode()


class Backend:
    """An HTTP/1.1 server on a free port of a loopback address, WebSockets included. Made by ``serving``.

    Args:
        name: In the answer's ``x-backend``.
        answer_headers: Further headers of each answer.
    """

    def __init__(self, name: str, answer_headers: Iterable[tuple[str, str]] = ()) -> None:
        self.name = name
        self.port = 0
        self.status = 200
        """Of its answers from now on."""
        self.requests = Tally()
        self.last: deque[Seen] = deque(maxlen=100)
        self.watch: Callable[[Seen], None] = lambda _: None
        """Told of every request."""
        self.go_on = asyncio.Event()
        """Set, it lets slow answers go."""
        self.answer_headers = (("x-backend", name), *answer_headers)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        headers = tuple((name.decode().lower(), value.decode()) for name, value in request.raw_headers)
        seen = Seen(request.method, request.raw_path, headers)
        self.last.append(seen)
        self.requests.add()
        self.watch(seen)
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._talk(request)
        if request.path.endswith(SLOW):
            await self.go_on.wait()
        response = web.Response(status=self.status, body=seen.document(self.name), content_type="application/json")
        for name, value in self.answer_headers:
            response.headers.add(name, value)
        return response

    async def _talk(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{self.name}: {message.data}")
        return socket


class H2cBackend(asyncio.Protocol):
    """A connection to a server that speaks HTTP/2 without TLS from the first byte, and nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self._answer(event.stream_id, [(str(name), str(value)) for name, value in event.headers])
        self._transport.write(self._h2.data_to_send())

    def _answer(self, stream: int, headers: list[tuple[str, str]]) -> None:
        fields = dict(headers)
        body = Seen(fields[":method"], fields[":path"], tuple(headers)).document(self._name)
        own = [(":status", "200"), ("x-backend", self._name), ("content-length", str(len(body)))]
        self._h2.send_headers(stream, own)
        self._h2.send_data(stream, body, end_stream=True)


@asynccontextmanager
async def serving(backend: Backend, tls: ssl.SSLContext | None = None) -> AsyncIterator[Backend]:
    """The backend, listening; for HTTPS with ``tls``."""
    runner = web.ServerRunner(web.Server(backend.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        backend.port = runner.addresses[0][1]
        yield backend
    finally:
        backend.go_on.set()
        await runner.cleanup()


@asynccontextmanager
async def serving_all(*names: str) -> AsyncIterator[dict[str, Backend]]:
    """Backends of these names, by name."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(serving(Backend(name))) for name in names}


@asynccontextmanager
async def serving_h2c(name: str) -> AsyncIterator[int]:
    """An HTTP/2 backend's port."""
    server = await asyncio.get_running_loop().create_server(lambda: H2cBackend(name), "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port
