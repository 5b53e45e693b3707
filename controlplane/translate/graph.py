"""From the reducers' rows to the resources that each gateway is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph, Group
from controlplane.model.events import Settings
from controlplane.model.ir import HostRoute, ListenerPort, ResolvedRoute
from controlplane.model.kubernetes import Secret
from controlplane.reducers import State
from controlplane.reducers.hostnames import wider
from controlplane.translate.cluster import translate_cluster, translate_endpoints
from controlplane.translate.listener import translate_listener, translate_route_configuration
from controlplane.translate.resource import Encoded, Resource, TypeUrl, content_version, resource
from controlplane.translate.route import MISDIRECTED, RouteEntry, translate_rule
from controlplane.translate.secret import translate_secret
from controlplane.translate.wire import embed

_NAME, _DOMAINS, _ROUTES = 1, 2, 3
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


def _use(row: Use) -> tuple[str, ...]:
    return row.key[:2]


def compose_virtual_host(key: tuple[str, str, str], ranks: Iterable[Iterable[EncodedRoutes]]) -> VirtualHostRow:
    """A virtual host from routes that are encoded already.

    Args:
        key: Gateway, route configuration, hostname.
        ranks: The routes of the hostname itself, then those of each wider one, the closest first: rules of a more specific
            hostname have precedence, and what they do not match goes to the less specific. Source: Gateway API v1,
            HTTPRouteSpec.Hostnames.

    Cost: O(routes), for sorting them and laying them together.
    """
    _, route_configuration, hostname = key
    entries: list[RouteEntry] = []
    seen: set[str] = set()
    for rank in ranks:
        fresh = [row for row in rank if row.key[2] not in seen]
        seen.update(row.key[2] for row in fresh)
        entries.extend(sorted((entry for row in fresh for entry in row.entries), key=lambda entry: entry.precedence))
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


def declare_translation(graph: Graph, state: State) -> Translation:
    """Declare everything between the reducers' rows and the wire."""
    base = state.base

    def settings(fetch: Fetch) -> Settings:
        row = fetch(base.settings, "settings")
        return row.settings if row is not None else Settings()

    def make_listener(row: ListenerPort, fetch: Fetch) -> Resource:
        name, body = translate_listener(row, settings(fetch))
        return resource(row.key[0], TypeUrl.LISTENER, name, body)

    listeners = graph.map("listener_resources", Resource, state.gateways.ports, make_listener, reads=(base.settings,))

    def use_route_configurations(row: ListenerPort, fetch: Fetch) -> Iterator[Use]:
        gateway, address, port = row.key
        for chain in row.chains:
            yield Use((gateway, chain.route_configuration, f"{address}~{port}"))

    uses = graph.map("route_configuration_uses", Use, state.gateways.ports, use_route_configurations)
    used_route_configurations = graph.count("used_route_configurations", uses, by=_use)

    def make_route_configuration(row: Count, fetch: Fetch) -> Resource:
        gateway, name = row.key
        return resource(gateway, TypeUrl.ROUTE_CONFIGURATION, name, translate_route_configuration(name))

    route_configurations = graph.map(
        "route_configuration_resources", Resource, used_route_configurations, make_route_configuration
    )

    def encode_routes(route: ResolvedRoute, fetch: Fetch) -> Iterator[EncodedRoutes]:
        attachment = fetch(state.attachments.routes, route.key)
        if attachment is None:
            return
        places = {
            (parent.gateway, listener.route_configuration): listener
            for parent in attachment.parents
            for listener in parent.listeners
            if listener.hostnames
        }
        for place, listener in sorted(places.items(), key=lambda item: item[0]):
            entries = [
                entry
                for rule in route.rules
                for entry in translate_rule(route, rule, listener.protocol.lower(), listener.port)
            ]
            yield EncodedRoutes((*place, route.key), tuple(entries))

    encoded_routes = graph.map(
        "encoded_routes", EncodedRoutes, state.routes, encode_routes, reads=(state.attachments.routes,)
    )

    def make_virtual_host(group: Group[HostRoute], fetch: Fetch) -> VirtualHostRow | None:
        gateway, route_configuration, _ = group.key
        if not fetch.exists(used_route_configurations, (gateway, route_configuration)):
            return None
        if any(row.misdirected for row in group.rows):
            return compose_virtual_host(group.key, [misdirected_request(group.key)])
        ranks = [group]
        for hostname in wider(group.key[2], group.rows[0].listener):
            found = fetch(state.attachments.hosts, (gateway, route_configuration, hostname))
            if found is not None:
                ranks.append(found)

        def routes_of(rank: Group[HostRoute]) -> Iterator[EncodedRoutes]:
            for row in rank.rows:
                found = fetch(encoded_routes, (gateway, route_configuration, row.key[3])) if row.key[3] else None
                if found is not None:
                    yield found

        return compose_virtual_host(group.key, map(routes_of, ranks))

    virtual_hosts = graph.map(
        "virtual_hosts",
        VirtualHostRow,
        state.attachments.hosts,
        make_virtual_host,
        reads=(used_route_configurations, encoded_routes, state.attachments.hosts),
    )

    def make_virtual_host_resource(row: VirtualHostRow, fetch: Fetch) -> Resource:
        gateway, route_configuration, hostname = row.key
        name = f"{route_configuration}/{hostname}"
        return Resource((gateway, str(TypeUrl.VIRTUAL_HOST), name), row.version, row.body)

    virtual_host_resources = graph.map("virtual_host_resources", Resource, virtual_hosts, make_virtual_host_resource)

    def use_clusters(row: VirtualHostRow, fetch: Fetch) -> Iterator[Use]:
        gateway, route_configuration, hostname = row.key
        for cluster in row.clusters:
            yield Use((gateway, cluster, route_configuration, hostname))

    cluster_uses = graph.map("cluster_uses", Use, virtual_hosts, use_clusters)
    used_clusters = graph.count("used_clusters", cluster_uses, by=_use)
    # By name alone: what several gateways use is encoded once, what none uses never.
    demanded = graph.count("demanded_clusters", cluster_uses, by=lambda row: row.key[1])
    backends_by_cluster = state.backends.backends.index("backends_by_cluster", lambda row: row.cluster)
    endpoints_by_cluster = state.backends.endpoints.index("endpoints_by_cluster", lambda row: row.cluster)

    def make_cluster(row: Count, fetch: Fetch) -> Encoded | None:
        found = fetch.by(backends_by_cluster, row.key)
        return translate_cluster(found[0], settings(fetch)) if found else None

    def make_load_assignment(row: Count, fetch: Fetch) -> Encoded | None:
        found = fetch.by(endpoints_by_cluster, row.key)
        return translate_endpoints(found[0]) if found else None

    clusters = graph.map("clusters", Encoded, demanded, make_cluster, reads=(base.settings, backends_by_cluster))
    load_assignments = graph.map(
        "load_assignments", Encoded, demanded, make_load_assignment, reads=(endpoints_by_cluster,)
    )

    def serve(
        name: str, used: Collection[Count], shared: Collection[Encoded], type_url: TypeUrl
    ) -> Collection[Resource]:
        """What a gateway uses of the shared resources of a type."""

        def make(row: Count, fetch: Fetch) -> Resource | None:
            gateway, key = row.key
            found = fetch(shared, key)
            return Resource((gateway, str(type_url), key), found.version, found.body) if found is not None else None

        return graph.map(name, Resource, used, make, reads=(shared,))

    def make_secret(secret: Secret, fetch: Fetch) -> Encoded | None:
        return translate_secret(secret)

    secrets = graph.map("secret_resources_shared", Encoded, base.secrets, make_secret)

    def use_secrets(row: ListenerPort, fetch: Fetch) -> Iterator[Use]:
        gateway, address, port = row.key
        for secret in sorted({secret for chain in row.chains for secret in chain.secrets}):
            yield Use((gateway, secret, f"{address}~{port}"))

    secret_uses = graph.map("secret_uses", Use, state.gateways.ports, use_secrets)
    used_secrets = graph.count("used_secrets", secret_uses, by=_use)
    parts: tuple[Collection[Any], ...] = (
        serve("cluster_resources", used_clusters, clusters, TypeUrl.CLUSTER),
        serve("load_assignment_resources", used_clusters, load_assignments, TypeUrl.LOAD_ASSIGNMENT),
        serve("secret_resources", used_secrets, secrets, TypeUrl.SECRET),
        listeners,
        route_configurations,
        virtual_host_resources,
    )
    resources = graph.union("resources", Resource, parts)
    return Translation(virtual_hosts, resources)
