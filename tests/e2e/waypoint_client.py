"""Clients of a waypoint, as a node's proxy is one: the PROXY protocol by hand, and HBONE by an Envoy that tunnels.

What either sends arrives at the waypoint as if it had been sent to a service's own address (``destination``), which needs not
exist anywhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.conftest import PATIENCE_S

from .client import Request
from .identities import Identity

Address = tuple[str, int]

PRINCIPAL_TLV = 0xD0
"""Of the PROXY protocol's TLVs the one in which a node's proxy says whose connection it is."""

CLIENT: Address = ("10.255.0.7", 40_001)
"""Whom the connections come from, unless the test says otherwise."""

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def proxy_header(destination: Address, principal: str | None = None, source: Address = CLIENT) -> bytes:
    """What stands before a connection's own bytes. Source: the PROXY protocol, version 2, 2.2.

    Args:
        destination: Where the client connected to; IPv4 and IPv6, the same kind as ``source``.
        principal: Who the client is, as the node's proxy has verified; None says nothing.
        source: The client.
    """
    addresses = [ipaddress.ip_address(address) for address, _ in (source, destination)]
    family = 0x11 if addresses[0].version == 4 else 0x21
    body = b"".join(address.packed for address in addresses) + struct.pack("!HH", source[1], destination[1])
    if principal is not None:
        body += struct.pack("!BH", PRINCIPAL_TLV, len(principal.encode())) + principal.encode()
    return _SIGNATURE + struct.pack("!BBH", 0x21, family, len(body)) + body


@dataclass(frozen=True)
class Proxied(Request):
    """The first request of a connection that a node's proxy brings."""

    preface: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return self.preface + super().encode()


def proxied(request: Request, destination: Address, principal: str | None = None, source: Address = CLIENT) -> Proxied:
    """A request as a node's proxy brings it to a waypoint's PROXY port: for ``ask`` and ``until_answer``, a connection each."""
    preface = proxy_header(destination, principal, source)
    return Proxied(request.host, request.path, request.method, request.headers, request.body, preface)


@asynccontextmanager
async def node_proxy(waypoint_port: int, principal: str, *places: Address) -> AsyncIterator[Counter[Address]]:
    """Listens at services' own addresses, as a node's proxy seems to, and takes all that comes there to a waypoint.

    Args:
        waypoint_port: Of its PROXY listener, on 127.0.0.1.
        principal: Whose the connections are.
        places: The services' addresses and ports; addresses of loopback.

    Yields:
        How many connections have come to each place.
    """
    taken: Counter[Address] = Counter()
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        destination: Address = writer.get_extra_info("sockname")[:2]
        source: Address = writer.get_extra_info("peername")[:2]
        taken[destination] += 1
        with suppress(OSError):
            there, here = await asyncio.open_connection("127.0.0.1", waypoint_port)
            here.write(proxy_header(destination, principal, source))
            await asyncio.gather(_copy(reader, here), _copy(there, writer))
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(take(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    servers = [await asyncio.start_server(accept, *place) for place in places]
    try:
        yield taken
    finally:
        for server in servers:
            server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, until the end of it, which ends the other side too."""
    try:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


async def exchange(port: int, *sent: bytes, end: bool = True) -> bytes:
    """Everything that comes back on a connection to a port of 127.0.0.1, until the other side ends it.

    Args:
        port: Where to.
        sent: What is sent, in pieces.
        end: Whether our side ends after that.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for piece in sent:
                writer.write(piece)
                await writer.drain()
            if end:
                writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def tunnels(
    waypoint_port: int,
    ports: Mapping[int, str],
    identity: Identity,
    trusted: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Bootstrap of an Envoy that originates HBONE: what comes to a port of its own leaves as a CONNECT over mutual TLS.

    Args:
        waypoint_port: The waypoint's HBONE port, on 127.0.0.1.
        ports: Port of 127.0.0.1 -> ``address:port`` of the service that its connections go to.
        identity: Whose connections they are.
        trusted: Certificate of the authority that the waypoint's certificate must be of, PEM.
        headers: Further ones of the CONNECT request.
    """
    listeners = [_tunnel(port, authority, headers) for port, authority in ports.items()]
    return {
        "node": {"id": "tunnel", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners, "clusters": [_waypoint(waypoint_port, identity, trusted)]},
    }


def _tunnel(port: int, authority: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tunnel",
        "cluster": "waypoint",
        "tunneling_config": {
            "hostname": authority,
            "headers_to_add": [{"header": {"key": name, "value": value}} for name, value in headers],
        },
    }
    return {
        "name": authority,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }


def _waypoint(port: int, identity: Identity, trusted: str) -> dict[str, Any]:
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": identity.certificate},
                    "private_key": {"inline_string": identity.key},
                }
            ],
            "validation_context": {"trusted_ca": {"inline_string": trusted}},
        },
    }
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": "waypoint",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "transport_socket": {"name": "tls", "typed_config": context},
        "load_assignment": {
            "cluster_name": "waypoint",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
