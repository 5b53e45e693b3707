"""What a waypoint is served: listeners, chains, virtual hosts, and what they use.

captured ports ──> chains, each encoded once a way in ──┬─> listeners
                                                        └─> uses: route configurations, clusters, secrets
routes of services and waypoints ──> encoded once a (route, port) ──> virtual hosts of each chain
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.istio import AuthorizationPolicy
from controlplane.model.kubernetes import Secret
from controlplane.model.waypoints import WaypointChain, WaypointListener, WaypointRoute
from controlplane.reducers import State
from controlplane.reducers.authorization_rules import misread_rules, without_misread
from controlplane.reducers.base import Base, current_settings
from controlplane.translate.authorization import http_filters, network_filters
from controlplane.translate.hashing import hashing_for, hashing_reads
from controlplane.translate.listener import compose_route_configuration
from controlplane.translate.resource import Resource, TypeUrl, resource
from controlplane.translate.route import RouteEntry, translate_rule
from controlplane.translate.secret import ca_name
from controlplane.translate.uses import Demand, Use, declare_uses, demand
from controlplane.translate.virtual_host import EncodedRoutes, VirtualHostRow, clusters_of_host
from controlplane.translate.waypoint import translate_chain, translate_proxy_listener
from controlplane.translate.waypoint_routes import RoutePart, compose_virtual_hosts, default_route
from controlplane.translate.waypoint_tunnel import (
    MAIN_INTERNAL,
    translate_hbone_listener,
    translate_internal_cluster,
    translate_internal_listener,
)

_PROXY: Final = "PROXY"
_HBONE: Final = "HBONE"


@dataclass(frozen=True)
class WaypointResources:
    """What waypoints add to what is served."""

    resources: tuple[Collection[Resource], ...]
    """Listeners; the inner listener with the cluster that leads there; route configurations.

    A chain has a route configuration of its own, with one virtual host nearly always: it stands in it. By VHDS each would be a
    subscription that the listener waits for, and a thousand captured ports would hold up everything else for seconds.
    """
    cluster_uses: tuple[Collection[Use], Collection[Use]]
    """Of chains that speak no HTTP, and of virtual hosts."""
    secret_uses: Collection[Use]


class WaypointEntrance(msgspec.Struct, frozen=True):
    """A listener of a waypoint that can be served."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    listener: WaypointListener
    authority: str
    """HBONE: the Secret that says whom to trust. Never empty there."""

    @property
    def protocol(self) -> Literal["PROXY", "HBONE"]:
        """Of the way in."""
        return self.listener.protocol


class WaypointFilterChain(msgspec.Struct, frozen=True):
    """A filter chain for one way into a waypoint."""

    key: tuple[str, str, str]
    """Gateway, ``PROXY`` or ``HBONE``, name."""
    body: bytes
    cluster: str
    """Where it leads, if it speaks no HTTP; empty if it does."""


class PortRoute(msgspec.Struct, frozen=True):
    """A route has a part in a chain's virtual hosts, which stand on a port."""

    key: tuple[str, str, str]
    """Gateway, route configuration, route."""
    rank: int
    hostnames: tuple[str, ...]
    port: int


class PortEntries(msgspec.Struct, frozen=True):
    """The Envoy routes of an HTTPRoute for services on a port: redirections name it, and the waypoint's namespace has rules."""

    key: tuple[str, str, int]
    """Namespace of the waypoint, route, port."""
    entries: tuple[RouteEntry, ...]


def declare_waypoint_resources(graph: Graph, state: State) -> WaypointResources:
    """Declare everything between the rows of waypoints and the wire."""
    entrances = _declare_entrances(graph, state)
    chains = _declare_chains(graph, state, entrances)
    served = demand(graph, "waypoint_route_configurations_wanted", chains, by=_route_configuration_of)
    virtual_hosts = _declare_virtual_hosts(graph, state, served)
    by_route_configuration = virtual_hosts.index("waypoint_virtual_hosts_by_chain", lambda row: row.key[:2])

    def make_route_configuration(row: Demand, fetch: Fetch) -> Resource:
        gateway, name = row.key
        hosts = fetch.by(by_route_configuration, row.key)
        body = compose_route_configuration(name, [host.body for host in hosts])
        clusters = [cluster for host in hosts for cluster in host.clusters]
        return resource(gateway, TypeUrl.ROUTE_CONFIGURATION, name, body, clusters)

    route_configurations = graph.map(
        "waypoint_route_configurations", Resource, served, make_route_configuration, reads=(by_route_configuration,)
    )
    return WaypointResources(
        resources=(*_declare_listeners(graph, state, entrances, chains), route_configurations),
        cluster_uses=(
            declare_uses(graph, "clusters_of_waypoints", chains, _clusters_of),
            declare_uses(graph, "clusters_of_waypoint_hosts", virtual_hosts, clusters_of_host),
        ),
        secret_uses=declare_uses(graph, "secrets_of_waypoints", entrances, _secrets_of),
    )


