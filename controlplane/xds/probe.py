"""Which routes of a rejected virtual host are at fault: they are tried in a virtual host of no domain.

Many HTTPRoutes can share a hostname, and so a virtual host, which Envoy takes or rejects as a whole. Its routes are independent
of each other. So the new ones are tried, in halves, in a virtual host of their own whose domain nobody asks for; traffic never
meets it. What is at fault is then held back alone. envoy-observed.md says how Envoy takes virtual hosts; that probing disturbs
nothing was seen on Envoy 1.40 (tests/xds/test_envoy.py).

This module knows ``VirtualHost`` as far as its routes: fields of route_components.proto.
"""

from hashlib import blake2b

import msgspec

from controlplane.xds.apart import Apart
from controlplane.xds.errors import XdsError
from controlplane.xds.protobuf import LENGTH, field, fields, text, varint
from controlplane.xds.rejection import Guilty, RejectedRoute
from controlplane.xds.tables import Entry
from controlplane.xds.types import VIRTUAL_HOST

HOST = "probe.controlplane.invalid"
"""Domain of the probes: reserved, so that it is nobody's (RFC 2606)."""
_NAME, _DOMAINS, _ROUTES = 1, 2, 3
_ROUTE_NAME = 14


class ProbeHost(msgspec.Struct, frozen=True):
    """A virtual host that nobody asks for, as a table's resource."""

    name: str
    version: str
    body: bytes
    clusters: tuple[str, ...] = ()
    route_configurations: tuple[str, ...] = ()


def routes_of(virtual_host: bytes) -> list[bytes]:
    """The encoded routes of an encoded virtual host, in order; none where it is not one."""
    try:
        parts = list(fields(virtual_host))
    except XdsError:
        return []
    return [part for number, kind, part in parts if number == _ROUTES and kind == LENGTH and isinstance(part, bytes)]


def name_of(route: bytes) -> str:
    """The name of an encoded route; empty where it has none."""
    names = [content for number, kind, content in fields(route) if number == _ROUTE_NAME and kind == LENGTH]
    return text(names[-1]) if names else ""


def routes_to(cluster: str, offered: Entry, last: Entry | None) -> tuple[RejectedRoute, ...]:
    """The routes of a virtual host that name a cluster which is rejected, each with the form of it that was taken last."""
    name = cluster.encode()
    mark = b"\x0a" + varint(len(name)) + name  # it is the first field wherever a Route names a cluster
    fallbacks = {name_of(route): route for route in (routes_of(last.resource.body) if last is not None else ())}
    found = (route for route in routes_of(offered.resource.body) if mark in route)
    kept = {route: fallbacks.get(name_of(route), b"") for route in found}
    return tuple(
        RejectedRoute(name_of(route), route, b"" if mark in fallback else fallback, cluster=cluster)
        for route, fallback in kept.items()
    )


class Probe:
    """One virtual host taken apart.

    Args:
        route_configuration: Whose virtual host it is.
        guilty: What was rejected as a whole.
    """

    def __init__(self, route_configuration: str, guilty: Guilty) -> None:
        self.name = f"{route_configuration}/{HOST}"
        self.offered = offered = guilty.entry
        self._found = guilty
        self._message = guilty.message
        self.guilty: list[str] = []
        last = guilty.last
        taken = [] if last is None else routes_of(last.resource.body)
        known = set(taken)
        self._fallbacks = {name_of(route): route for route in taken}
        self._routes = {str(i): route for i, route in enumerate(routes_of(offered.resource.body)) if route not in known}
        self._group: tuple[str, ...] = ()
        self._words: dict[str, str] = {}
        self._apart = Apart()
        self._apart.reject({number: number for number in self._routes}, was_alone=False)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to try."""
        return not self._apart.suspects

    def next_try(self) -> Entry | None:
        """The next virtual host to offer; None when there is nothing left to try."""
        self._group = self._apart.next_group()
        if not self._group:
            return None
        self._apart.offered()
        parts = [field(_NAME, self.name.encode()), field(_DOMAINS, HOST.encode())]
        body = b"".join([*parts, *(field(_ROUTES, self._routes[number]) for number in self._group)])
        return Entry(VIRTUAL_HOST, ProbeHost(self.name, blake2b(body, digest_size=8).hexdigest(), body))

    def answer(self, *, taken: bool, message: str = "") -> None:
        """The proxy took, or rejected, what was tried."""
        if taken:
            self._apart.clear(self._group, taken=True)
        else:
            self._message = message
            self._words.update(dict.fromkeys(self._group, message))
            self._apart.reject({number: number for number in self._group}, was_alone=len(self._group) == 1)
        self.guilty += self._apart.judge()

    @property
    def is_local(self) -> bool:
        """Whether it is this proxy's own affair."""
        return self._found.is_local

    def result(self) -> Guilty:
        """What was found: the routes at fault; none where it is something else."""
        return msgspec.structs.replace(self._found, message=self._message, routes=self._rejected())

    def rest(self) -> Entry | None:
        """The virtual host without the routes at fault; None where it is something else."""
        if not self.guilty:
            return None
        gone = {self._routes[number] for number in self.guilty}
        parts = [
            field(number, content)
            for number, kind, content in fields(self.offered.resource.body)
            if kind == LENGTH and isinstance(content, bytes) and not (number == _ROUTES and content in gone)
        ]
        body = b"".join(parts)
        version = blake2b(body, digest_size=8).hexdigest()
        return Entry(VIRTUAL_HOST, ProbeHost(self.offered.name, version, body, self.offered.clusters))

    def _rejected(self) -> tuple[RejectedRoute, ...]:
        found = ((self._routes[number], self._words[number]) for number in sorted(self.guilty, key=int))
        return tuple(
            RejectedRoute(name_of(route), route, self._fallbacks.get(name_of(route), b""), words)
            for route, words in found
        )
