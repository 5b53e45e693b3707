"""A relay between Envoys and a control plane that reads along, and that can be cut or led elsewhere.

It passes every octet on as it is. Beside that it takes HTTP/2's DATA frames apart, as far as gRPC's messages, so that a test can say
what a proxy was really sent: on loopback, without TLS and without compression, nothing more is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

_PREFACE = 24
_HEAD, _PREFIX = 9, 5
_DATA, _PADDED = 0, 0x8
_CHUNK = 65_536


def label_of(type_url: str) -> str:
    """``Cluster``, ``ClusterLoadAssignment``, ``Listener``, ``RouteConfiguration``, ``VirtualHost`` or ``Secret``."""
    return type_url.rpartition(".")[2]


@dataclass(frozen=True)
class Sent:
    """A resource that a proxy was sent."""

    stream: int
    type: str
    """As ``label_of``."""
    name: str
    version: str
    body: bytes = field(repr=False)


@dataclass
class Stream:
    """What was said on one stream of a proxy, so far."""

    number: int
    said: list[DeltaDiscoveryRequest | DeltaDiscoveryResponse] = field(default_factory=list)
    """In the order in which it passed."""
    octets: int = 0
    """Of the responses, gRPC's prefix included."""
    _requests: list[DeltaDiscoveryRequest] = field(default_factory=list)
    _responses: list[DeltaDiscoveryResponse] = field(default_factory=list)

    @property
    def requests(self) -> Sequence[DeltaDiscoveryRequest]:
        """What the proxy said, in order."""
        return self._requests

    @property
    def responses(self) -> Sequence[DeltaDiscoveryResponse]:
        """What it was told, in order."""
        return self._responses

    @property
    def sent(self) -> list[Sent]:
        """Each resource that was sent, in order."""
        return [sent for response in self.responses for sent in resources_of(response, self.number)]

    @property
    def removed(self) -> list[tuple[str, str]]:
        """Type and name of each removal that was sent, in order."""
        return [(label_of(found.type_url), name) for found in self.responses for name in found.removed_resources]

    @property
    def rejections(self) -> list[tuple[str, str]]:
        """Type and message of each rejection."""
        return [(label_of(found.type_url), found.error_detail.message) for found in self.requests if found.error_detail]

    @property
    def asked_for(self) -> set[str]:
        """Types of which there was a request."""
        return {label_of(found.type_url) for found in self.requests}

    def take(self, message: DeltaDiscoveryRequest | DeltaDiscoveryResponse) -> None:
        """A message has passed."""
        self.said.append(message)
        if isinstance(message, DeltaDiscoveryRequest):
            self._requests.append(message)
        else:
            self._responses.append(message)


def resources_of(response: DeltaDiscoveryResponse, stream: int = 0) -> list[Sent]:
    """What a response brings."""
    return [
        Sent(stream, label_of(response.type_url), found.name, found.version, found.resource.value)
        for found in response.resources
        if found.resource is not None
    ]


class Messages:
    """gRPC's messages out of one direction of an HTTP/2 connection.

    Args:
        take: Told of each message: the stream's number in HTTP/2, the message.
        skip: Octets before the first frame.
    """

    def __init__(self, take: Callable[[int, bytes], None], skip: int = 0) -> None:
        self._take = take
        self._skip = skip
        self._octets = bytearray()
        self._bodies: dict[int, bytearray] = {}

    def feed(self, octets: bytes) -> None:
        """Some more octets, cut anywhere."""
        self._octets += octets
        if self._skip:
            skipped = min(self._skip, len(self._octets))
            del self._octets[:skipped]
            self._skip -= skipped
        for number, data in self._frames():
            body = self._bodies.setdefault(number, bytearray())
            body += data
            while len(body) >= _PREFIX and len(body) >= (end := _PREFIX + int.from_bytes(body[1:_PREFIX])):
                assert not body[0], "compressed"
                self._take(number, bytes(body[_PREFIX:end]))
                del body[:end]

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """The content of each DATA frame, by stream."""
        while len(self._octets) >= _HEAD:
            end = _HEAD + int.from_bytes(self._octets[:3])
            if len(self._octets) < end:
                return
            kind, flags, number = self._octets[3], self._octets[4], int.from_bytes(self._octets[5:_HEAD])
            content = bytes(self._octets[_HEAD:end])
            del self._octets[:end]
            if kind == _DATA:
                yield number, content[1 : len(content) - content[0]] if flags & _PADDED else content


class Relay:
    """Listens on ``port``, and passes on to ``upstream``, which may be another at any time. Made by ``relaying``."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.streams: list[Stream] = []
        """Of all proxies, in the order in which they spoke first."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def last(self) -> Stream:
        """The newest stream."""
        return self.streams[-1]

    @property
    def sent(self) -> list[Sent]:
        """Each resource that was sent on any stream."""
        return [sent for stream in self.streams for sent in stream.sent]

    def cut(self) -> None:
        """Ends every connection, both ends of it, at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Ends every connection, for good."""
        self.cut()
        await asyncio.gather(*self._tasks)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy has connected."""
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ahead, onward = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:  # nobody is there now
            writer.transport.abort()
            return
        ends = {writer, onward}
        self._writers |= ends
        streams: dict[int, Stream] = {}

        def request(number: int, message: bytes) -> None:
            if number not in streams:
                streams[number] = Stream(len(self.streams) + 1)
                self.streams.append(streams[number])
            streams[number].take(DeltaDiscoveryRequest.parse(message))

        def response(number: int, message: bytes) -> None:
            streams[number].octets += _PREFIX + len(message)
            streams[number].take(DeltaDiscoveryResponse.parse(message))

        passing = [
            asyncio.create_task(_pass(reader, onward, Messages(request, _PREFACE))),
            asyncio.create_task(_pass(ahead, writer, Messages(response))),
        ]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.transport.abort()
        self._writers -= ends
        await asyncio.gather(*passing)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, messages: Messages) -> None:
    with suppress(OSError):
        while octets := await reader.read(_CHUNK):
            # What a proxy may act upon is known here before it can have acted.
            messages.feed(octets)
            writer.write(octets)
            await writer.drain()


@asynccontextmanager
async def relaying(upstream: int) -> AsyncIterator[Relay]:
    """A relay to a control plane at this port."""
    relay = Relay(upstream)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
