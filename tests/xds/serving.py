"""A running server, what it told, and a scripted client of it over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import decode_grpc_message

from controlplane._proto.envoy.config.core.v3 import Locality, Node
from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from controlplane._proto.google.protobuf import Struct, Value
from controlplane.xds import Event, ProxyConnected, Settings, Views, XdsServer
from controlplane.xds.server import SERVICE

PATIENCE_S = 10.0


async def until(predicate: Callable[[], bool]) -> None:
    """Returns once it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not predicate():  # noqa: ASYNC110  (nothing tells us of counters)
            await asyncio.sleep(0.005)


class Row:
    """A resource."""

    def __init__(self, name: str, version: str, body: bytes = b"?") -> None:
        self.name, self.version, self.body = name, version, body
        self.clusters: tuple[str, ...] = ()
        self.route_configurations: tuple[str, ...] = ()


class Served:
    """A running server, and what it told."""

    def __init__(self, settings: Settings | None = None, services: tuple[Any, ...] = (), **security: Any) -> None:
        self.views = Views(resolve=lambda resource: resource.body)
        self.events: list[Event] = []
        self.knows_proxies = True
        """Whether a proxy that connects is known at once."""
        self._news = asyncio.Event()
        self.server = XdsServer(self.views, self._on_event, settings, services, **security)
        self.port = 0

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        if isinstance(event, ProxyConnected) and self.knows_proxies:
            self.assign(event)

    def assign(self, connected: ProxyConnected, class_name: str | None = None) -> None:
        """A commit that knows the proxy; its class is the label that says so."""
        name = dict(connected.labels).get("class", "") if class_name is None else class_name
        self.views.apply((), assignments=[(connected.proxy, (connected.scope, (name,)))])

    async def event(self, kind: type, count: int = 1) -> Any:
        """The ``count``-th event of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def put(self, type_url: str, seq: int | None = None, scope: str = "ns/gw", **rows: str | None) -> None:
        self.views.apply(
            (
                (scope, type_url, name, None if version is None else Row(name, version))
                for name, version in rows.items()
            ),
            seq=seq,
        )


class Client:
    """One stream of a client."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def say(
        self,
        type_url: str,
        *subscribe: str,
        role: str | None = "controlplane~ns~gw",
        node_id: str = "envoy-1",
        region: str = "",
        labels: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        metadata = {
            "role": Value(string_value=role or ""),
            "labels": Value(
                struct_value=Struct(fields={key: Value(string_value=value) for key, value in (labels or {}).items()})
            ),
        }
        node = (
            None
            if role is None
            else Node(id=node_id, locality=Locality(region=region), metadata=Struct(fields=metadata))
        )
        await self.stream.send_message(
            DeltaDiscoveryRequest(node=node, type_url=type_url, resource_names_subscribe=list(subscribe), **more)
        )

    async def ack(self, response: DeltaDiscoveryResponse) -> None:
        await self.say(response.type_url, role=None, response_nonce=response.nonce)

    async def hear(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(PATIENCE_S):
            response = await self.stream.recv_message()
        assert response is not None
        return response

    async def end(self) -> tuple[Status, str | None]:
        """The status with which the server ends the stream."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.stream.recv_message() is not None:
                    pass
                await self.stream.recv_trailing_metadata()
        except GRPCError as error:
            return error.status, error.message
        except StreamTerminatedError:  # grpclib resets what a client has not ended, after the trailers
            trailers = dict(self.stream._stream.trailers or self.stream._stream.headers)
            return Status(int(trailers["grpc-status"])), decode_grpc_message(trailers["grpc-message"])
        return Status.OK, None


@contextlib.asynccontextmanager
async def connect(
    served: Served, method: str = "DeltaAggregatedResources", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """A stream on a connection of its own."""
    channel = Channel("127.0.0.1", served.port, ssl=tls)
    try:
        yield await open_stream(channel, method)
    finally:
        channel.close()


async def open_stream(channel: Channel, method: str = "DeltaAggregatedResources") -> Client:
    """A stream on a connection that there is, or that is made with it."""
    request = channel.request(
        SERVICE + method, Cardinality.STREAM_STREAM, DeltaDiscoveryRequest, DeltaDiscoveryResponse
    )
    stream = await request.__aenter__()
    await stream.send_request()
    return Client(stream)
