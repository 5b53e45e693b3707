"""ServiceEntries as backends: one a host and port, each with a cluster of its own.

What a ServiceEntry lists is served by load assignments, inline endpoints too (Istio and kgateway put those into the cluster), so
that a change of an endpoint is a change of endpoints and leaves the cluster and its connections alone. Only names that Envoy
resolves stand in the cluster.

A host is its own backend's and no other's: a reference to host B never leads to host A's cluster, and of a ServiceEntry of
several hosts without endpoints each is resolved by its own name. Sources: istio-semantics, 1.2 to 1.6, with its first list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from controlplane.krt import Fetch
from controlplane.model.addresses import is_ipv4, parse_address
from controlplane.model.hosts import is_dns_name
from controlplane.model.istio import ServiceEntry, ServiceEntrySpec, ServicePort, WorkloadEntrySpec
from controlplane.model.service_entry import SERVED_PORT, SERVED_RESOLUTION
from controlplane.model.services import Backend, Endpoint, Locality
from controlplane.reducers.services import TRAFFIC_DISTRIBUTION, application_of, exporting_to
from controlplane.reducers.workloads import Workload, describe, selector_of

NETWORKING: Final = "networking.istio.io"
_PROTOCOLS: Final = {
    "http2": "h2c",
    "grpc": "h2c",
    "grpc-web": "h2c",
    "kubernetes.io/h2c": "h2c",
    "kubernetes.io/ws": "ws",
}
_DISCOVERY: Final[dict[str, Literal["endpoints", "dns", "dns_round_robin"]]] = {
    "STATIC": "endpoints",
    "DNS": "dns",
    "DNS_ROUND_ROBIN": "dns_round_robin",
}


def service_entry_cluster_name(namespace: str, name: str, host: str, port: int) -> str:
    """The cluster's name, as kgateway spells it; unique, since neither namespaces nor names have a ``_``."""
    return f"istio-se_{namespace}_{name}_{host}_{port}"


def addresses_of(entry: ServiceEntry, host: str) -> tuple[str, ...]:
    """A host's own addresses: those of the object, and those that Istio has allocated to it or to no host by name."""
    allocated = (a.value for a in entry.status.addresses if a.host in {"", host})
    return tuple(dict.fromkeys(address for address in (*entry.spec.addresses, *allocated) if address))


def listed_endpoints(key: str, endpoints: Iterable[WorkloadEntrySpec]) -> tuple[Workload, ...]:
    """The endpoints that a ServiceEntry lists, in its order."""
    return tuple(describe((key, f"endpoints[{i}]", ""), item, {}) for i, item in enumerate(endpoints))


def usable_address(text: str, resolution: str) -> str:
    """The address as an endpoint has it: of resolution STATIC an IP address, else possibly a name; empty if it can be none.

    A path (``unix://``) never is one: what lies on the disk of a proxy elsewhere is nothing that we know.
    """
    if is_ipv4(text):
        return text
    address = parse_address(text)
    if address is not None:
        return str(address)
    return text.lower() if resolution != "STATIC" and is_dns_name(text) else ""


def address_problem(text: str, resolution: str) -> str:
    """Why an address is none, with the remedy; empty if it is one."""
    if usable_address(text, resolution):
        return ""
    if not text:
        return "it has no address; add one"
    if resolution == "STATIC" and is_dns_name(text):
        return f"{text!r} is no IP address, which resolution STATIC takes; use one"
    return f"{text!r} is neither an IP address nor a name; use one of them"


def endpoint_port(workload: Workload, port: ServicePort) -> int:
    """The workload's own port of that name, else the target port, else the port."""
    return dict(workload.ports).get(port.name) or port.target_port or port.number


class EndpointSource(msgspec.Struct, frozen=True):
    """The part of a ServiceEntry that endpoints are made of."""

    resolution: str
    location: str
    ports: tuple[ServicePort, ...]
    endpoints: tuple[WorkloadEntrySpec, ...]
    selects: bool
    """Whether workloads are asked for by labels; then the endpoints that it lists do not count."""


