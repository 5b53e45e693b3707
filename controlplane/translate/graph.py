"""From the reducers' rows to the resources that each gateway, and each class of its clients, is served.

What a gateway is served follows from its ports: they use route configurations and secrets, virtual hosts use clusters, clusters
use secrets. A use is a row, so what nothing uses any more is gone by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.ir import ListenerPort
from controlplane.model.kubernetes import Secret
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.translate.clusters import declare_clusters
from controlplane.translate.listener import translate_listener, translate_route_configuration
from controlplane.translate.resource import ClientResource, Encoded, Resource, TypeUrl, resource
from controlplane.translate.secret import translate_ca, translate_secret
from controlplane.translate.uses import Demand, declare_uses, find_used, serve_shared
from controlplane.translate.virtual_host import VirtualHostRow, clusters_of_host, declare_virtual_hosts
from controlplane.translate.waypoint_graph import declare_waypoint_resources


@dataclass(frozen=True)
class Translation:
    """What is served."""

    virtual_hosts: Collection[VirtualHostRow]
    resources: Collection[Resource]
    """What all clients of a gateway are served, by (gateway, type URL, name)."""
    client_resources: Collection[ClientResource]
    """What one class of a gateway's clients is served beside it, by (gateway, class, type URL, name)."""


def declare_translation(graph: Graph, state: State) -> Translation:
    """Declare everything between the reducers' rows and the wire."""
    ports = state.gateways.ports.served
    listeners = _declare_listeners(graph, state)
    waypoints = declare_waypoint_resources(graph, state)
    route_configuration_uses = declare_uses(graph, "route_configurations_of_ports", ports, _route_configurations_of)
    used_route_configurations = find_used(graph, "route_configuration", [route_configuration_uses])
    route_configurations = graph.map(
        "route_configuration_resources", Resource, used_route_configurations, _make_route_configuration
    )
    virtual_hosts = declare_virtual_hosts(graph, state, used_route_configurations)
    virtual_host_resources = graph.map("virtual_host_resources", Resource, virtual_hosts, _make_virtual_host_resource)
    cluster_uses = declare_uses(graph, "clusters_of_virtual_hosts", virtual_hosts, clusters_of_host)
    encoded_secrets = graph.map("encoded_secrets", Encoded, state.base.secrets, _encode_secret)
    used_clusters = find_used(graph, "cluster", [cluster_uses, *waypoints.cluster_uses])
    clusters = declare_clusters(graph, state, used_clusters, encoded_secrets)
    secret_uses = declare_uses(graph, "secrets_of_ports", ports, _secrets_of)
    used_secrets = find_used(graph, "secret", [secret_uses, clusters.secret_uses, waypoints.secret_uses])
    secrets = serve_shared(graph, "secret_resources", used_secrets, encoded_secrets, TypeUrl.SECRET)
    parts: tuple[Collection[Any], ...] = (
        *clusters.resources,
        secrets,
        listeners,
        *waypoints.resources,
        route_configurations,
        virtual_host_resources,
    )
    resources = graph.union("resources", Resource, parts)
    return Translation(virtual_hosts, resources, clusters.client_resources)


def _declare_listeners(graph: Graph, state: State) -> Collection[Resource]:
    def make(row: ListenerPort, fetch: Fetch) -> Resource | None:
        if not row.chains:  # a waypoint's: its chains are those of what it captures
            return None
        name, body = translate_listener(row, current_settings(fetch, state.base))
        return resource(row.key[0], TypeUrl.LISTENER, name, body)

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
    return Resource((gateway, str(TypeUrl.VIRTUAL_HOST), name), row.version, row.body)


def _encode_secret(secret: Secret, fetch: Fetch) -> Iterator[Encoded]:
    """A certificate with its key, and the certificates of authorities; a Secret may hold either or both.

    What is used and does not exist is not served: its chain, or its cluster, waits for it.
    """
    for found in (translate_secret(secret), translate_ca(secret)):
        if found is not None:
            yield found
