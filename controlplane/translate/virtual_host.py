"""Virtual hosts: encoded routes laid together, one resource a hostname."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Group
from controlplane.model.ir import HostRoute, ResolvedRoute
from controlplane.reducers import State
from controlplane.reducers.hostnames import wider
from controlplane.translate.hashing import hashing_for, hashing_reads
from controlplane.translate.resource import content_version
from controlplane.translate.route import MISDIRECTED, RouteEntry, translate_rule
from controlplane.translate.uses import Demand
from controlplane.translate.wire import embed

_NAME: Final = 1
_DOMAINS: Final = 2
_ROUTES: Final = 3
"""Fields of VirtualHost. Source: route_components.proto."""


def misdirected_request(key: tuple[str, str, str]) -> tuple[EncodedRoutes, ...]:
    """The one route of a hostname that is another listener's."""
    entry = RouteEntry((0, 0, 0, 0, 0, False, "", "", 0, 0), MISDIRECTED, ())
    return (EncodedRoutes((key[0], key[1], ""), (entry,)),)


class EncodedRoutes(msgspec.Struct, frozen=True):
    """The Envoy routes of one HTTPRoute on one route configuration."""

    key: tuple[str, str, str]
    """Gateway, route configuration, route."""
    entries: tuple[RouteEntry, ...]


class VirtualHostRow(msgspec.Struct, frozen=True):
    """A virtual host, and the clusters that it names."""

    key: tuple[str, str, str]
    """Gateway, route configuration, hostname."""
    version: str
    body: bytes
    clusters: tuple[str, ...]


def compose_virtual_host(key: tuple[str, str, str], ranks: Iterable[Iterable[EncodedRoutes]]) -> VirtualHostRow:
    """A virtual host from routes that are encoded already.

    Args:
        key: Gateway, route configuration, hostname.
        ranks: The routes of the hostname itself, then those of each wider one, the closest first: rules of a more specific
            hostname have precedence, and what they do not match goes to the less specific. Source: Gateway API v1,
            HTTPRouteSpec.Hostnames.

    Cost: O(routes), for sorting them and laying them together.
    """
    return lay_together(key, order_entries(ranks))


def order_entries(ranks: Iterable[Iterable[EncodedRoutes]]) -> list[RouteEntry]:
    """The routes of a virtual host in Envoy's order, first match first; ``ranks`` as in ``compose_virtual_host``."""
    entries: list[RouteEntry] = []
    seen: set[str] = set()
    for rank in ranks:
        fresh = [row for row in rank if row.key[2] not in seen]
        seen.update(row.key[2] for row in fresh)
        entries.extend(sorted((entry for row in fresh for entry in row.entries), key=lambda entry: entry.precedence))
    return entries


def lay_together(key: tuple[str, str, str], entries: Sequence[RouteEntry]) -> VirtualHostRow:
    """A virtual host of these routes, in this order. Cost: O(octets), none of them is encoded again."""
    _, route_configuration, hostname = key
    name = f"{route_configuration}/{hostname}"
    body = b"".join(
        (
            embed(_NAME, name.encode()),
            embed(_DOMAINS, hostname.encode()),
            *(embed(_ROUTES, entry.body) for entry in entries),
        )
    )
    clusters = {cluster for entry in entries for cluster in entry.clusters}
    return VirtualHostRow(key, content_version(body), body, tuple(sorted(clusters)))


@dataclass(frozen=True)
class VirtualHosts:
    """The virtual hosts that are offered, and of what they are made."""

    rows: Collection[VirtualHostRow]
    entries: Callable[[Fetch, tuple[str, str, str]], list[RouteEntry]]
    """The routes of the virtual host of a key, in their order."""
    reads: tuple[Collection[Any], ...]
    """What ``entries`` reads."""


def declare_virtual_hosts(graph: Graph, state: State, route_configurations: Collection[Demand]) -> VirtualHosts:
    """Declare the virtual hosts of the route configurations that are served, by (gateway, name)."""
    encoded_routes = graph.map(
        "encoded_routes",
        EncodedRoutes,
        state.routes,
        lambda route, fetch: encode_routes(route, fetch, state),
        reads=(state.attachments.routes, *hashing_reads(state)),
    )
    hosts = state.attachments.hosts

    def entries_of(fetch: Fetch, key: tuple[str, str, str]) -> list[RouteEntry]:
        group = fetch(hosts, key)
        return entries_of_group(group, fetch) if group is not None else []

    def entries_of_group(group: Group[HostRoute], fetch: Fetch) -> list[RouteEntry]:
        gateway, route_configuration, hostname = group.key
        if any(row.misdirected for row in group.rows):
            return order_entries([misdirected_request(group.key)])

        def routes_of(rank: Group[HostRoute]) -> Iterator[EncodedRoutes]:
            for row in rank.rows:
                found = fetch(encoded_routes, (gateway, route_configuration, row.key[3])) if row.key[3] else None
                if found is not None:
                    yield found

        patterns = wider(hostname, group.rows[0].listener)
        wider_groups = (fetch(hosts, (gateway, route_configuration, pattern)) for pattern in patterns)
        ranks = [group, *(rank for rank in wider_groups if rank is not None)]
        return order_entries(map(routes_of, ranks))

    def make_virtual_host(group: Group[HostRoute], fetch: Fetch) -> VirtualHostRow | None:
        if not fetch.exists(route_configurations, group.key[:2]):
            return None
        return lay_together(group.key, entries_of_group(group, fetch))

    reads = (encoded_routes, hosts)
    rows = graph.map("virtual_hosts", VirtualHostRow, hosts, make_virtual_host, reads=(route_configurations, *reads))
    return VirtualHosts(rows, entries_of, reads)


def encode_routes(route: ResolvedRoute, fetch: Fetch, state: State) -> Iterator[EncodedRoutes]:
    """The Envoy routes of an HTTPRoute, once for each route configuration: redirections name its port and scheme."""
    attachment = fetch(state.attachments.routes, route.key)
    places = {
        (parent.gateway, listener.route_configuration): listener
        for parent in (attachment.parents if attachment is not None else ())
        for listener in parent.listeners
        if listener.hostnames and listener.route_configuration
    }
    for place, listener in sorted(places.items(), key=lambda item: item[0]):
        scheme = listener.protocol.lower()
        hashing = hashing_for(fetch, state, place[0].partition("/")[0])
        entries = (e for rule in route.rules for e in translate_rule(route, rule, scheme, listener.port, hashing))
        yield EncodedRoutes((*place, route.key), tuple(entries))


def clusters_of_host(row: VirtualHostRow) -> Iterator[tuple[str, ...]]:
    """Uses of the clusters that a virtual host names."""
    gateway, route_configuration, hostname = row.key
    for cluster in row.clusters:
        yield gateway, cluster, route_configuration, hostname
