"""A client that speaks HTTP/2 by hand, as wrongly as it likes, and what it leaves behind in a server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Iterator

from grpclib.client import Channel
from hpack import Decoder, Encoder
from hyperframe.exceptions import InvalidFrameError
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

from controlplane.xds import Settings
from controlplane.xds.server import SERVICE
from controlplane.xds.types import CLUSTER
from tests.xds.serving import PATIENCE_S, Client, Served, open_stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
METHOD = SERVICE + "DeltaAggregatedResources"
HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc+proto"),
)

Headers = tuple[tuple[str, str], ...]


def settings(**more: int) -> bytes:
    """A SETTINGS frame."""
    return raw_frame(
        4, 0, 0, b"".join(struct.pack(">HI", getattr(SettingsFrame, name), value) for name, value in more.items())
    )


def headers(stream: int, fields: Headers = HEADERS, *, end: bool = False, raw: bytes | None = None) -> bytes:
    """A HEADERS frame, with CONTINUATIONs where it is too long for one."""
    block = Encoder().encode(list(fields), huffman=False) if raw is None else raw
    pieces = _pieces(block)
    last = len(pieces) - 1
    return b"".join(
        raw_frame(9 if number else 1, 4 * (number == last) | (end and not number), stream, piece)
        for number, piece in enumerate(pieces)
    )


def data(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """DATA frames."""
    pieces = _pieces(content)
    last = len(pieces) - 1
    return b"".join(raw_frame(0, end and number == last, stream, piece) for number, piece in enumerate(pieces))


def _pieces(content: bytes) -> list[bytes]:
    return [content[at : at + 16_000] for at in range(0, len(content), 16_000)] or [b""]


def message(content: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    """A gRPC message; ``length`` is what its head claims."""
    return struct.pack(">BI", flag, len(content) if length is None else length) + content


def reset(stream: int, code: int = 8) -> bytes:
    """A RST_STREAM frame."""
    return raw_frame(3, 0, stream, struct.pack(">I", code))


def raw_frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Any frame."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


class Answer:
    """What the server said on a connection, by stream."""

    def __init__(self) -> None:
        self.headers: dict[int, dict[str, str]] = {}
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.frames = 0


class Hostile:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._rest = b""
        self._decoder = Decoder()
        self.answer = Answer()

    def send(self, *parts: bytes) -> None:
        """Sends bytes; the connection may be gone."""
        if not self.writer.is_closing():
            self.writer.write(b"".join(parts))

    def begin(self) -> None:
        """The preface."""
        self.send(PREFACE, settings())

    async def until(self, stream: int) -> dict[str, str]:
        """The headers and trailers of a stream, once the server is done with it."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._is_done(stream) and await self._more():
                pass
        return self.answer.headers.get(stream, {})

    def _is_done(self, stream: int) -> bool:
        return stream in self.answer.resets or "grpc-status" in self.answer.headers.get(stream, {})

    async def ended(self) -> Answer:
        """All that the server said until it closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._more():
                pass
        return self.answer

    async def _more(self) -> bool:
        try:
            found = await self._reader.read(2**16)
        except ConnectionError:
            return False
        self._rest += found
        while len(self._rest) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._rest)[:9])
            if len(self._rest) < 9 + length:
                break
            with contextlib.suppress(InvalidFrameError):
                frame.parse_body(memoryview(self._rest)[9 : 9 + length])
            self._rest = self._rest[9 + length :]
            self._take(frame)
        return bool(found)

    def _take(self, frame: Frame) -> None:
        self.answer.frames += 1
        if isinstance(frame, HeadersFrame):
            found = self._decoder.decode(frame.data)
            self.answer.headers.setdefault(frame.stream_id, {}).update(found)
        elif isinstance(frame, RstStreamFrame):
            self.answer.resets[frame.stream_id] = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.answer.goaway = frame.error_code


@contextlib.asynccontextmanager
async def attack(served: Served) -> AsyncIterator[Hostile]:
    """A connection of a hostile client."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        yield Hostile(reader, writer)
    finally:
        writer.transport.abort()


class Bystander:
    """A client that does nothing wrong, on a connection of its own, and is to be served throughout."""

    def __init__(self, served: Served, channel: Channel, client: Client) -> None:
        self._served = served
        self._channel = channel
        self._client = client
        self._version = 0

    @classmethod
    async def connect(cls, served: Served) -> Bystander:
        """Connects, and is in step."""
        channel = Channel("127.0.0.1", served.port)
        client = await open_stream(channel)
        await client.say(CLUSTER, node_id="bystander")
        await client.ack(await client.hear())
        return cls(served, channel, client)

    async def is_served(self) -> None:
        """A change reaches it."""
        self._version += 1
        self._served.put(CLUSTER, **{"for-the-bystander": str(self._version)})
        response = await self._client.hear()
        assert [(found.name, found.version) for found in response.resources] == [
            ("for-the-bystander", str(self._version))
        ]
        await self._client.ack(response)

    def leave(self) -> None:
        """Closes its connection."""
        self._channel.close()


class Watch:
    """What a server must not do: raise into the event loop, log an error, or keep a stream or a task."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Looks at the loop's exceptions and at the log's errors."""
        loop = asyncio.get_running_loop()
        before = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: self.complaints.append(str(context)))
        handler = _Complaints(self.complaints)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            loop.set_exception_handler(before)


class _Complaints(logging.Handler):
    def __init__(self, complaints: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.append(self.format(record))


async def nothing_is_left(served: Served, streams: int, tasks: int) -> None:
    """Returns when the server has no more streams and the loop no more tasks than these."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while served.server.stream_count > streams or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # nobody tells of the end of a task
    except TimeoutError:
        left = [str(task) for task in asyncio.all_tasks()]
        raise AssertionError(f"{served.server.stream_count} streams, {len(left)} tasks are left: {left}") from None


PATIENT = Settings(streams_per_second=1e6, streams_burst=10**6, introduction_seconds=PATIENCE_S * 2)
"""Streams begin at once; what a limit of the rate would hide is seen."""
