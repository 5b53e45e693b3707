"""Services as backends: one a TCP port.

Sources: Kubernetes core/v1 Service, KEP-3726 (appProtocol), GEP-1911; Istio's annotations (istio-semantics, 1.6, 1.8, 4.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from controlplane.krt import Fetch
from controlplane.model.kubernetes import Service, ServicePort
from controlplane.model.services import Backend
from controlplane.reducers.base import Base, CurrentSettings

EXPORT_TO: Final = "networking.istio.io/exportTo"
TRAFFIC_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
_CLUSTER_DOMAIN: Final = "cluster.local"

_PROTOCOLS: Final = {"kubernetes.io/h2c": "h2c", "kubernetes.io/ws": "ws", "grpc": "h2c", "http2": "h2c"}
_NEEDING_TLS: Final = frozenset({"https", "tls", "wss", "grpcs"})
_SPEAKING_HTTP: Final = frozenset({"http", "http2", "http_proxy", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws"})


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


def application_of(protocol: str) -> Literal["http", "tcp"]:
    """How a waypoint takes a port of this protocol: by the part before the first ``-``, in any case.

    ``kubernetes.io/h2c`` and ``kubernetes.io/ws`` are HTTP too, which Istio's list leaves out.

    Source: istio-semantics, 4.4.
    """
    return "http" if protocol.lower().partition("-")[0] in _SPEAKING_HTTP else "tcp"


def exporting_to(values: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Namespaces that may name a host.

    Args:
        values: ``exportTo`` as Istio has it: namespaces, ``.`` for its own, ``*`` for all, ``~`` for none.
        namespace: The object's own.

    Returns:
        Sorted; empty for all; ``("~",)``, which is no namespace's name, for none.
    """
    given = {value.strip() for value in values} - {""}
    if not given or "*" in given:
        return ()
    named = {namespace if value == "." else value for value in given - {"~"}}
    return tuple(sorted(named)) or ("~",)


def service_addresses(service: Service) -> tuple[str, ...]:
    """A Service's own addresses; empty for a headless one and where nobody assigned any."""
    given = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return tuple(address for address in given if address not in ("", "None"))


def _cluster_domain(row: CurrentSettings) -> str:
    return row.settings.cluster_domain


def _word_for(port: ServicePort) -> str:
    return port.app_protocol or port.name or port.protocol


def make_service_backends(service: Service, fetch: Fetch, base: Base) -> Iterator[Backend]:
    """One backend a TCP port. An ExternalName service has none: it would let a route reach any name at all."""
    if service.spec.type == "ExternalName":
        return
    metadata = service.metadata
    domain = fetch(base.settings, "settings", view=_cluster_domain) or _CLUSTER_DOMAIN
    ports = {port.port: port for port in service.spec.ports if port.protocol == "TCP"}
    for number, port in ports.items():
        target = port.target_port if port.target_port is not None else number
        yield Backend(
            key=("Service", service.key, "", number),
            cluster=service_cluster_name(metadata.namespace, metadata.name, number),
            host=f"{metadata.name}.{metadata.namespace}.svc.{domain}".lower(),
            port_name=port.name,
            target_port=target if isinstance(target, int) else None,
            single_port=len(ports) == 1,
            protocol=_PROTOCOLS.get(port.app_protocol or "", "http"),
            application=application_of(_word_for(port)),
            unsupported_protocol=unspoken(port.app_protocol or ""),
            ip_families=service.spec.ip_families,
            addresses=service_addresses(service),
            traffic_distribution=service.spec.traffic_distribution
            or metadata.annotations.get(TRAFFIC_DISTRIBUTION, ""),
            exported_to=exporting_to(metadata.annotations.get(EXPORT_TO, "").split(","), metadata.namespace),
            created=metadata.creation_timestamp or "",
        )
