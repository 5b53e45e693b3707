"""The endpoints behind each backend, and what is known of each.

Of a Service they are its EndpointSlices' addresses. Pods are not looked at: whoever needs an endpoint's labels asks
``endpoint_labels``, so that a label of one among a hundred thousand Pods makes nothing run but who looks at it.
Sources: discovery.k8s.io/v1 EndpointSlice, KEP-1669 (terminating endpoints); istio-semantics, 1.4 and 1.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.kubernetes import Endpoint as SliceEndpoint
from controlplane.model.kubernetes import EndpointSlice, Pod
from controlplane.model.services import NODE, REGION, SUBZONE, ZONE, Backend, BackendEndpoints, Endpoint, Locality
from controlplane.reducers.base import Base
from controlplane.reducers.service_entries import collect_listed, endpoint_source, serve
from controlplane.reducers.workloads import Labels, Workloads, locality_of_node


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


def describe_endpoint(endpoint: SliceEndpoint, port: int, namespace: str, locality: Locality) -> Endpoint:
    """One address of a slice, of a namespace, which is its Pod's where nothing else is said."""
    target = endpoint.target_ref
    pod = ""
    labels: Labels = ()
    if target is not None and target.kind == "Pod" and target.name:
        pod = f"{target.namespace or namespace}/{target.name}"
    elif endpoint.node_name:
        labels = ((NODE, endpoint.node_name),)
    return Endpoint(locality, endpoint.addresses[0], port, pod=pod, labels=labels)


def _candidates(
    backend: Backend, slices: Iterable[EndpointSlice], place: Callable[[str, str], Locality]
) -> Iterator[_Candidate]:
    for piece in slices:
        port = slice_port(backend, piece)
        if piece.address_type not in ("IPv4", "IPv6") or port is None:
            continue
        for endpoint in piece.endpoints:
            conditions = endpoint.conditions
            ready = conditions.ready is not False
            # Terminating pods that still serve are the last resort of a service that has no others.
            if ready or (conditions.serving is True and conditions.terminating is True):
                locality = place(endpoint.node_name or "", endpoint.zone or "")
                found = describe_endpoint(endpoint, port, piece.metadata.namespace, locality)
                yield _Candidate(piece.address_type, ready, found)


def collect_endpoints(
    backend: Backend, slices: Iterable[EndpointSlice], place: Callable[[str, str], Locality]
) -> tuple[Endpoint, ...]:
    """The endpoints that serve a Service's backend.

    Args:
        backend: It.
        slices: Its Service's.
        place: Where an endpoint is, by the name of its Node and the zone that its slice has, each possibly empty.

    Returns:
        Sorted, each address once, though it may be in two slices for a while: the ready ones; if there are none, those that
        terminate and still serve. Of a dual-stack service one family only, its first that has any, since the other's addresses
        are the same pods.
    """
    candidates = list(_candidates(backend, slices, place))
    chosen = [c for c in candidates if c.ready] or candidates
    if len(backend.ip_families) > 1:
        for family in backend.ip_families:
            if any(c.family == family for c in chosen):
                chosen = [c for c in chosen if c.family == family]
                break
    # Of two that differ the greater knows more: empty texts sort first.
    by_address: dict[tuple[str, int], Endpoint] = {}
    for endpoint in sorted((c.endpoint for c in chosen), reverse=True):
        by_address.setdefault((endpoint.address, endpoint.port), endpoint)
    return tuple(reversed(by_address.values()))


def _of_pod(pod: Pod) -> tuple[Mapping[str, str], str]:
    return pod.metadata.labels, pod.spec.node_name


def endpoint_labels(fetch: Fetch, base: Base, endpoint: Endpoint) -> dict[str, str]:
    """The labels of what an endpoint stands for: its Pod's or its own, its Node's name, its network and its locality.

    The caller declares ``reads=(base.pods,)``. Of a Pod that is not known nothing but the locality is.
    """
    labels = dict(endpoint.labels)
    pod = fetch(base.pods, endpoint.pod, view=_of_pod) if endpoint.pod else None
    if pod is not None:
        labels |= pod[0]
        if pod[1]:
            labels[NODE] = pod[1]
    locality = endpoint.locality
    parts = ((REGION, locality.region), (ZONE, locality.zone), (SUBZONE, locality.subzone))
    labels.update((name, value) for name, value in parts if value)
    return labels


def declare_endpoints(
    graph: Graph, base: Base, backends: Collection[Backend], workloads: Workloads
) -> Collection[BackendEndpoints]:
    """Declare the endpoints of every backend that is served; those of a backend without any are an empty row."""
    by_service = base.endpoint_slices.index("slices_by_service", lambda piece: piece.service_key)

    def of_service(backend: Backend, fetch: Fetch) -> tuple[Endpoint, ...]:
        known: dict[tuple[str, str], Locality] = {}

        def place(node: str, zone: str) -> Locality:
            """Region and subzone are the Node's, the zone the slice's, which is the newer word, else the Node's."""
            if (node, zone) not in known:
                at = (fetch(base.nodes, node, view=locality_of_node) if node else None) or Locality()
                known[node, zone] = Locality(at.region, zone or at.zone, at.subzone)
            return known[node, zone]

        return collect_endpoints(backend, fetch.by(by_service, backend.key[1]), place)

    def of_service_entry(backend: Backend, fetch: Fetch) -> tuple[Endpoint, ...]:
        source = fetch(base.service_entries, backend.key[1], view=endpoint_source)
        if source is None:
            return ()
        if not source.selects:
            return collect_listed(backend, source)
        port = next((port for port in source.ports if port.number == backend.port), None)
        selected = fetch.by(workloads.by_entry, backend.key[1])
        return serve(selected, port, source.resolution, source.location) if port is not None else ()

    def make(backend: Backend, fetch: Fetch) -> BackendEndpoints | None:
        if backend.unserved:
            return None
        collect = of_service if backend.key[0] == "Service" else of_service_entry
        return BackendEndpoints(backend.key, backend.cluster, collect(backend, fetch))

    reads = (by_service, base.nodes, base.service_entries, workloads.by_entry)
    return graph.map("backend_endpoints", BackendEndpoints, backends, make, reads=reads)
