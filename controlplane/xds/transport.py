"""The places where we reach into grpclib: raw messages, the limit before a body, the abort.

grpclib decodes each message into an object, trusts the length that a client claims, and cannot end a stream whose bytes the
client does not read (envoy-observed.md, trap 7). Its exact version is pinned for what this module touches.
"""

import struct
from typing import Any

import grpclib.server
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.protocol import H2Protocol

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


class Server(grpclib.server.Server):
    """A grpclib server that can end the connections which do not end by themselves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._protocols: set[H2Protocol] = set()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self._protocols = {known for known in self._protocols if not known.handler.closing}  # type: ignore[attr-defined]
        self._protocols.add(protocol)
        return protocol

    def stop_listening(self) -> None:
        """Takes no new connection; those that are open go on."""
        if self._server is not None:
            self._server.close()

    def abort_connections(self) -> None:
        """Ends what is still open, without waiting for unsent bytes."""
        for protocol in self._protocols:
            connection = getattr(protocol, "connection", None)
            if connection is not None and not connection.is_closing():
                connection._transport.abort()

    @property
    def port(self) -> int:
        """The port that the server listens on.

        Raises:
            RuntimeError: It does not listen.
        """
        sockets = getattr(self._server, "sockets", ())
        if not sockets:
            raise RuntimeError("the xDS server does not listen")
        port: int = sockets[0].getsockname()[1]
        return port


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


def abort(rpc: Rpc) -> None:
    """Ends the connection now, unsent bytes and all; ``close`` would wait for the client to read them."""
    rpc._stream._transport.abort()


def address_of(rpc: Rpc) -> str:
    """``host:port`` of the client; empty when it is gone, or not on IP."""
    peer = rpc.peer.addr()
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")
