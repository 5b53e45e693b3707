"""The places where we reach into grpclib's streams: raw messages, the limit before a body, the connection below.

grpclib decodes each message into an object and trusts the length that a client claims (envoy-observed.md, trap 7). Its exact
version is pinned for what this module touches.
"""

import struct
from typing import Any

import grpclib.server
from grpclib.const import Status
from grpclib.encoding.base import CodecBase

from controlplane.xds.connections import ClientConnection
from controlplane.xds.errors import XdsError, exhausted, invalid

Rpc = grpclib.server.Stream[bytes, bytes]

_HEAD = struct.Struct(">BI")


class PassThrough(CodecBase):
    """Hands bytes through where a handler's message type is ``bytes``; other services keep their messages."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Bytes as they are; a message encoded."""
        if message_type is bytes:
            assert isinstance(message, bytes)
            return message
        encoded: bytes = message.SerializeToString()
        return encoded

    def decode(self, data: bytes, message_type: Any) -> Any:
        """The other way."""
        return data if message_type is bytes else message_type.FromString(data)


async def receive_message(rpc: Rpc, max_message: int) -> bytes | None:
    """The next request's bytes; None when the client has ended its side.

    Raises:
        XdsError: The message is longer than ``max_message`` (its body is not read then), compressed or cut off.
    """
    head = await _receive(rpc, _HEAD.size)
    if not head:
        return None
    compressed, length = _HEAD.unpack(head)
    if compressed:
        raise XdsError(Status.UNIMPLEMENTED, "the request is compressed, which is not supported")
    if length > max_message:
        raise exhausted(f"the request has {length} octets; the limit is {max_message}")
    body = await _receive(rpc, length)
    if len(body) != length:
        raise invalid("the stream ended within a request")
    return body


async def _receive(rpc: Rpc, size: int) -> bytes:
    try:
        return await rpc._stream.recv_data(size)
    except AssertionError:
        raise invalid("the stream ended within a request") from None


def connection_of(rpc: Rpc) -> ClientConnection:
    """The connection that the stream is on."""
    found: ClientConnection = rpc._stream.connection.client  # type: ignore[attr-defined]
    return found


def abort(rpc: Rpc) -> None:
    """Ends the stream's connection now, unsent bytes and all."""
    connection_of(rpc).abort("the connection was aborted")
