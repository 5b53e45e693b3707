"""A name server that takes its time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with 127.0.0.1, and that there is none of another kind."""

    def __init__(self) -> None:
        self.port = 0
        self.delay_s = 0.0
        """Before each answer."""
        self.questions = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.questions += 1
        asyncio.get_running_loop().call_later(self.delay_s, self._answer, data, address)

    def _answer(self, query: bytes, address: Any) -> None:
        if self._transport.is_closing():
            return
        end = query.index(b"\0", 12) + 5
        (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton("127.0.0.1") if kind == 1 else b""
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, bool(record), 0, 0)
        self._transport.sendto(head + query[12:end] + record, address)

    @property
    def bootstrap(self) -> dict[str, Any]:
        """Fields of a bootstrap that make an Envoy ask here, and nobody else."""
        here = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        kind = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
        config = {"@type": kind, "resolvers": [here]}
        return {"typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": config}}


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """A name server on a free port of loopback, while the block lasts."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