def endpoint_source(entry: ServiceEntry) -> EndpointSource:
    """A view: nothing else of a ServiceEntry makes its endpoints be collected again."""
    spec = entry.spec
    return EndpointSource(spec.resolution, spec.location, spec.ports, spec.endpoints, selector_of(spec) is not None)


def serve(workloads: Iterable[Workload], port: ServicePort, resolution: str, location: str) -> tuple[Endpoint, ...]:
    """Endpoints of one port: those that are ready and have an address, sorted; each address once, the first that has it."""
    found: dict[tuple[str, int], Endpoint] = {}
    for workload in workloads:
        address, number = usable_address(workload.address, resolution), endpoint_port(workload, port)
        if not (workload.is_ready and address):
            continue
        made = Endpoint(
            workload.locality,
            address,
            number,
            workload.weight,
            workload.pod,
            workload.labels,
            mesh_tls=workload.takes_mesh_tls and location == "MESH_INTERNAL",
        )
        found.setdefault((address, number), made)
    return tuple(sorted(found.values()))


def collect_listed(backend: Backend, source: EndpointSource) -> tuple[Endpoint, ...]:
    """Endpoints of a backend that no selector serves: those that are listed; without any, and by DNS, its own host."""
    port = next((port for port in source.ports if port.number == backend.port), None)
    if port is None:
        return ()
    if not source.endpoints and source.resolution != "STATIC":
        return (Endpoint(Locality(), backend.host, port.target_port or port.number),)
    workloads = listed_endpoints(backend.key[1], source.endpoints)
    return serve(workloads, port, source.resolution, source.location)


def why_unserved(spec: ServiceEntrySpec, host: str, port: ServicePort) -> str:
    """Why a host and port have no cluster, with the remedy; empty if they have one."""
    if spec.resolution == "NONE":
        problem = "resolution NONE sends connections to wherever they were going, which a gateway cannot"
        return f"{problem}; {SERVED_RESOLUTION}"
    if spec.resolution == "DYNAMIC_DNS":
        problem = "resolution DYNAMIC_DNS, names that are looked up as they are asked for, is not supported"
        return f"{problem}; {SERVED_RESOLUTION}"
    if port.protocol.upper() == "UDP":
        return f"port {port.number} is of protocol UDP, which is not supported; {SERVED_PORT}"
    if spec.resolution != "STATIC" and not spec.endpoints and "*" in host:
        return f"{host!r} is no name that DNS can be asked for; list endpoints, or name hosts without '*'"
    return ""


def make_service_entry_backends(entry: ServiceEntry, fetch: Fetch) -> Iterator[Backend]:
    """One backend a host and port, those that are not served included: whoever names them is told why.

    Ports that originate TLS (HTTPS, TLS) are not refused to HTTPRoutes: a DestinationRule may say how to speak to them.
    """
    spec, metadata = entry.spec, entry.metadata
    exported_to = exporting_to(spec.export_to, metadata.namespace)
    for host in spec.hosts:
        addresses = addresses_of(entry, host)
        for port in spec.ports:
            number = port.number
            yield Backend(
                key=("ServiceEntry", entry.key, host, number),
                cluster=service_entry_cluster_name(metadata.namespace, metadata.name, host, number),
                host=host,
                port_name=port.name,
                target_port=port.target_port or number,
                single_port=len(spec.ports) == 1,
                protocol=_PROTOCOLS.get(port.protocol.lower(), "http"),
                application=application_of(port.protocol),
                unserved=why_unserved(spec, host, port),
                discovery=_DISCOVERY.get(spec.resolution, "endpoints"),
                addresses=addresses,
                traffic_distribution=metadata.annotations.get(TRAFFIC_DISTRIBUTION, ""),
                exported_to=exported_to,
                created=metadata.creation_timestamp or "",
            )
