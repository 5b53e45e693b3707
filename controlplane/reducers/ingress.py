"""Services that gateways reach at the service's own address, so that the node's proxy brings the traffic to its waypoint.

Source: Istio, label ``istio.io/ingress-use-waypoint``. That a client is a waypoint itself, and must go to the endpoints, is for
who makes its clusters to see.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.addresses import parse_address
from controlplane.model.services import Backend
from controlplane.model.waypoints import IngressVirtualAddresses
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.capture import Capture, Captures


def sort_virtual_addresses(addresses: Iterable[str], family: str) -> tuple[str, ...]:
    """The addresses to connect to, the preferred first.

    Args:
        addresses: As the object lists them.
        family: ``Settings.dns_lookup_family``; an unknown one is taken for ``V4_PREFERRED``.

    Returns:
        IP addresses only, in the given order within a family: a block of more than one is no address to connect to.
    """
    literals = [literal for literal in map(_address, addresses) if literal is not None]
    if family in ("V4_ONLY", "V6_ONLY"):
        literals = [literal for literal in literals if f"V{literal.version}_ONLY" == family]
    elif family == "AUTO":
        literals.sort(key=lambda literal: -literal.version)
    elif family != "ALL":
        literals.sort(key=lambda literal: literal.version)
    return tuple(dict.fromkeys(map(str, literals)))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    address, slash, length = text.partition("/")
    literal = parse_address(address)
    return literal if literal is None or not slash or length == str(literal.max_prefixlen) else None


def _through_ingress(capture: Capture) -> bool:
    return capture.bound.status and capture.through_ingress


def declare_ingress(
    graph: Graph, base: Base, captures: Captures, backends: Backends
) -> Collection[IngressVirtualAddresses]:
    """Declare them, by cluster."""

    def make(backend: Backend, fetch: Fetch) -> IngressVirtualAddresses | None:
        if backend.unserved or not fetch(captures.rows, backend.owner, view=_through_ingress):
            return None
        family = current_settings(fetch, base).dns_lookup_family
        addresses = sort_virtual_addresses(backend.addresses, family)
        return IngressVirtualAddresses(backend.cluster, addresses, backend.port)

    reads = (base.settings, captures.rows)
    return graph.map("ingress_virtual_addresses", IngressVirtualAddresses, backends.backends, make, reads=reads)
