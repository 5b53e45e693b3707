"""Requests as they are written, byte for byte, and clients that never stop asking.

A client library would normalize what these tests are about (paths, Host headers, connections that are closed), so this one
writes what it is told and reads HTTP/1.1, no more.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import PATIENCE_S

Headers = Iterable[tuple[str, str]]

_CLOSED = (OSError, EOFError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Request:
    """What is asked."""

    host: str
    """The Host header; with a port where it is to have one."""
    path: str = "/"
    """With its query."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {self.host}", *(f"{n}: {v}" for n, v in self.headers)]
        if self.body:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    """0 where there was no answer: nobody listens, or the connection ended before."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)
    why: str = field(default="", compare=False)
    """Of no answer: the error."""

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """The one value of a header; None without it."""
        values = self.all(name)
        assert len(values) < 2, f"{name}: {values}"
        return values[0] if values else None

    @property
    def backend(self) -> str:
        """Which backend answered; the status, as text, where none did."""
        return self.header("x-backend") or str(self.status)

    @property
    def seen(self) -> dict[str, Any]:
        """The request as the backend saw it: ``method``, ``path``, ``headers``."""
        document: dict[str, Any] = json.loads(self.body)
        return document


NOTHING = Answer(0)


class Connection:
    """One connection to an Envoy, kept as long as Envoy keeps it.

    Args:
        port: Of 127.0.0.1.
        tls: For HTTPS; the server name is the Host of the first request.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.opened = 0
        """How often it had to be opened: once, unless Envoy closed it."""

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it; the next request opens another."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            # At once, also where the other side does not answer a TLS goodbye.
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    @property
    def certificate(self) -> bytes:
        """What the server showed, DER."""
        assert self._streams is not None
        found: bytes = self._streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found

    async def ask(self, request: Request) -> Answer:
        """The answer; one equal to ``NOTHING`` where there was none."""
        try:
            if self._streams is None:
                name = request.host.partition(":")[0] if self._tls is not None else None
                self._streams = await asyncio.open_connection(
                    "127.0.0.1", self._port, ssl=self._tls, server_hostname=name
                )
                self.opened += 1
            reader, writer = self._streams
            writer.write(request.encode())
            await writer.drain()
            answer = await _read(reader, request.method)
        except _CLOSED as error:
            await self.close()
            return Answer(0, why=repr(error))
        except BaseException:
            await self.close()
            raise
        if "close" in answer.all("connection"):
            await self.close()
        return answer


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = tuple((n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in head[1:] if line))
    answer = Answer(status, headers)
    if method == "HEAD" or status in (204, 304):
        return answer
    if "chunked" in answer.all("transfer-encoding"):
        body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        body = await reader.readexactly(int(answer.header("content-length") or 0))
    return Answer(status, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")


async def ask(port: int, request: Request, tls: ssl.SSLContext | None = None) -> Answer:
    """One request on a connection of its own."""
    async with asyncio.timeout(PATIENCE_S), Connection(port, tls) as connection:
        return await connection.ask(request)


class Tally:
    """A count that can be awaited."""

    def __init__(self) -> None:
        self.total = 0
        self._news = asyncio.Event()

    def add(self) -> None:
        """One more."""
        self.total += 1
        self._news.set()

    async def grow(self, by: int, patience_s: float = PATIENCE_S) -> None:
        """Returns once it has grown by so many from now."""
        await self.reach(self.total + by, patience_s)

    async def reach(self, total: int, patience_s: float = PATIENCE_S) -> None:
        """Returns once it is so many."""
        async with asyncio.timeout(patience_s):
            while self.total < total:
                self._news.clear()
                await self._news.wait()


class Traffic:
    """Clients in a closed loop, while the block lasts: each asks as soon as it has its answer and a short pause is over.

    Args:
        port: Of 127.0.0.1.
        requests: Asked in turn.
        clients: How many ask at once.
        tls: For HTTPS.
        fresh: Whether each request opens a connection, and so shakes hands anew.
        pause_s: Between an answer and the next request: two cores have to do with it.
        watch: Told of every answer, with the request and the connection that it came on, while that is still open.
    """

    def __init__(
        self,
        port: int,
        *requests: Request,
        clients: int = 2,
        tls: ssl.SSLContext | None = None,
        fresh: bool = False,
        pause_s: float = 0.002,
        watch: Callable[[Request, Answer, Connection], None] | None = None,
    ) -> None:
        self._port = port
        self._requests = requests
        self._clients = clients
        self._tls = tls
        self._fresh = fresh
        self._pause_s = pause_s
        self._watch = watch
        self._tasks: list[asyncio.Task[None]] = []
        self.answers = Tally()
        self.by_status: Counter[int] = Counter()
        self.bad: list[tuple[Request, Answer]] = []
        """The first answers that were not 200."""

    async def __aenter__(self) -> Traffic:
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        errors = [error for error in results if isinstance(error, Exception)]
        if errors:
            raise errors[0]

    @property
    def failures(self) -> int:
        """Answers other than 200, the missing ones included."""
        return self.by_status.total() - self.by_status[200]

    async def _run(self, number: int) -> None:
        async with Connection(self._port, self._tls) as connection:
            while True:
                for request in self._turn(number):
                    answer = await connection.ask(request)
                    self._count(request, answer)
                    if self._watch is not None and answer.status:
                        self._watch(request, answer, connection)
                    if self._fresh:
                        await connection.close()
                    await asyncio.sleep(self._pause_s)

    def _turn(self, number: int) -> Sequence[Request]:
        """The clients begin at different requests, so that they do not all ask the same at once."""
        start = number * len(self._requests) // self._clients
        return (*self._requests[start:], *self._requests[:start])

    def _count(self, request: Request, answer: Answer) -> None:
        self.by_status[answer.status] += 1
        if answer.status != 200 and len(self.bad) < 20:
            self.bad.append((request, answer))
        self.answers.add()
