"""Gateways of ours and their listeners: which are valid, what they may use, what stands on which port.

Sources: Gateway API v1, GatewaySpec, Listener, ListenerStatus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.events import Settings
from controlplane.model.gateway import Gateway, GatewayClass, RouteGroupKind
from controlplane.model.gateway import Listener as ListenerSpec
from controlplane.model.ir import Listener, ListenerCertificates, OwnedGateway
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.certificates import declare_certificates
from controlplane.reducers.grants import GATEWAY_GROUP, Grants
from controlplane.reducers.hostnames import ANY
from controlplane.reducers.ports import Ports, declare_ports
from controlplane.reducers.protocols import GATEWAY_PROTOCOLS, HBONE, PROXY, WAYPOINT_PROTOCOLS

_WAYPOINT_FOR: Final = "istio.io/waypoint-for"


@dataclass(frozen=True)
class Gateways:
    """The gateways' collections."""

    owned: Collection[OwnedGateway]
    listeners: Collection[Listener]
    by_gateway: Index[Listener]
    certificates: Collection[ListenerCertificates]
    ports: Ports


def bind_addresses(gateway: Gateway, settings: Settings) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
    """The addresses that a gateway's listeners bind, and what is wrong with those that it asks for.

    Only in host mode do ``spec.addresses`` say where to listen; elsewhere they belong to whoever runs the Envoys.
    """
    if settings.infra != "host" or not gateway.spec.addresses:
        return (settings.listen_address,), ()
    usable, problems = set(), []
    for address in gateway.spec.addresses:
        value = address.value or settings.listen_address
        if address.type != "IPAddress" or not _is_ip(value):
            problems.append(
                Condition(
                    ConditionType.ACCEPTED,
                    False,
                    Reason.UNSUPPORTED_ADDRESS,
                    f"spec.addresses: {address.type} {value!r} cannot be bound on this machine; "
                    "use an IPAddress of this machine, or leave addresses out for 127.0.0.1",
                )
            )
        else:
            usable.add(str(ip_address(value)))
    return tuple(sorted(usable)), tuple(problems)


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def check_kinds(spec: ListenerSpec, protocols: tuple[str, ...]) -> tuple[tuple[RouteGroupKind, ...], Condition]:
    """The route kinds that may attach to a listener, and its ResolvedRefs as far as kinds go."""
    supported = (RouteGroupKind(group=GATEWAY_GROUP, kind="HTTPRoute"),) if spec.protocol in protocols else ()
    asked = spec.allowed_routes.kinds
    if not asked:
        return supported, Condition(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED_REFS)
    kinds = tuple(kind for kind in supported if any((k.group, k.kind) == (kind.group, kind.kind) for k in asked))
    wrong = [f"{k.group}/{k.kind}" for k in asked if not any((k.group, k.kind) == (s.group, s.kind) for s in supported)]
    if not wrong:
        return kinds, Condition(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED_REFS)
    message = f"allowedRoutes.kinds: {', '.join(wrong)} cannot attach to a {spec.protocol} listener; use HTTPRoute"
    return kinds, Condition(ConditionType.RESOLVED_REFS, False, Reason.INVALID_ROUTE_KINDS, message)


def _accept(spec: ListenerSpec) -> Condition:
    if spec.protocol not in GATEWAY_PROTOCOLS:
        message = f"protocol: {spec.protocol!r} is not supported; use HTTP or HTTPS"
        return Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_PROTOCOL, message)
    return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)


def accept_on_waypoint(spec: ListenerSpec, specs: tuple[ListenerSpec, ...]) -> Condition:
    """Whether a waypoint uses one of its listeners: the first of each protocol."""
    if spec.protocol not in WAYPOINT_PROTOCOLS:
        message = (
            f"protocol: {spec.protocol!r} is not served by a waypoint; use {PROXY} (port 15088) or {HBONE} (port 15008)"
        )
        return Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_PROTOCOL, message)
    problem = ""
    first = next(other.name for other in specs if other.protocol == spec.protocol)
    if spec.name != first:
        problem = f"a waypoint has one listener of protocol {spec.protocol}, which is {first!r}; remove this one"
    elif spec.protocol == PROXY and spec.tls is not None:
        problem = f"tls: {PROXY} takes plain connections, from a node's proxy; remove tls, or use {HBONE}"
    elif spec.tls is not None and spec.tls.mode != "Terminate":
        problem = f"tls.mode: {spec.tls.mode} is not supported for {HBONE}; use Terminate"
    if problem:
        return Condition(ConditionType.ACCEPTED, False, Reason.INVALID, problem)
    return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)


