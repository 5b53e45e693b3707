"""As much of HTTP/2 as one gRPC stream on a connection of its own needs, seen from the client.

A thousand scripted proxies must cost less than the server that is measured, so this is no library's work: frames are cut, bytes
are handed on, flow control is kept. It believes what our own server says.

Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from hpack import Encoder

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 4
MAX_WINDOW, FIRST_WINDOW, FRAME = 2**31 - 1, 65_535, 16_384
STREAM = 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame."""
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _window_setting(octets: int) -> bytes:
    return struct.pack(">HI", INITIAL_WINDOW_SIZE, octets)


class GrpcStream(asyncio.Protocol):
    """A stream of messages, both ways as bytes.

    Args:
        path: Of the method.
        on_message: Told of each message.
    """

    def __init__(self, path: str, on_message: Callable[[bytes], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._message = bytearray()
        self._unsent = bytearray()
        self._connection_window = self._stream_window = self._initial_window = FIRST_WINDOW
        self.octets = 0
        """Received so far, frames and all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens the stream."""
        self._transport = cast("asyncio.Transport", transport)
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self._path),
            (":authority", "bench"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, _window_setting(MAX_WINDOW))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - FIRST_WINDOW))
            + frame(HEADERS, END_HEADERS, STREAM, Encoder().encode(headers))
        )

    def send(self, *messages: bytes) -> None:
        """Sends messages, as the server's windows let it."""
        for message in messages:
            self._unsent += struct.pack(">BI", 0, len(message)) + message
        self._flush()

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()

    def stop_reading(self) -> None:
        """From now on not one octet of a message is taken: the window is shut, and the socket is not read."""
        assert self._transport is not None
        self._transport.write(frame(SETTINGS, 0, 0, _window_setting(0)))
        self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is over."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Takes what came."""
        self.octets += len(data)
        self._received += data
        position = 0
        while len(self._received) - position >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", self._received, position)
            end = position + 9 + (high << 16 | low)
            if end > len(self._received):
                break
            self._take(kind, flags, stream, bytes(self._received[position + 9 : end]))
            position = end
        del self._received[:position]
        self._flush()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._message += payload
            self._take_messages()
        elif kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._initial_window
                    self._initial_window = value
            self._write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream:
                self._stream_window += more
            else:
                self._connection_window += more
        elif kind in {RST_STREAM, GOAWAY}:
            self.close()
        if kind in {DATA, HEADERS} and flags & END_STREAM:
            self.close()

    def _take_messages(self) -> None:
        while len(self._message) >= 5:
            _, length = struct.unpack_from(">BI", self._message)
            if len(self._message) < 5 + length:
                return
            message = bytes(self._message[5 : 5 + length])
            del self._message[: 5 + length]
            self._on_message(message)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _flush(self) -> None:
        while self._unsent:
            size = min(len(self._unsent), FRAME, self._connection_window, self._stream_window)
            if size <= 0:
                return
            self._write(frame(DATA, 0, STREAM, bytes(self._unsent[:size])))
            del self._unsent[:size]
            self._connection_window -= size
            self._stream_window -= size
