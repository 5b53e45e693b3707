"""Gateways of ours and their listeners: which are valid, what they may use, what stands on which port.

Sources: Gateway API v1, GatewaySpec, Listener, ListenerStatus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from controlplane.krt import Collection, Fetch, Graph, Group, Index
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.events import Settings
from controlplane.model.gateway import Gateway, GatewayClass, RouteGroupKind
from controlplane.model.gateway import Listener as ListenerSpec
from controlplane.model.ir import (
    Listener,
    ListenerCertificates,
    ListenerChain,
    ListenerPort,
    OwnedGateway,
)
from controlplane.reducers.base import Base
from controlplane.reducers.grants import Grants
from controlplane.reducers.hostnames import ANY

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
UNRESOLVED_SECRET: Final = "unresolved"  # noqa: S105 (a name)
"""Stands for a certificate that a listener may not or cannot have; no Secret has a key without a slash."""
_SERVED_PROTOCOLS: Final = ("HTTP", "HTTPS")


@dataclass(frozen=True)
class Gateways:
    """The gateways' collections."""

    owned: Collection[OwnedGateway]
    listeners: Collection[Listener]
    by_gateway: Index[Listener]
    certificates: Collection[ListenerCertificates]
    port_claims: Collection[Group[Listener]]
    wanted_ports: Collection[ListenerPort]
    """What the listeners ask for, where no other gateway has it."""
    ports: Collection[ListenerPort]
    """Of these, what its proxy can bind: what is served."""


def current_settings(fetch: Fetch, base: Base) -> Settings:
    """The settings of this incarnation; the defaults before it has begun."""
    row = fetch(base.settings, "settings")
    return row.settings if row is not None else Settings()


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


def check_kinds(spec: ListenerSpec) -> tuple[tuple[RouteGroupKind, ...], Condition]:
    """The route kinds that may attach to a listener, and its ResolvedRefs as far as kinds go."""
    supported = (RouteGroupKind(group=GATEWAY_GROUP, kind="HTTPRoute"),) if spec.protocol in _SERVED_PROTOCOLS else ()
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
    if spec.protocol not in _SERVED_PROTOCOLS:
        message = f"protocol: {spec.protocol!r} is not supported; use HTTP or HTTPS"
        return Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_PROTOCOL, message)
    return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)


def find_conflicts(specs: tuple[ListenerSpec, ...]) -> dict[str, Condition]:
    """Conflicts among the listeners of one gateway, by listener name; every listener of a conflict has it.

    Source: Gateway API v1, GatewaySpec.Listeners: only listeners without conflict may be accepted.
    """
    conflicts: dict[str, Condition] = {}
    by_port: dict[int, list[ListenerSpec]] = defaultdict(list)
    for spec in specs:
        if spec.protocol in _SERVED_PROTOCOLS:
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
    conflicts = find_conflicts(specs)
    no_conflict = Condition(ConditionType.CONFLICTED, False, Reason.NO_CONFLICTS)
    for spec in {spec.name: spec for spec in specs}.values():
        kinds, kinds_resolved = check_kinds(spec)
        yield Listener(
            key=(owned.key, spec.name),
            port=spec.port,
            protocol=spec.protocol,
            hostname=(spec.hostname or ANY).lower(),
            addresses=owned.addresses,
            allowed=spec.allowed_routes,
            kinds=kinds,
            accepted=_accept(spec),
            conflicted=conflicts.get(spec.name, no_conflict),
            kinds_resolved=kinds_resolved,
        )


