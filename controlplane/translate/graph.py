"""From the reducers' rows to the resources that each gateway is served.

What a gateway is served follows from its ports: they use route configurations and secrets, virtual hosts use clusters. A use is
a row, so what nothing uses any more is gone by itself, and nobody keeps a list of who refers to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.ir import ListenerPort
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.translate.cluster import translate_cluster, translate_endpoints
from controlplane.translate.listener import translate_listener, translate_route_configuration
from controlplane.translate.resource import Encoded, Resource, TypeUrl, resource
from controlplane.translate.secret import translate_secret
from controlplane.translate.virtual_host import VirtualHostRow, declare_virtual_hosts


class Use(msgspec.Struct, frozen=True):
    """Something of a gateway names something else by name: a reason to serve it."""

    key: tuple[str, ...]
    """Gateway, the name, and who names it."""


@dataclass(frozen=True)
class Translation:
    """What is served."""

    virtual_hosts: Collection[VirtualHostRow]
    resources: Collection[Resource]
    """Every resource of every gateway, by (gateway, type URL, name)."""


def declare_translation(graph: Graph, state: State) -> Translation:
    """Declare everything between the reducers' rows and the wire."""
    listeners = _declare_listeners(graph, state)
    used_route_configurations = _declare_uses(graph, state, "route_configuration", _route_configurations_of)
    route_configurations = graph.map(
        "route_configuration_resources", Resource, used_route_configurations, _make_route_configuration
    )
    virtual_hosts = declare_virtual_hosts(graph, state, used_route_configurations)
    virtual_host_resources = graph.map("virtual_host_resources", Resource, virtual_hosts, _make_virtual_host_resource)
    parts: tuple[Collection[Any], ...] = (
        *_declare_clusters(graph, state, virtual_hosts),
        _declare_secrets(graph, state),
        listeners,
        route_configurations,
        virtual_host_resources,
    )
    return Translation(virtual_hosts, graph.union("resources", Resource, parts))


def _used(row: Use) -> tuple[str, ...]:
    return row.key[:2]


def _declare_listeners(graph: Graph, state: State) -> Collection[Resource]:
    def make(row: ListenerPort, fetch: Fetch) -> Resource:
        name, body = translate_listener(row, current_settings(fetch, state.base))
        return resource(row.key[0], TypeUrl.LISTENER, name, body)

    return graph.map("listener_resources", Resource, state.gateways.ports.served, make, reads=(state.base.settings,))


def _route_configurations_of(port: ListenerPort) -> set[str]:
    return {chain.route_configuration for chain in port.chains}


def _secrets_of(port: ListenerPort) -> set[str]:
    return {secret for chain in port.chains for secret in chain.secrets}


def _declare_uses(
    graph: Graph, state: State, what: str, names_of: Callable[[ListenerPort], set[str]]
) -> Collection[Count]:
    """What the ports of each gateway name, by (gateway, name)."""

    def use(row: ListenerPort, fetch: Fetch) -> Iterator[Use]:
        gateway, address, port = row.key
        for name in sorted(names_of(row)):
            yield Use((gateway, name, f"{address}~{port}"))

    uses = graph.map(f"{what}_uses", Use, state.gateways.ports.served, use)
    return graph.count(f"used_{what}s", uses, by=_used)


def _make_route_configuration(row: Count, fetch: Fetch) -> Resource:
    gateway, name = row.key
    return resource(gateway, TypeUrl.ROUTE_CONFIGURATION, name, translate_route_configuration(name))


def _make_virtual_host_resource(row: VirtualHostRow, fetch: Fetch) -> Resource:
    gateway, route_configuration, hostname = row.key
    name = f"{route_configuration}/{hostname}"
    return Resource((gateway, str(TypeUrl.VIRTUAL_HOST), name), row.version, row.body)


def _use_clusters(row: VirtualHostRow, fetch: Fetch) -> Iterator[Use]:
    gateway, route_configuration, hostname = row.key
    for cluster in row.clusters:
        yield Use((gateway, cluster, route_configuration, hostname))


def _declare_clusters(
    graph: Graph, state: State, virtual_hosts: Collection[VirtualHostRow]
) -> tuple[Collection[Resource], Collection[Resource]]:
    """Clusters and their load assignments, as far as virtual hosts name them."""
    uses = graph.map("cluster_uses", Use, virtual_hosts, _use_clusters)
    used = graph.count("used_clusters", uses, by=_used)
    # By name alone: what several gateways use is encoded once, what none uses never.
    demanded = graph.count("demanded_clusters", uses, by=lambda row: row.key[1])
    backends = state.backends.backends.index("backends_by_cluster", lambda row: row.cluster)
    endpoints = state.backends.endpoints.index("endpoints_by_cluster", lambda row: row.cluster)

    def make_cluster(row: Count, fetch: Fetch) -> Encoded | None:
        found = fetch.by(backends, row.key)
        return translate_cluster(found[0], current_settings(fetch, state.base)) if found else None

    def make_load_assignment(row: Count, fetch: Fetch) -> Encoded | None:
        found = fetch.by(endpoints, row.key)
        return translate_endpoints(found[0]) if found else None

    clusters = graph.map("clusters", Encoded, demanded, make_cluster, reads=(state.base.settings, backends))
    assignments = graph.map("load_assignments", Encoded, demanded, make_load_assignment, reads=(endpoints,))
    return (
        _serve(graph, "cluster_resources", used, clusters, TypeUrl.CLUSTER),
        _serve(graph, "load_assignment_resources", used, assignments, TypeUrl.LOAD_ASSIGNMENT),
    )


def _declare_secrets(graph: Graph, state: State) -> Collection[Resource]:
    """Certificates, as far as ports name them; one that does not exist is not served, and its chain waits for it."""
    shared = graph.map("encoded_secrets", Encoded, state.base.secrets, lambda row, fetch: translate_secret(row))
    used = _declare_uses(graph, state, "secret", _secrets_of)
    return _serve(graph, "secret_resources", used, shared, TypeUrl.SECRET)


def _serve(
    graph: Graph, name: str, used: Collection[Count], shared: Collection[Encoded], type_url: TypeUrl
) -> Collection[Resource]:
    """What each gateway uses of the shared resources of a type."""

    def make(row: Count, fetch: Fetch) -> Resource | None:
        gateway, key = row.key
        found = fetch(shared, key)
        return Resource((gateway, str(type_url), key), found.version, found.body) if found is not None else None

    return graph.map(name, Resource, used, make, reads=(shared,))