def _route_configuration_of(row: WaypointFilterChain) -> tuple[str, str] | None:
    return None if row.cluster else (row.key[0], row.key[2])


def _clusters_of(row: WaypointFilterChain) -> Iterator[tuple[str, ...]]:
    gateway, protocol, name = row.key
    if row.cluster:
        yield gateway, row.cluster, protocol, name


def _secrets_of(row: WaypointEntrance) -> Iterator[tuple[str, ...]]:
    gateway, address, port = row.key
    if row.protocol == _HBONE:
        for name in (*dict.fromkeys(row.listener.secrets), ca_name(row.authority)):
            yield gateway, name, address, str(port)


def _has_authorities(secret: Secret) -> bool:
    return bool(secret.ca_certificates)


def _declare_entrances(graph: Graph, state: State) -> Collection[WaypointEntrance]:
    """HBONE without a certificate, or without anybody to trust, is not served: it would take everyone at their word."""

    def make(row: WaypointListener, fetch: Fetch) -> WaypointEntrance | None:
        if row.protocol == _PROXY:
            return WaypointEntrance(row.key, row, "")
        trusted = [name for name in row.secrets if fetch(state.base.secrets, name, view=_has_authorities)]
        return WaypointEntrance(row.key, row, trusted[0]) if trusted else None

    return graph.map(
        "waypoint_entrances", WaypointEntrance, state.waypoints.listeners, make, reads=(state.base.secrets,)
    )


def _protocol_of(row: WaypointEntrance) -> Literal["PROXY", "HBONE"]:
    return row.protocol


def _declare_chains(
    graph: Graph, state: State, entrances: Collection[WaypointEntrance]
) -> Collection[WaypointFilterChain]:
    """Every chain once for each way into its waypoint, and none where there is no way in."""
    base = state.base
    by_gateway = entrances.index("waypoint_entrances_by_gateway", lambda row: row.key[0])

    def make(chain: WaypointChain, fetch: Fetch) -> Iterator[WaypointFilterChain]:
        settings = current_settings(fetch, base)
        policies = [policy for key in chain.policies if (policy := _policy(fetch, base, key)) is not None]
        is_http = chain.application == "http"
        for protocol in sorted(set(fetch.by(by_gateway, chain.gateway, view=_protocol_of))):
            body = translate_chain(
                chain,
                protocol,
                http_filters(policies, settings) if is_http else (),
                network_filters(policies, settings) if not is_http else (),
            )
            yield WaypointFilterChain((chain.gateway, protocol, chain.key[1]), body, "" if is_http else chain.cluster)

    reads = (base.settings, base.authorization_policies, base.reports, by_gateway)
    return graph.map("waypoint_filter_chains", WaypointFilterChain, state.waypoints.chains, make, reads=reads)


def _policy(fetch: Fetch, base: Base, key: str) -> AuthorizationPolicy | None:
    policy = fetch(base.authorization_policies, key)
    misread = fetch(base.reports, f"AuthorizationPolicy {key}", view=misread_rules)
    return without_misread(policy, misread or ()) if policy is not None else None


def _names_of(chains: Iterable[WaypointFilterChain]) -> tuple[list[str], list[str]]:
    """The clusters and the RouteConfigurations that chains name."""
    rows = list(chains)
    return [row.cluster for row in rows if row.cluster], [row.key[2] for row in rows if not row.cluster]


