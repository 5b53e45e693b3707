"""Services as backends, and the endpoints behind each.

A ``Backend`` row hides what kind of object it came from: routes and policies know the row only.
Sources: Kubernetes core/v1 Service, discovery.k8s.io/v1 EndpointSlice, KEP-1669 (terminating endpoints), KEP-3726 (appProtocol).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.ir import Backend, BackendEndpoints, Endpoint
from controlplane.model.kubernetes import EndpointSlice, Service
from controlplane.reducers.base import Base

_PROTOCOLS: Final = {"kubernetes.io/h2c": "h2c", "kubernetes.io/ws": "ws", "grpc": "h2c", "http2": "h2c"}
_NEEDING_TLS: Final = frozenset({"https", "tls", "wss", "grpcs"})


@dataclass(frozen=True)
class Backends:
    """Backends and their endpoints, both by backend key."""

    backends: Collection[Backend]
    endpoints: Collection[BackendEndpoints]


def service_cluster_name(namespace: str, name: str, port: int) -> str:
    """The cluster's name, as kgateway spells it, so that dashboards carry over."""
    return f"kube_{namespace}_{name}_{port}"


def unspoken(app_protocol: str) -> str:
    """The appProtocol if it is one that an HTTPRoute cannot speak; empty otherwise.

    Source: GEP-1911. Names outside of ``kubernetes.io`` mean what their owners say, so only those that need TLS are known to
    be wrong; all others are taken for HTTP.
    """
    prefixed = app_protocol.startswith("kubernetes.io/") and app_protocol not in _PROTOCOLS
    return app_protocol if prefixed or app_protocol.lower() in _NEEDING_TLS else ""


def make_backends(service: Service, fetch: Fetch) -> Iterator[Backend]:
    """One backend a TCP port. An ExternalName service has none: it would let a route reach any name at all."""
    if service.spec.type == "ExternalName":
        return
    ports = {port.port: port for port in service.spec.ports if port.protocol == "TCP"}
    for number, port in ports.items():
        target = port.target_port if port.target_port is not None else number
        yield Backend(
            key=("Service", service.key, number),
            cluster=service_cluster_name(service.metadata.namespace, service.metadata.name, number),
            port_name=port.name,
            target_port=target if isinstance(target, int) else None,
            single_port=len(ports) == 1,
            protocol=_PROTOCOLS.get(port.app_protocol or "", "http"),
            unsupported_protocol=unspoken(port.app_protocol or ""),
            ip_families=service.spec.ip_families,
        )


class _Candidate(NamedTuple):
    family: str
    ready: bool
    endpoint: Endpoint


def slice_port(backend: Backend, piece: EndpointSlice) -> int | None:
    """The port of a slice that carries a backend: by the service port's name; a service's only port may take any only port."""
    ports = [port for port in piece.ports if port.protocol == "TCP"]
    for port in ports:
        if port.name == backend.port_name:
            return port.port if port.port is not None else backend.target_port
    if backend.single_port and len(ports) == 1:
        return ports[0].port if ports[0].port is not None else backend.target_port
    return None


def _candidates(backend: Backend, slices: Iterable[EndpointSlice]) -> Iterator[_Candidate]:
    for piece in slices:
        port = slice_port(backend, piece)
        if piece.address_type not in ("IPv4", "IPv6") or port is None:
            continue
        for endpoint in piece.endpoints:
            conditions = endpoint.conditions
            ready = conditions.ready is not False
            # Terminating pods that still serve are the last resort of a service that has no others.
            if ready or (conditions.serving is True and conditions.terminating is True):
                found = Endpoint(endpoint.zone or "", endpoint.addresses[0], port)
                yield _Candidate(piece.address_type, ready, found)


def collect_endpoints(backend: Backend, slices: Iterable[EndpointSlice]) -> tuple[Endpoint, ...]:
    """The endpoints that serve a backend.

    Returns:
        Sorted, without duplicates: the ready ones; if there are none, those that terminate and still serve. Of a dual-stack
        service one family only, its first that has any, since the other's addresses are the same pods.
    """
    candidates = list(_candidates(backend, slices))
    chosen = [c for c in candidates if c.ready] or candidates
    if len(backend.ip_families) > 1:
        for family in backend.ip_families:
            if any(c.family == family for c in chosen):
                chosen = [c for c in chosen if c.family == family]
                break
    return tuple(sorted({c.endpoint for c in chosen}))


def declare_backends(graph: Graph, base: Base) -> Backends:
    """Declare backends and endpoints."""
    backends = graph.map("backends", Backend, base.services, make_backends)
    by_service = base.endpoint_slices.index("slices_by_service", lambda piece: piece.service_key)

    def make_endpoints(backend: Backend, fetch: Fetch) -> BackendEndpoints:
        slices = fetch.by(by_service, backend.key[1])
        return BackendEndpoints(backend.key, backend.cluster, collect_endpoints(backend, slices))

    endpoints = graph.map("backend_endpoints", BackendEndpoints, backends, make_endpoints, reads=(by_service,))
    return Backends(backends, endpoints)
