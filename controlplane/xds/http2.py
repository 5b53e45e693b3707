"""HTTP/2 from whoever connects: what grpclib and h2 leave to their caller when bytes are malformed, or meant to do harm.

grpclib trusts its peer in six places. A frame of a kind that it does not know ends in an exception (RFC 9113 4.1 has it
ignored); so does a header that is no ASCII. A broken connection is closed without the GOAWAY that h2 has ready. A stream that
is reset before its handler has begun is never forgotten. A handler that fails before it can answer leaves its stream open. One
read is taken in whole, however long that takes: 256 KiB of streams that are reset at once are 1.5 s in which nobody else is
served. And replies to a peer that reads none of them pile up.

A proxy needs none of this. This module must not know what the streams are for.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

import grpclib.server
import h2.events
from grpclib.protocol import H2Protocol, Stream
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.stream import StreamState

TURN_SECONDS: Final = 0.005
"""For one connection, before others have their turn."""
MAX_UNREAD: Final = 2**20
"""Octets of replies that wait because the peer does not read, beyond the response under way."""
MAX_IDLE_FRAMES: Final = 1000
"""Resets, pings, settings, priorities: so many at once ..."""
IDLE_FRAMES_PER_SECOND: Final = 20.0
"""... and on average. A proxy sends a ping every half minute."""
CLOSE_SECONDS: Final = 5.0
"""For a peer to read why its connection ends."""

_SMALLEST_SLICE, _FIRST_SLICE, _LARGEST_SLICE = 1024, 4096, 16_384
_READ = frozenset({":method", ":path", "content-type", "te", "user-agent"})
_IDLE = (h2.events.StreamReset, h2.events.PingReceived, h2.events.RemoteSettingsChanged, h2.events.PriorityUpdated)


class Allowance:
    """So many of something at once, and so many a second."""

    def __init__(self, at_once: float, per_second: float) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._left = at_once
        self._at = monotonic()

    def take(self) -> bool:
        """Whether one more is allowed."""
        now = monotonic()
        self._left = min(self._at_once, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        return self._left >= 0


class Handler(grpclib.server.Handler):
    """Starts a task for each stream, and leaves none of the streams behind."""

    def accept(self, stream: Stream, headers: list[tuple[str, str]], release_stream: Callable[[], Any]) -> None:
        """As grpclib's. The stream is forgotten also when its task never ran, and ended when the task did not end it.

        Of the headers only those are handed on that somebody reads: what grpclib cannot decode in the others it logs as an
        error of ours, and a deadline it ends as a failure. A client ends its call itself when its deadline is over.
        """
        waiting = [release_stream]

        def release() -> None:
            if waiting:
                waiting.pop()()

        def ended(task: asyncio.Task[None]) -> None:
            release()
            if stream.closable:
                stream.reset_nowait(_reset_code(stream, task))
                stream.connection.flush()

        super().accept(stream, [header for header in headers if header[0] in _READ], release)
        self._tasks[stream].add_done_callback(ended)


def _reset_code(stream: Stream, task: asyncio.Task[None]) -> ErrorCodes:
    """What to tell a client whose stream is still open when its handler is done."""
    assert stream.id is not None
    if stream._h2_connection.streams[stream.id].state_machine.state is StreamState.HALF_CLOSED_LOCAL:
        return ErrorCodes.NO_ERROR  # it was answered, and may stop to send (RFC 9113 8.1)
    return ErrorCodes.CANCEL if task.cancelled() else ErrorCodes.INTERNAL_ERROR


class Protocol(H2Protocol):
    """One connection."""

    def __init__(self, handler: Any, config: Any, h2_config: Any) -> None:
        super().__init__(handler, config, h2_config)
        self._rest = b""
        self._slice = _FIRST_SLICE
        self._turn: asyncio.Handle | None = None
        self._is_paused = False
        self._unread = 0
        self._idle_frames = Allowance(MAX_IDLE_FRAMES, IDLE_FRAMES_PER_SECOND)
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As grpclib's."""
        self._transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        # A frame of a kind that we do not know is to be ignored (RFC 9113, 5.5), and grpclib raises.
        self.processor.processors[h2.events.UnknownFrameReceived] = lambda _: None

    def data_received(self, data: bytes) -> None:
        """Takes bytes in, as long as this connection's turn lasts; the rest in its next turn."""
        self._rest += data
        if self._turn is None:
            self._take()

    def _take(self) -> None:
        self._turn = None
        begun = now = monotonic()
        while self._rest and not self._has_ended:
            if now - begun > TURN_SECONDS:
                self._pause_reading()
                self._turn = asyncio.get_running_loop().call_soon(self._take_again)
                return
            part, self._rest = self._rest[: self._slice], self._rest[self._slice :]
            self._feed(part)
            since, now = now, monotonic()
            longer = now - since < TURN_SECONDS / 2
            self._slice = min(_LARGEST_SLICE, self._slice * 2) if longer else max(_SMALLEST_SLICE, self._slice // 2)

    def _take_again(self) -> None:
        self._take()
        if self._turn is None and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _feed(self, data: bytes) -> None:
        queued = self._transport.get_write_buffer_size()
        try:
            events = self.connection.feed(data)
            for event in events:
                if isinstance(event, _IDLE) and not self._idle_frames.take():
                    self.end(ErrorCodes.ENHANCE_YOUR_CALM, "too many resets, pings or settings")
                    return
                self.processor.process(event)
            self.connection.flush()
        except Exception as error:  # noqa: BLE001  a connection's boundary: its end is told, the others go on
            self._break(error)
        else:
            self._count_unread(self._transport.get_write_buffer_size() - queued)

    def _break(self, error: Exception) -> None:
        kind, text = type(error).__name__, str(error)
        said = text if text.startswith(kind) else f"{kind}: {text}"
        self.end(ErrorCodes.PROTOCOL_ERROR, f"the client broke HTTP/2: {said}")

    def _count_unread(self, more: int) -> None:
        if self._has_ended or self.connection.write_ready.is_set():
            self._unread = 0
            return
        self._unread += max(more, 0)
        if self._unread > MAX_UNREAD:
            self._has_ended = True
            self._rest = b""
            self._transport.abort()
            self.broken("the client reads none of our replies")

    def end(self, code: ErrorCodes, reason: str) -> None:
        """Ends the connection with a GOAWAY, which the client may read or not.

        Args:
            code: Of the GOAWAY, unless h2 has one ready that knows better.
            reason: For whoever reads the client's log, or ours.
        """
        if self._has_ended:
            return
        self._has_ended = True
        self._rest = b""
        known = self.connection._connection
        if known.state_machine.state is not ConnectionState.CLOSED:
            known.close_connection(code, reason.encode("ascii", "replace")[:200])
        if not self._transport.is_closing():
            self.connection.flush()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)
        self.processor.close(reason)
        self.broken(reason)

    def broken(self, reason: str) -> None:
        """The client was sent away. To be overridden by whoever counts."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """As grpclib's."""
        self._has_ended = True
        self._rest = b""
        super().connection_lost(exc)