def declare_gateways(graph: Graph, base: Base, grants: Grants) -> Gateways:
    """Declare the gateways' part of the graph."""

    def own(gateway: Gateway, fetch: Fetch) -> OwnedGateway | None:
        settings = current_settings(fetch, base)
        gateway_class: GatewayClass | None = fetch(base.gateway_classes, gateway.spec.gateway_class_name)
        if gateway_class is None or gateway_class.spec.controller_name != settings.controller_name:
            return None
        addresses, problems = bind_addresses(gateway, settings)
        if gateway_class.spec.parameters_ref is not None:
            message = f"GatewayClass {gateway_class.key}: spec.parametersRef is not supported; remove it"
            problems += (Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message),)
        if gateway.spec.infrastructure is not None and gateway.spec.infrastructure.parameters_ref is not None:
            message = "spec.infrastructure.parametersRef is not supported; remove it"
            problems += (Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message),)
        return OwnedGateway(gateway.key, gateway, addresses, problems)

    owned = graph.map("owned_gateways", OwnedGateway, base.gateways, own, reads=(base.settings, base.gateway_classes))
    listeners = graph.map("listeners", Listener, owned, make_listeners)
    by_gateway = listeners.index("listeners_by_gateway", lambda listener: listener.gateway)

    def resolve_certificates(listener: Listener, fetch: Fetch) -> ListenerCertificates | None:
        gateway = fetch(owned, listener.gateway)
        if listener.protocol != "HTTPS" or gateway is None:
            return None
        spec = next(spec for spec in gateway.gateway.spec.listeners if spec.name == listener.name)
        secrets, usable, problems = [], [], []

        def problem(reason: Reason, message: str) -> None:
            problems.append(Condition(ConditionType.RESOLVED_REFS, False, reason, message))

        references = spec.tls.certificate_refs if spec.tls is not None else ()
        if not references:
            problem(
                Reason.INVALID_CERTIFICATE_REF, "tls.certificateRefs: empty; name a Secret of type kubernetes.io/tls"
            )
        for reference in references:
            namespace = reference.namespace or gateway.gateway.metadata.namespace
            key = f"{namespace}/{reference.name}"
            if (reference.group, reference.kind) != ("", "Secret"):
                text = f"tls.certificateRefs: {reference.group or 'core'}/{reference.kind} {key} is not supported; use a Secret"
                problem(Reason.INVALID_CERTIFICATE_REF, text)
                continue
            if not grants.permit(
                fetch,
                kind=f"{GATEWAY_GROUP}/Gateway",
                namespace=gateway.gateway.metadata.namespace,
                to_kind="/Secret",
                to_namespace=namespace,
                to_name=reference.name,
            ):
                text = f"tls.certificateRefs: Secret {key} may not be used from namespace "
                text += f"{gateway.gateway.metadata.namespace}; add a ReferenceGrant in {namespace}"
                problem(Reason.REF_NOT_PERMITTED, text)
                continue
            secrets.append(key)
            secret = fetch(base.secrets, key)
            report = fetch(base.reports, f"Secret {key}", view=lambda r: r.errors)
            if report:
                text = f"Secret {key}: {'; '.join(map(str, report))}"
                problem(Reason.INVALID_CERTIFICATE_REF, text)
            elif secret is None:
                problem(
                    Reason.INVALID_CERTIFICATE_REF,
                    f"Secret {key} does not exist; create it with type kubernetes.io/tls",
                )
            elif not secret.pair_digest:
                text = f"Secret {key} holds no certificate; give it type kubernetes.io/tls with tls.crt and tls.key"
                problem(Reason.INVALID_CERTIFICATE_REF, text)
            if secret is not None and secret.pair_digest:
                usable.append(key)
        return ListenerCertificates(listener.key, tuple(secrets), tuple(usable), tuple(problems))

    certificates = graph.map(
        "listener_certificates",
        ListenerCertificates,
        listeners,
        resolve_certificates,
        reads=(owned, base.secrets, base.reports, grants.by_pair),
    )

    # On one machine two gateways can ask for the same address and port; elsewhere each has a network of its own.
    port_claims = graph.group(
        "port_claims",
        listeners,
        by=lambda listener: [(address, listener.port) for address in listener.addresses] if listener.valid else None,
    )
    ports_of_gateways = graph.group(
        "listeners_by_port",
        listeners,
        by=lambda listener: (
            [(listener.gateway, address, listener.port) for address in listener.addresses] if listener.valid else None
        ),
    )

    def make_port(group: Group[Listener], fetch: Fetch) -> ListenerPort | None:
        gateway, address, port = group.key
        owner = fetch(owned, gateway)
        if owner is None or owner.problems:
            return None
        if port_owner(fetch, base, owned, port_claims, address, port, gateway) != gateway:
            return None
        chains = {}
        for listener in group.rows:
            if listener.protocol == "HTTP":
                chains[ANY] = ListenerChain(ANY, "HTTP", listener.route_configuration)
                continue
            certificate = fetch(certificates, listener.key)
            # Without a certificate the chain stays: left out, the hostname would be served by a wildcard's chain.
            secrets = certificate.usable or certificate.secrets[:1] if certificate is not None else ()
            chains[listener.hostname] = ListenerChain(
                listener.hostname, "HTTPS", listener.route_configuration, secrets or (UNRESOLVED_SECRET,)
            )
        return ListenerPort(group.key, tuple(chains[hostname] for hostname in sorted(chains))) if chains else None

    wanted_ports = graph.map(
        "wanted_ports",
        ListenerPort,
        ports_of_gateways,
        make_port,
        reads=(base.settings, owned, port_claims, certificates),
    )

    def serve_port(port: ListenerPort, fetch: Fetch) -> ListenerPort | None:
        return None if fetch.exists(base.listener_failures, port.key) else port

    ports = graph.map("listener_ports", ListenerPort, wanted_ports, serve_port, reads=(base.listener_failures,))
    return Gateways(owned, listeners, by_gateway, certificates, port_claims, wanted_ports, ports)


def port_owner(
    fetch: Fetch,
    base: Base,
    owned: Collection[OwnedGateway],
    port_claims: Collection[Group[Listener]],
    address: str,
    port: int,
    gateway: str,
) -> str:
    """The gateway that has an address and port: the oldest of those that ask, then the first by name; ``gateway`` if alone.

    Gateways collide only in host mode, where all of them share this machine. One that is refused as a whole asks for nothing.
    """
    if current_settings(fetch, base).infra != "host":
        return gateway
    claim = fetch(port_claims, (address, port))
    claimants = {
        listener.gateway
        for listener in (claim.rows if claim is not None else ())
        if not fetch(owned, listener.gateway, view=lambda o: o.problems)
    }

    def age(key: str) -> tuple[bool, str, str]:
        created = fetch(owned, key, view=lambda o: o.gateway.metadata.creation_timestamp)
        return (not created, created or "", key)

    return min(claimants or {gateway}, key=age)
