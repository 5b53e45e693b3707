"""Who has which address and port, and what stands there.

On one machine (host mode) two gateways can ask for the same address and port; elsewhere each has a network of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from controlplane.krt import Collection, Fetch, Graph, Group
from controlplane.model.ir import Listener, ListenerCertificates, ListenerChain, ListenerPort, OwnedGateway
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.hostnames import ANY
from controlplane.reducers.protocols import WAYPOINT_PROTOCOLS

UNRESOLVED_SECRET: Final = "unresolved"  # noqa: S105 (a name)
"""Stands for a certificate that a listener may not or cannot have; no Secret has a key without a slash."""


@dataclass(frozen=True)
class Ports:
    """Addresses and ports."""

    claims: Collection[Group[Listener]]
    """Listeners that ask for an (address, port), of whatever gateway."""
    wanted: Collection[ListenerPort]
    """What the listeners ask for, where no other gateway has it; a waypoint's ports among them, without chains."""
    served: Collection[ListenerPort]
    """Of these, what its proxy can bind; without the waypoints', which are ``WaypointListener`` rows."""


def _places(prefix: Callable[[Listener], tuple[str, ...]]) -> Callable[[Listener], list[tuple[str | int, ...]] | None]:
    """Groups valid listeners by what ``prefix`` gives, address and port."""
    return lambda listener: (
        [(*prefix(listener), address, listener.port) for address in listener.addresses] if listener.valid else None
    )


def declare_ports(
    graph: Graph,
    base: Base,
    owned: Collection[OwnedGateway],
    listeners: Collection[Listener],
    certificates: Collection[ListenerCertificates],
) -> Ports:
    """Declare the ports."""
    claims = graph.group("port_claims", listeners, by=_places(lambda listener: ()))
    of_gateways = graph.group("listeners_by_port", listeners, by=_places(lambda listener: (listener.gateway,)))

    def want(group: Group[Listener], fetch: Fetch) -> ListenerPort | None:
        gateway, address, port = group.key
        if fetch(owned, gateway, view=is_refused) is not False:
            return None
        if port_owner(fetch, base, owned, claims, address, port, gateway) != gateway:
            return None
        chains = {}
        for listener in group.rows:
            if listener.protocol in WAYPOINT_PROTOCOLS:
                certificate = fetch(certificates, listener.key)
                return ListenerPort(group.key, ()) if certificate is None or certificate.usable else None
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

    def serve(port: ListenerPort, fetch: Fetch) -> ListenerPort | None:
        return None if not port.chains or fetch.exists(base.listener_failures, port.key) else port

    reads = (base.settings, owned, claims, certificates)
    wanted = graph.map("wanted_ports", ListenerPort, of_gateways, want, reads=reads)
    served = graph.map("listener_ports", ListenerPort, wanted, serve, reads=(base.listener_failures,))
    return Ports(claims, wanted, served)


def is_refused(owned: OwnedGateway) -> bool:
    """Whether nothing of a gateway is served."""
    return bool(owned.problems)


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
        if not fetch(owned, listener.gateway, view=is_refused)
    }

    def age(key: str) -> tuple[bool, str, str]:
        created = fetch(owned, key, view=lambda o: o.gateway.metadata.creation_timestamp)
        return (not created, created or "", key)

    return min(claimants or {gateway}, key=age)
