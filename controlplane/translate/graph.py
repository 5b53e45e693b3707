"""From the reducers' rows to the resources that each gateway, and each class of its clients, is served.

What a gateway is served follows from its ports: they use route configurations and secrets, virtual hosts use clusters, clusters
use secrets. A use is a row, so what nothing uses any more is gone by itself. What proxies reject is overlaid (``held``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.ir import ListenerPort
from controlplane.model.kubernetes import Secret
from controlplane.model.services import ClientClass
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.translate.clusters import declare_clusters
from controlplane.translate.held import (
    ClientOffer,
    EndedRejection,
    HeldHost,
    cluster_uses,
    declare_ended,
    declare_held,
    declare_held_clients,
    declare_held_hosts,
    route_configuration_uses,
)
from controlplane.translate.listener import translate_listener, translate_route_configuration
from controlplane.translate.resource import ClientResource, Encoded, Resource, TypeUrl, resource
from controlplane.translate.secret import translate_ca, translate_secret
from controlplane.translate.uses import Demand, declare_uses, find_used, serve_shared
from controlplane.translate.virtual_host import VirtualHostRow, clusters_of_host, declare_virtual_hosts
from controlplane.translate.waypoint_graph import declare_waypoint_resources


@dataclass(frozen=True)
class Translation:
    """What is served."""

    resources: Collection[Resource]
    """What all clients of a gateway are served, by (gateway, type URL, name)."""
    client_resources: Collection[ClientResource]
    """What one class of a gateway's clients is served beside it, by (gateway, class, type URL, name)."""
    ended_rejections: Collection[EndedRejection]
    """Rejections of what is no longer offered, for whoever keeps the log."""


def declare_translation(graph: Graph, state: State) -> Translation:
    """Declare everything between the reducers' rows and the wire."""
    ports = state.gateways.ports.served
    listeners = _declare_listeners(graph, state)
    waypoints = declare_waypoint_resources(graph, state)
    held_listeners = declare_held(graph, "held_listeners", state, [TypeUrl.LISTENER], [listeners, *waypoints.resources])
    used_route_configurations = find_used(
        graph,
        "route_configuration",
        [
            declare_uses(graph, "route_configurations_of_ports", ports, _route_configurations_of),
            declare_uses(graph, "route_configurations_of_held", held_listeners, route_configuration_uses),
        ],
    )
    route_configurations = graph.map(
        "route_configuration_resources", Resource, used_route_configurations, _make_route_configuration
    )
    virtual_hosts = declare_virtual_hosts(graph, state, used_route_configurations)
    virtual_host_resources = graph.map(
        "virtual_host_resources", Resource, virtual_hosts.rows, _make_virtual_host_resource
    )
    held_hosts = declare_held_hosts(graph, state, virtual_hosts)
    held_routes = graph.union(
        "held_routes",
        Resource,
        (
            graph.map("held_host_resources", Resource, held_hosts, lambda row, fetch: row.served),
            declare_held(
                graph,
                "held_route_configurations",
                state,
                [TypeUrl.ROUTE_CONFIGURATION],
                [route_configurations, *waypoints.resources],
            ),
            held_listeners,
        ),
    )
    encoded_secrets = graph.map("encoded_secrets", Encoded, state.base.secrets, _encode_secret)
    used_clusters = find_used(
        graph,
        "cluster",
        [
            declare_uses(graph, "clusters_of_virtual_hosts", virtual_hosts.rows, clusters_of_host),
            *waypoints.cluster_uses,
            declare_uses(graph, "clusters_of_held", held_routes, cluster_uses),
        ],
    )
    clusters = declare_clusters(graph, state, used_clusters, encoded_secrets)
    secret_uses = declare_uses(graph, "secrets_of_ports", ports, _secrets_of)
    used_secrets = find_used(graph, "secret", [secret_uses, clusters.secret_uses, waypoints.secret_uses])
    secrets = serve_shared(graph, "secret_resources", used_secrets, encoded_secrets, TypeUrl.SECRET)
    offered: tuple[Collection[Resource], ...] = (
        *clusters.resources,
        secrets,
        listeners,
        *waypoints.resources,
        route_configurations,
        virtual_host_resources,
    )
    of_clients = ClientOffer(state.clients.classes.index("classes_by_gateway", _gateway_of), clusters.of_clients)
    return _lay_over(graph, state, held_routes, held_hosts, offered, of_clients)


def _lay_over(
    graph: Graph,
    state: State,
    held_routes: Collection[Resource],
    held_hosts: Collection[HeldHost],
    offered: tuple[Collection[Resource], ...],
    of_clients: ClientOffer,
) -> Translation:
    """What is served: what is held before what is offered."""
    types = [TypeUrl.CLUSTER, TypeUrl.LOAD_ASSIGNMENT]
    held_clusters = declare_held(graph, "held_clusters", state, types, offered)
    held_clients = declare_held_clients(graph, state, of_clients)
    return Translation(
        graph.union("resources", Resource, (held_routes, held_clusters, *offered)),
        graph.union("client_resources", ClientResource, (held_clients, *of_clients.by_type.values())),
        declare_ended(graph, state, held_hosts, offered, of_clients),
    )


def _gateway_of(row: ClientClass) -> str:
    return row.key[0]


def _declare_listeners(graph: Graph, state: State) -> Collection[Resource]:
    def make(row: ListenerPort, fetch: Fetch) -> Resource | None:
        if not row.chains:  # a waypoint's: its chains are those of what it captures
            return None
        name, body = translate_listener(row, current_settings(fetch, state.base))
        names = [chain.route_configuration for chain in row.chains]
        return resource(row.key[0], TypeUrl.LISTENER, name, body, route_configurations=names)

    return graph.map("listener_resources", Resource, state.gateways.ports.served, make, reads=(state.base.settings,))


def _route_configurations_of(row: ListenerPort) -> Iterator[tuple[str, ...]]:
    gateway, address, port = row.key
    for name in sorted({chain.route_configuration for chain in row.chains}):
        yield gateway, name, address, str(port)


def _secrets_of(row: ListenerPort) -> Iterator[tuple[str, ...]]:
    gateway, address, port = row.key
    for name in sorted({secret for chain in row.chains for secret in chain.secrets}):
        yield gateway, name, address, str(port)


def _make_route_configuration(row: Demand, fetch: Fetch) -> Resource:
    gateway, name = row.key
    return resource(gateway, TypeUrl.ROUTE_CONFIGURATION, name, translate_route_configuration(name))


def _make_virtual_host_resource(row: VirtualHostRow, fetch: Fetch) -> Resource:
    gateway, route_configuration, hostname = row.key
    name = f"{route_configuration}/{hostname}"
    return Resource((gateway, str(TypeUrl.VIRTUAL_HOST), name), row.version, row.body, row.clusters)


def _encode_secret(secret: Secret, fetch: Fetch) -> Iterator[Encoded]:
    """A certificate with its key, and the certificates of authorities; a Secret may hold either or both.

    What is used and does not exist is not served: its chain, or its cluster, waits for it.
    """
    for found in (translate_secret(secret), translate_ca(secret)):
        if found is not None:
            yield found