def _declare_listeners(
    graph: Graph, state: State, entrances: Collection[WaypointEntrance], chains: Collection[WaypointFilterChain]
) -> tuple[Collection[Resource], Collection[Resource]]:
    by_way = chains.index("waypoint_filter_chains_by_way", lambda row: row.key[:2])
    ways = graph.count("waypoint_ways", chains, by=lambda row: row.key[:2])

    def make_listener(row: WaypointEntrance, fetch: Fetch) -> Resource | None:
        way = (row.key[0], row.protocol)
        settings = current_settings(fetch, state.base)
        if row.protocol == _PROXY:
            rows = fetch.by(by_way, way)
            made = translate_proxy_listener(row.listener, [chain.body for chain in rows], settings)
            names = _names_of(rows)
        else:
            made = translate_hbone_listener(row.listener, row.authority, settings) if fetch.exists(ways, way) else None
            names = [MAIN_INTERNAL], []
        return resource(row.key[0], TypeUrl.LISTENER, *made, *names) if made is not None else None

    def make_internal(row: Count, fetch: Fetch) -> Iterator[Resource]:
        gateway, protocol = row.key
        if protocol == _HBONE:
            rows = fetch.by(by_way, row.key)
            listener = translate_internal_listener([chain.body for chain in rows])
            yield resource(gateway, TypeUrl.LISTENER, MAIN_INTERNAL, listener, *_names_of(rows))
            cluster = translate_internal_cluster(current_settings(fetch, state.base))
            yield resource(gateway, TypeUrl.CLUSTER, MAIN_INTERNAL, cluster)

    reads = (state.base.settings, by_way)
    return (
        graph.map("waypoint_listener_resources", Resource, entrances, make_listener, reads=(*reads, ways)),
        graph.map("waypoint_internal_resources", Resource, ways, make_internal, reads=reads),
    )


def _entries_of(row: PortRoute) -> tuple[str, str, int]:
    return row.key[0].partition("/")[0], row.key[2], row.port


def _port_if_http(chain: WaypointChain) -> int | None:
    return chain.port if chain.application == "http" else None


def _cluster_of(chain: WaypointChain) -> str:
    return chain.cluster


def _declare_virtual_hosts(graph: Graph, state: State, served: Collection[Demand]) -> Collection[VirtualHostRow]:
    waypoints = state.waypoints

    def place(row: WaypointRoute, fetch: Fetch) -> PortRoute | None:
        port = fetch(waypoints.chains, row.key[:2], view=_port_if_http)
        return PortRoute(row.key, row.rank, row.hostnames, port) if port is not None else None

    placed = graph.map("waypoint_port_routes", PortRoute, waypoints.routes, place, reads=(waypoints.chains,))
    of_chain = placed.index("waypoint_routes_by_chain", lambda row: row.key[:2])
    wanted = demand(graph, "waypoint_port_routes_wanted", placed, by=_entries_of)

    def encode(row: Demand, fetch: Fetch) -> PortEntries | None:
        namespace, name, port = row.key
        route = fetch(state.routes, name)
        if route is None:
            return None
        hashing = hashing_for(fetch, state, namespace)
        entries = (e for rule in route.rules for e in translate_rule(route, rule, "http", port, hashing))
        return PortEntries(row.key, tuple(entries))

    encoded = graph.map(
        "waypoint_port_entries", PortEntries, wanted, encode, reads=(state.routes, *hashing_reads(state))
    )

    def make(row: Demand, fetch: Fetch) -> Iterator[VirtualHostRow]:
        gateway, name = row.key
        parts = []
        for part in fetch.by(of_chain, row.key):
            found = fetch(encoded, _entries_of(part))
            # A route that cannot be encoded still keeps the default away: what it forbids must not come to pass by its failure.
            routes = EncodedRoutes(part.key, found.entries if found is not None else ())
            parts.append(RoutePart(part.rank, part.hostnames, routes))
        cluster = fetch(waypoints.chains, row.key, view=_cluster_of) or ""
        hashing = hashing_for(fetch, state, gateway.partition("/")[0])
        yield from compose_virtual_hosts(gateway, name, parts, default_route(cluster, hashing))

    reads = (waypoints.chains, of_chain, encoded, *hashing_reads(state))
    return graph.map("waypoint_virtual_hosts", VirtualHostRow, served, make, reads=reads)
