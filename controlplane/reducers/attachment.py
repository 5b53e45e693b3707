"""Which route hangs on which listener, and which hostnames it serves there.

Sources: Gateway API v1, CommonRouteSpec.ParentRefs, AllowedRoutes, HTTPRouteSpec.Hostnames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controlplane.krt import Collection, Fetch, Graph, Group
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.http_route import HTTPRoute, ParentReference
from controlplane.model.ir import AttachedListener, HostRoute, Listener, RouteAttachment, RouteParent
from controlplane.reducers.admission import allows_namespace, namespace_labels
from controlplane.reducers.base import Base
from controlplane.reducers.capture import Captures
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.grants import GATEWAY_GROUP
from controlplane.reducers.hostnames import ANY, intersect_hostnames, most_specific
from controlplane.reducers.service_parents import attach_to_service, names_service
from controlplane.reducers.waypoint_ports import WaypointPorts


@dataclass(frozen=True)
class Attachments:
    """Routes and listeners brought together."""

    routes: Collection[RouteAttachment]
    hosts: Collection[Group[HostRoute]]
    """Routes a hostname, by (gateway, route configuration, hostname)."""


def own_hostnames(listener: Listener, hostnames: tuple[str, ...], siblings: tuple[Listener, ...]) -> tuple[str, ...]:
    """The part of a route's hostnames for which ``listener`` is the most specific one on its port.

    A request belongs to the most specific matching listener and to no other, so what a narrower sibling covers as a whole is
    not this listener's.
    """
    candidates = [
        s.hostname for s in siblings if s.valid and (s.port, s.protocol) == (listener.port, listener.protocol)
    ]
    return tuple(name for name in hostnames if most_specific(name, candidates) in (listener.hostname, None))


def _accept(
    matching: list[Listener], allowed: list[Listener], attached: list[AttachedListener], ref: ParentReference
) -> Condition:
    if attached:
        return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)
    if not matching:
        wanted = [f"sectionName {ref.section_name!r}"] * bool(ref.section_name) + [f"port {ref.port}"] * bool(ref.port)
        message = f"parentRefs: Gateway {ref.name} has no listener with {' and '.join(wanted) or 'any name'}; name one that it has"
        return Condition(ConditionType.ACCEPTED, False, Reason.NO_MATCHING_PARENT, message)
    if not allowed:
        names = ", ".join(listener.name for listener in matching)
        message = f"listeners {names} of Gateway {ref.name} do not allow this route; see their allowedRoutes"
        return Condition(ConditionType.ACCEPTED, False, Reason.NOT_ALLOWED_BY_LISTENERS, message)
    hostnames = ", ".join(sorted({listener.hostname for listener in allowed}))
    message = f"hostnames: none is served by a listener of Gateway {ref.name}; its hostnames are {hostnames}"
    return Condition(ConditionType.ACCEPTED, False, Reason.NO_MATCHING_LISTENER_HOSTNAME, message)


def attach_parent(
    route: HTTPRoute, ref: ParentReference, gateway: str, listeners: tuple[Listener, ...], labels: Mapping[str, str]
) -> RouteParent:
    """One parentRef against the listeners of its gateway."""
    gateway_namespace = gateway.partition("/")[0]
    matching = [
        listener
        for listener in listeners
        if (not ref.section_name or listener.name == ref.section_name) and (not ref.port or listener.port == ref.port)
    ]
    allowed = [
        listener
        for listener in matching
        if any((k.group, k.kind) == (GATEWAY_GROUP, "HTTPRoute") for k in listener.kinds)
        and allows_namespace(listener.allowed.namespaces, gateway_namespace, route.metadata.namespace, labels)
    ]
    attached = []
    for listener in allowed:
        hostnames = intersect_hostnames(listener.hostname, route.spec.hostnames)
        if hostnames:
            served = own_hostnames(listener, hostnames, listeners) if listener.valid else ()
            attached.append(
                AttachedListener(
                    name=listener.name,
                    port=listener.port,
                    protocol=listener.protocol,
                    hostname=listener.hostname,
                    route_configuration=listener.route_configuration,
                    hostnames=served,
                )
            )
    return RouteParent(ref, gateway, tuple(attached), _accept(matching, allowed, attached, ref))


def spread_over_hosts(attachment: RouteAttachment, fetch: Fetch) -> Iterator[HostRoute]:
    """The virtual hosts that a route has a part in, each once."""
    places = {
        (parent.gateway, listener.route_configuration, hostname): listener.hostname
        for parent in attachment.parents
        for listener in parent.listeners
        if listener.route_configuration
        for hostname in listener.hostnames
    }
    for place in sorted(places):
        yield HostRoute((*place, attachment.key), places[place])


def claim_hosts(listener: Listener, siblings: tuple[Listener, ...]) -> Iterator[HostRoute]:
    """Hostnames of a listener's route configuration that are answered without a route.

    Plain HTTP: the listener's own hostname, so that what it has no route for is 404 and not a wider listener's. HTTPS, where a
    connection belongs to the listener that its server name chose: the hostnames of the port's other listeners, which are
    answered with 421, since a browser reuses a connection for every name that its certificate covers.

    Source: Gateway API v1, GatewaySpec.Listeners and Listener.Hostname; RFC 9110, 15.5.20.
    """
    if not listener.valid:
        return
    place = (listener.gateway, listener.route_configuration)
    if listener.protocol == "HTTP" and listener.hostname != ANY:
        yield HostRoute((*place, listener.hostname, ""), listener.hostname)
    if listener.protocol == "HTTPS":
        others = {s.hostname for s in siblings if s.valid and s.port == listener.port} - {listener.hostname}
        for hostname in sorted(others):
            yield HostRoute((*place, hostname, ""), listener.hostname, misdirected=True)


def declare_attachments(
    graph: Graph, base: Base, gateways: Gateways, captures: Captures, ports: WaypointPorts
) -> Attachments:
    """Declare the attachments."""

    def attach_route(route: HTTPRoute, fetch: Fetch) -> RouteAttachment | None:
        parents = []
        for ref in route.spec.parent_refs:
            if names_service(ref):
                parent = attach_to_service(fetch, captures, ports, ref, route.metadata.namespace)
                parents += [parent] if parent is not None else []
                continue
            if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway"):
                continue
            gateway = f"{ref.namespace or route.metadata.namespace}/{ref.name}"
            if not fetch.exists(gateways.owned, gateway):
                continue
            listeners = fetch.by(gateways.by_gateway, gateway)
            selects = any(listener.allowed.namespaces.from_ == "Selector" for listener in listeners)
            labels = namespace_labels(fetch, base, route.metadata.namespace) if selects else {}
            parents.append(attach_parent(route, ref, gateway, listeners, labels))
        return RouteAttachment(route.key, tuple(parents)) if parents else None

    routes = graph.map(
        "route_attachments",
        RouteAttachment,
        base.http_routes,
        attach_route,
        reads=(base.namespaces, gateways.owned, gateways.by_gateway, captures.rows, ports.by_owner, ports.by_host),
    )
    host_routes = graph.map("host_routes", HostRoute, routes, spread_over_hosts)
    claims = graph.map(
        "host_claims",
        HostRoute,
        gateways.listeners,
        lambda listener, fetch: claim_hosts(listener, fetch.by(gateways.by_gateway, listener.gateway)),
        reads=(gateways.by_gateway,),
    )
    members = graph.union("host_members", HostRoute, (host_routes, claims))
    hosts = graph.group("hosts", members, by=lambda row: row.key[:3])
    return Attachments(routes, hosts)