def find_conflicts(specs: tuple[ListenerSpec, ...]) -> dict[str, Condition]:
    """Conflicts among the listeners of one gateway that can be served, by name; every listener of a conflict has it.

    Source: Gateway API v1, GatewaySpec.Listeners: only listeners without conflict may be accepted.
    """
    conflicts: dict[str, Condition] = {}
    by_port: dict[int, list[ListenerSpec]] = defaultdict(list)
    for spec in specs:
        by_port[spec.port].append(spec)
    for port, sharing in sorted(by_port.items()):
        protocols = sorted({spec.protocol for spec in sharing})
        by_hostname: dict[str, list[str]] = defaultdict(list)
        for spec in sharing:
            by_hostname[(spec.hostname or ANY).lower()].append(spec.name)
        for spec in sharing:
            same = by_hostname[(spec.hostname or ANY).lower()]
            if len(protocols) > 1:
                message = f"port {port} is asked for by listeners of protocols {' and '.join(protocols)}; use one protocol a port"
                conflicts[spec.name] = Condition(ConditionType.CONFLICTED, True, Reason.PROTOCOL_CONFLICT, message)
            elif len(same) > 1:
                message = f"listeners {', '.join(same)} have the same port and hostname; give each its own"
                conflicts[spec.name] = Condition(ConditionType.CONFLICTED, True, Reason.HOSTNAME_CONFLICT, message)
    return conflicts


def make_listeners(owned: OwnedGateway, fetch: Fetch) -> Iterator[Listener]:
    """One row a listener, the invalid included: they have a status too."""
    specs = owned.gateway.spec.listeners
    protocols = WAYPOINT_PROTOCOLS if owned.waypoint_for else GATEWAY_PROTOCOLS
    accepted = {s.name: accept_on_waypoint(s, specs) if owned.waypoint_for else _accept(s) for s in specs}
    conflicts = find_conflicts(tuple(spec for spec in specs if accepted[spec.name].status))
    no_conflict = Condition(ConditionType.CONFLICTED, False, Reason.NO_CONFLICTS)
    for spec in {spec.name: spec for spec in specs}.values():
        kinds, kinds_resolved = check_kinds(spec, protocols)
        yield Listener(
            key=(owned.key, spec.name),
            port=spec.port,
            protocol=spec.protocol,
            hostname=(spec.hostname or ANY).lower(),
            addresses=owned.addresses,
            allowed=spec.allowed_routes,
            kinds=kinds,
            accepted=accepted[spec.name],
            conflicted=conflicts.get(spec.name, no_conflict),
            kinds_resolved=kinds_resolved,
        )


def waypoint_for(gateway: Gateway, gateway_class: GatewayClass) -> str:
    """What a waypoint captures, by its own label before its class's; ``service`` where neither says.

    Source: Istio, label ``istio.io/waypoint-for``.
    """
    for labels in (gateway.metadata.labels, gateway_class.metadata.labels):
        if _WAYPOINT_FOR in labels:
            return labels[_WAYPOINT_FOR] or "none"
    return "service"


def declare_gateways(graph: Graph, base: Base, grants: Grants) -> Gateways:
    """Declare the gateways' part of the graph."""

    def own(gateway: Gateway, fetch: Fetch) -> OwnedGateway | None:
        settings = current_settings(fetch, base)
        gateway_class: GatewayClass | None = fetch(base.gateway_classes, gateway.spec.gateway_class_name)
        if gateway_class is None or gateway_class.spec.controller_name != settings.controller_name:
            return None
        addresses, problems = bind_addresses(gateway, settings)
        problems = (*problems, *_parameters(gateway, gateway_class))
        captures = waypoint_for(gateway, gateway_class) if gateway_class.key in settings.waypoint_classes else ""
        return OwnedGateway(gateway.key, gateway, addresses, problems, captures)

    owned = graph.map("owned_gateways", OwnedGateway, base.gateways, own, reads=(base.settings, base.gateway_classes))
    listeners = graph.map("listeners", Listener, owned, make_listeners)
    by_gateway = listeners.index("listeners_by_gateway", lambda listener: listener.gateway)
    certificates = declare_certificates(graph, base, grants, owned, listeners)
    ports = declare_ports(graph, base, owned, listeners, certificates)
    return Gateways(owned, listeners, by_gateway, certificates, ports)


def _parameters(gateway: Gateway, gateway_class: GatewayClass) -> Iterator[Condition]:
    """Parameters, which we have none of: what they ask for would be missed without a word."""
    infrastructure = gateway.spec.infrastructure
    if gateway_class.spec.parameters_ref is not None:
        message = f"GatewayClass {gateway_class.key}: spec.parametersRef is not supported; remove it"
        yield Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message)
    if infrastructure is not None and infrastructure.parameters_ref is not None:
        message = "spec.infrastructure.parametersRef is not supported; remove it"
        yield Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message)
