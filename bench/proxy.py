"""A scripted proxy: asks as an Envoy does, acknowledges everything, and costs little.

It does not read what it is sent further than it has to: type, nonce, and the names of new clusters, which all proxies of the
fleet learn from the first one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.http2 import GrpcStream
from bench.workload import ROUTE_CONFIGURATION
from controlplane.translate import TypeUrl
from controlplane.xds.protobuf import field, fields
from controlplane.xds.server import SERVICE
from controlplane.xds.wire import load_assignment_of

LOOPBACK = "127.0.0.1"
METHOD = SERVICE + "DeltaAggregatedResources"
_TYPE_URL, _NONCE, _RESOURCES = 4, 5, 2
_BY_NAME = {TypeUrl.LOAD_ASSIGNMENT, TypeUrl.ROUTE_CONFIGURATION}
Versions = Mapping[str, Mapping[str, str]]
"""By type URL and name."""


def node(name: str, gateway: str) -> bytes:
    """The encoded node of a proxy that serves ``namespace/name``."""
    role = field(1, b"role") + field(2, field(3, f"controlplane~{gateway.replace('/', '~')}".encode()))
    return field(1, field(1, name.encode()) + field(3, field(1, role)))


def request(
    type_url: str, subscribe: Iterable[str] = (), versions: Mapping[str, str] | None = None, nonce: str = ""
) -> bytes:
    """An encoded ``DeltaDiscoveryRequest`` without a node; the claims in an order of their own, as Envoy's maps have one."""
    claims = [field(5, field(1, name.encode()) + field(2, value.encode())) for name, value in (versions or {}).items()]
    random.shuffle(claims)
    names = (field(3, name.encode()) for name in subscribe)
    return b"".join((field(2, type_url.encode()), *names, *claims, field(6, nonce.encode()) if nonce else b""))


def resources(response: bytes) -> dict[str, tuple[str, bytes]]:
    """Name to version and body of what a response holds."""
    found = {}
    for number, _, content in fields(response):
        if number == _RESOURCES and isinstance(content, bytes):
            parts = {part: value for part, _, value in fields(content) if isinstance(value, bytes)}
            packed = {part: value for part, _, value in fields(parts[2]) if isinstance(value, bytes)}
            found[parts[3].decode()] = parts[1].decode(), packed.get(2, b"")
    return found


def count_resources(response: bytes) -> int:
    """How many resources a response holds."""
    return sum(number == _RESOURCES for number, _, _ in fields(response))


def said(response: bytes) -> tuple[str, str]:
    """Type URL and nonce; they come first, and the rest stays unread."""
    values: dict[int, str] = {}
    for number, _, content in fields(response):
        if isinstance(content, bytes):
            values[number] = content.decode()
        if len(values) == 2:
            break
    return values[_TYPE_URL], values[_NONCE]


class Proxy:
    """One stream.

    Args:
        name: Its node id.
        gateway: ``namespace/name``.
        assignments: Names of the load assignments of a response with clusters; cached by whoever makes many proxies.
        on_response: Told of each response, after it was acknowledged: proxy, type URL, bytes.
    """

    def __init__(
        self,
        name: str,
        gateway: str,
        assignments: Callable[[bytes], tuple[str, ...]],
        on_response: Callable[[Proxy, str, bytes], None],
    ) -> None:
        self.name = name
        self._node = node(name, gateway)
        self._assignments = assignments
        self._on_response = on_response
        self._withheld: list[bytes] = []
        self._asked: set[str] = set()
        self._is_back = False
        self.stream = GrpcStream(METHOD, self._take)

    def claim(self, versions: Versions) -> tuple[bytes, ...]:
        """The first requests of a proxy that is back, and holds these versions; for ``connect``."""
        self._is_back = True
        first, *others = (
            request(url, versions[url] if url in _BY_NAME else (), versions[url])
            for url in (
                TypeUrl.CLUSTER,
                TypeUrl.LOAD_ASSIGNMENT,
                TypeUrl.LISTENER,
                TypeUrl.ROUTE_CONFIGURATION,
                TypeUrl.VIRTUAL_HOST,
            )
        )
        return self._node + first, *others

    async def connect(self, port: int, requests: Sequence[bytes] = ()) -> None:
        """Connects and says these requests; without any it is new, and asks for clusters and listeners."""
        await asyncio.get_running_loop().create_connection(lambda: self.stream, LOOPBACK, port)
        self.stream.send(*(requests or (self._node + request(TypeUrl.CLUSTER), request(TypeUrl.LISTENER))))

    def _take(self, response: bytes) -> None:
        type_url, nonce = said(response)
        answer = request(type_url, nonce=nonce)
        if type_url == TypeUrl.CLUSTER and not self._is_back and (names := self._assignments(response)):
            # While a cluster warms, Envoy does not acknowledge it.
            self._withheld.append(answer)
            self.stream.send(request(TypeUrl.LOAD_ASSIGNMENT, names))
        elif type_url == TypeUrl.LOAD_ASSIGNMENT:
            self.stream.send(answer, *self._withheld)
            self._withheld.clear()
        else:
            self.stream.send(answer)
        self._ask_on(type_url)
        self._on_response(self, type_url, response)

    def _ask_on(self, type_url: str) -> None:
        """What a first listener and a first RouteConfiguration make an Envoy ask for."""
        if self._is_back or type_url in self._asked:
            return
        self._asked.add(type_url)
        if type_url == TypeUrl.LISTENER:
            self.stream.send(request(TypeUrl.ROUTE_CONFIGURATION, [ROUTE_CONFIGURATION]))
        elif type_url == TypeUrl.ROUTE_CONFIGURATION:
            self.stream.send(request(TypeUrl.VIRTUAL_HOST))


def load_assignments(response: bytes) -> tuple[str, ...]:
    """Names of the load assignments that a response's clusters wait for."""
    return tuple(load_assignment_of(body) or name for name, (_, body) in resources(response).items())
