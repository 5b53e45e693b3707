"""Waypoints as rows: listeners, a chain for each port that they take, and the routes that have a part in each.

What decides whom a waypoint takes is in ``capture``, at which places in ``waypoint_ports``, and which routes are a service's in
``service_parents``. Nothing here knows of Envoy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition
from controlplane.model.ir import ListenerPort, ObjectStatus, RouteAttachment
from controlplane.model.waypoints import IngressVirtualAddresses, WaypointChain, WaypointListener, WaypointRoute
from controlplane.reducers.attachment import Attachments
from controlplane.reducers.authorization import Authorization
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.capture import Captures
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.hostnames import ANY
from controlplane.reducers.ingress import declare_ingress
from controlplane.reducers.protocols import HBONE, PROXY, WAYPOINT_PROTOCOLS
from controlplane.reducers.waypoint_ports import WaypointPort, WaypointPorts
from controlplane.reducers.waypoint_statuses import bound_condition, declare_service_statuses

_KINDS: Final[dict[str, Literal["PROXY", "HBONE"]]] = {PROXY: "PROXY", HBONE: "HBONE"}


class GatewayRoute(msgspec.Struct, frozen=True):
    """A route is attached to a waypoint as a whole."""

    key: tuple[str, str]
    """Gateway, route."""
    hostnames: tuple[str, ...]
    """Sorted; empty for all."""

    @property
    def gateway(self) -> str:
        """``namespace/name`` of the waypoint."""
        return self.key[0]


@dataclass(frozen=True)
class Waypoints:
    """Everything about waypoints that is not a gateway's as well."""

    captures: Captures
    ports: WaypointPorts
    listeners: Collection[WaypointListener]
    """Those that are served: their place is free, and HBONE has a certificate and knows whom to trust."""
    chains: Collection[WaypointChain]
    routes: Collection[WaypointRoute]
    ingress: Collection[IngressVirtualAddresses]
    service_statuses: Collection[ObjectStatus]
    """Of Services that name a waypoint."""

    def bound_condition(self, fetch: Fetch, base: Base, owner: str) -> Condition | None:
        """What the status of ``Kind namespace/name`` says of its waypoint; None where it names none of ours.

        The caller declares ``reads=(base.settings, captures.rows, ports.by_owner)``.
        """
        return bound_condition(fetch, base, self.captures, self.ports, owner)


def declare_waypoints(
    graph: Graph,
    base: Base,
    gateways: Gateways,
    backends: Backends,
    captures: Captures,
    ports: WaypointPorts,
    attachments: Attachments,
    authorization: Authorization,
) -> Waypoints:
    """Declare waypoints."""
    chains = _declare_chains(graph, ports, authorization)
    return Waypoints(
        captures=captures,
        ports=ports,
        listeners=_declare_listeners(graph, base, gateways),
        chains=chains,
        routes=_declare_routes(graph, attachments, chains),
        ingress=declare_ingress(graph, base, captures, backends),
        service_statuses=declare_service_statuses(graph, base, captures, ports),
    )


def _declare_listeners(graph: Graph, base: Base, gateways: Gateways) -> Collection[WaypointListener]:
    def make(row: ListenerPort, fetch: Fetch) -> WaypointListener | None:
        gateway, _, port = row.key
        if row.chains or fetch.exists(base.listener_failures, row.key):
            return None
        served = (listener for listener in fetch.by(gateways.by_gateway, gateway) if listener.valid)
        listener = next(x for x in served if x.port == port and x.protocol in WAYPOINT_PROTOCOLS)
        certificates = fetch(gateways.certificates, listener.key)
        return WaypointListener(
            row.key, _KINDS[listener.protocol], certificates.usable if certificates is not None else ()
        )

    reads = (base.listener_failures, gateways.by_gateway, gateways.certificates)
    return graph.map("waypoint_listeners", WaypointListener, gateways.ports.wanted, make, reads=reads)


def _declare_chains(graph: Graph, ports: WaypointPorts, authorization: Authorization) -> Collection[WaypointChain]:
    def make(row: WaypointPort, fetch: Fetch) -> WaypointChain | None:
        if not row.addresses:
            return None
        policies = authorization.policies_for(
            fetch, waypoint=row.waypoint.key, waypoint_class=row.waypoint.class_name, owner=row.owner
        )
        return WaypointChain(
            key=(row.waypoint.key, row.chain),
            port=row.port,
            addresses=row.addresses,
            application=row.application,
            cluster=row.cluster,
            policies=policies,
        )

    return graph.map("waypoint_chains", WaypointChain, ports.rows, make, reads=authorization.reads)


def routes_of_services(attachment: RouteAttachment, fetch: Fetch) -> Iterator[WaypointRoute]:
    """A route's part in the chains of the services that it names, each once, however many parentRefs lead there."""
    chains = {chain for parent in attachment.parents if parent.accepted.status for chain in parent.chains}
    for gateway, chain in sorted(chains):
        yield WaypointRoute((gateway, chain, attachment.key), rank=0)


def routes_of_gateways(attachment: RouteAttachment, fetch: Fetch) -> Iterator[GatewayRoute]:
    """The waypoints that a route is attached to, and its hostnames there.

    The chains are the same behind both listeners of a waypoint, so what is attached to one is served by both.
    """
    found: dict[str, set[str]] = {}
    for parent in attachment.parents:
        for listener in parent.listeners:
            if listener.protocol in WAYPOINT_PROTOCOLS and listener.hostnames:
                found.setdefault(parent.gateway, set()).update(listener.hostnames)
    for gateway, hostnames in sorted(found.items()):
        yield GatewayRoute((gateway, attachment.key), () if ANY in hostnames else tuple(sorted(hostnames)))


def _declare_routes(
    graph: Graph, attachments: Attachments, chains: Collection[WaypointChain]
) -> Collection[WaypointRoute]:
    of_services = graph.map("service_routes", WaypointRoute, attachments.routes, routes_of_services)
    of_gateways = graph.map("gateway_routes", GatewayRoute, attachments.routes, routes_of_gateways)
    by_gateway = of_gateways.index("gateway_routes_by_gateway", lambda row: row.gateway)

    def spread(chain: WaypointChain, fetch: Fetch) -> Iterator[WaypointRoute]:
        if chain.application == "http":
            for route in fetch.by(by_gateway, chain.gateway):
                yield WaypointRoute((*chain.key, route.key[1]), rank=1, hostnames=route.hostnames)

    whole = graph.map("waypoint_wide_routes", WaypointRoute, chains, spread, reads=(by_gateway,))
    # A route that names both the service and its waypoint is the service's.
    return graph.union("waypoint_routes", WaypointRoute, (of_services, whole))
