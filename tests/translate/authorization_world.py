"""A real Envoy with one chain for each set of policies, and clients that are whoever they say they are."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from controlplane.model.events import Settings
from controlplane.model.istio import AuthorizationPolicy
from controlplane.translate.authorization import http_filters, network_filters
from controlplane.translate.document import to_document
from tests.conftest import EnvoyProcess, free_port

Manifest = dict[str, Any]
SETTINGS = Settings()
PATIENCE_S = 20.0
_HTTP_FILTER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_FILTER = "type.googleapis.com/envoy.config.listener.v3.Filter"
_EXTENSION = "type.googleapis.com/envoy.extensions.filters"


def manifest(
    spec: Manifest, *, name: str = "p", namespace: str = "shop", annotations: Mapping[str, str] = {}
) -> Manifest:
    """An AuthorizationPolicy."""
    metadata = {"name": name, "namespace": namespace, "annotations": dict(annotations)}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def read(document: Manifest) -> AuthorizationPolicy:
    """The policy of a manifest, without what decoding would refuse of it."""
    return msgspec.convert(document, AuthorizationPolicy)


@dataclass(frozen=True)
class Call:
    """One request, or one connection."""

    principal: str | None = "spiffe://cluster.local/ns/shop/sa/web"
    source: str = "10.200.0.7"
    port: int = 80
    method: str = "GET"
    host: str = "web.shop"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    host_number: int = 1
    """The last part of the destination's address."""


@dataclass(frozen=True)
class World:
    """The Envoy's listener, and what it enforces."""

    port: int
    cases: Sequence[Sequence[Manifest]]

    async def http(self, case: int, call: Call) -> int:
        """The status of a request to the case's HTTP chain."""
        lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {call.host}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in call.headers]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        answer = await self._exchange(destination(case, "http", call.host_number), call, request)
        return int(answer.split(b" ", 2)[1]) if answer else 0

    async def tcp(self, case: int, call: Call) -> bool:
        """Whether bytes come back from behind the case's TCP chain."""
        return bool(await self._exchange(destination(case, "tcp", call.host_number), call, b"ping"))

    async def _exchange(self, to: str, call: Call, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(proxy_header(call.source, (to, call.port), call.principal) + sent)
                return await reader.read(1024)
        except ConnectionError:
            return b""
        finally:
            writer.close()


def destination(case: int, application: str, number: int) -> str:
    """The address of a case's service."""
    return f"10.{1 + case // 200}.{case % 200}.{number + (128 if application == 'tcp' else 0)}"


def proxy_header(source: str, to: tuple[str, int], principal: str | None) -> bytes:
    """PROXY protocol, version 2, with the caller's identity as ztunnel sends it."""
    body = ipaddress.ip_address(source).packed + ipaddress.ip_address(to[0]).packed + struct.pack("!HH", 40_001, to[1])
    if principal is not None:
        text = principal.encode()
        body += struct.pack("!BH", 0xD0, len(text)) + text
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, len(body)) + body


def bootstrap(
    listener_port: int, echo_port: int, cases: Sequence[Sequence[Manifest]], settings: Settings = SETTINGS
) -> Manifest:
    """An Envoy with an HTTP and a TCP chain for each case."""
    chains = []
    for i, case in enumerate(cases):
        policies = [read(document) for document in case]
        http = [_plain(to_document(_HTTP_FILTER, bytes(f))) for f in http_filters(policies, settings)]
        tcp = [_plain(to_document(_FILTER, bytes(f))) for f in network_filters(policies, settings)]
        chains.append(_chain(i, "http", [_manager(http)]))
        chains.append(_chain(i, "tcp", [*tcp, _tcp_proxy()]))
    rule = {"tlv_type": 0xD0, "on_tlv_present": {"key": "peer_principal"}}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": _address(0)},
        "layered_runtime": {"layers": [{"name": "x", "static_layer": {"re2.max_program_size.error_level": 2**32 - 1}}]},
        "static_resources": {
            "listeners": [
                {
                    "name": "waypoint",
                    "address": _address(listener_port),
                    "listener_filters": [
                        {
                            "name": "envoy.filters.listener.proxy_protocol",
                            "typed_config": {
                                "@type": f"{_EXTENSION}.listener.proxy_protocol.v3.ProxyProtocol",
                                "rules": [rule],
                            },
                        }
                    ],
                    "filter_chains": chains,
                }
            ],
            "clusters": [
                {
                    "name": "echo",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "load_assignment": {
                        "cluster_name": "echo",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(echo_port)}}]}],
                    },
                }
            ],
        },
    }


@asynccontextmanager
async def running(cases: Sequence[Sequence[Manifest]], folder: Path) -> AsyncIterator[World]:
    """An Envoy that enforces each case."""
    port = free_port()
    async with echo() as echo_port, EnvoyProcess(bootstrap(port, echo_port, cases), folder) as envoy:

        async def is_live() -> bool:
            return (await envoy.get("/ready")).startswith("LIVE")

        await envoy.wait(is_live)
        yield World(port, cases)


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1024))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def _plain(document: Mapping[str, Any]) -> Manifest:
    return {key: value for key, value in document.items() if key != "@type"}


def _address(port: int) -> Manifest:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _chain(case: int, application: str, filters: list[Manifest]) -> Manifest:
    first = destination(case, application, 0)
    return {
        "name": f"{application}-{case}",
        "filter_chain_match": {"prefix_ranges": [{"address_prefix": first, "prefix_len": 25}]},
        "filters": [_identity(), *filters],
    }


def _identity() -> Manifest:
    text = "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:peer_principal)%"
    value = {
        "object_key": "io.istio.peer_principal",
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": text}},
    }
    return {
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": {"@type": f"{_EXTENSION}.network.set_filter_state.v3.Config", "on_new_connection": [value]},
    }


def _manager(http: list[Manifest]) -> Manifest:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_EXTENSION}.http.router.v3.Router"},
    }
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_EXTENSION}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test",
            "normalize_path": True,
            "http_filters": [*http, router],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        },
    }


def _tcp_proxy() -> Manifest:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_EXTENSION}.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "test",
            "cluster": "echo",
        },
    }
