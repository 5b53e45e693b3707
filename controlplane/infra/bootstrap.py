"""The bootstrap: the few lines with which an Envoy finds this control plane, and that xDS cannot change afterwards.

Each value is there for a reason that was seen on a real Envoy; the rest is left at Envoy's defaults. Statistics in particular stay whole: an Envoy whose ``stats_matcher`` drops ``cluster_manager.warming_clusters`` stops
taking clusters for good.

This module must not know who runs the Envoy: host mode, containers and ``controlplane bootstrap`` use the same document.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import yaml

from controlplane.infra.client_tls import ClientTls, transport_socket
from controlplane.infra.errors import InfraError

Document: TypeAlias = dict[str, object]
"""A JSON object in protobuf's JSON form."""

XDS_CLUSTER: Final = "controlplane_xds"
"""Name of the bootstrap's one static cluster: the way to the control plane."""

_RE2_ERROR_LEVEL: Final = 2**32 - 1
_INTERNAL_LISTENER: Final = "envoy.bootstrap.internal_listener"
_INTERNAL_LISTENER_TYPE: Final = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"


def bootstrap(
    gateway: str,
    *,
    xds_address: str,
    xds_port: int,
    node_id: str = "",
    cluster: str = "",
    region: str = "",
    zone: str = "",
    sub_zone: str = "",
    labels: Mapping[str, str] = MappingProxyType({}),
    admin_address: str = "127.0.0.1",
    admin_port: int = 0,
    tls: ClientTls | None = None,
) -> Document:
    """The bootstrap of an Envoy that serves one Gateway.

    Args:
        gateway: ``namespace/name``.
        xds_address: Where the Envoy reaches the control plane: an IP address, or a DNS name that it resolves itself.
        xds_port: Port there.
        node_id: ``{pod}.{namespace}``; empty takes the Gateway's own name and namespace.
        cluster: What Envoy calls its service cluster; empty takes ``{name}.{namespace}`` of the Gateway.
        region: Locality of the Envoy; empty parts are left out.
        zone: See ``region``.
        sub_zone: See ``region``.
        labels: What rules may tell this Envoy by, where its Pod is not known.
        admin_address: Address of Envoy's admin interface, which lets whoever reaches it stop the Envoy.
        admin_port: Its port; 0 takes a free one (``--admin-address-path`` tells which).
        tls: What the Envoy connects with; None is plaintext.

    Returns:
        An ``envoy.config.bootstrap.v3.Bootstrap`` in JSON form, the same for the same arguments.

    Raises:
        InfraError: ``gateway`` is not ``namespace/name``, or ``tls`` is not whole.
    """
    if tls is not None:
        tls.check()
    namespace, slash, name = gateway.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise InfraError(f"{gateway!r} does not name a Gateway: write namespace/name")
    locality = {"region": region, "zone": zone, "sub_zone": sub_zone}
    metadata: Document = {"role": f"controlplane~{namespace}~{name}"}
    if labels:
        metadata["labels"] = dict(labels)
    node: Document = {
        "id": node_id or f"{name}.{namespace}",
        "cluster": cluster or f"{name}.{namespace}",
        "metadata": metadata,
    }
    if any(locality.values()):
        node["locality"] = {key: value for key, value in locality.items() if value}
    return {
        "node": node,
        "admin": {"address": _socket_address(admin_address, admin_port)},
        "dynamic_resources": {
            "ads_config": _ads(),
            "lds_config": _over_ads(),
            "cds_config": _over_ads(),
        },
        "static_resources": {"clusters": [_xds_cluster(xds_address, xds_port, tls)]},
        # A waypoint's HBONE listener hands what it has unwrapped to a listener inside of the process, which no Envoy takes
        # without this. It costs nothing where there is none, and nobody has to know beforehand which Gateway is a waypoint.
        "bootstrap_extensions": [{"name": _INTERNAL_LISTENER, "typed_config": {"@type": _INTERNAL_LISTENER_TYPE}}],
        # Envoy refuses regular expressions above a program size of 100, which `[0-9a-f]{1,40}` already passes, and nobody
        # can reckon the size of what they write. RE2 runs in linear time whatever the size, so there is nothing to guard.
        "layered_runtime": {
            "layers": [{"name": "controlplane", "static_layer": {"re2.max_program_size.error_level": _RE2_ERROR_LEVEL}}]
        },
    }


def to_yaml(document: Document) -> str:
    """The document as YAML, in its own order, ending in a newline."""
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=False)


def _socket_address(address: str, port: int) -> Document:
    return {"socket_address": {"address": address, "port_value": port}}


def _ads() -> Document:
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        # Without it every request and ACK carries the node: 61 kB, and 12 ms of the server's time to parse.
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    # Envoy's own maximum is 30 s, for which a control plane that is back would go unnoticed.
                    "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}},
                }
            }
        ],
    }


def _over_ads() -> Document:
    # Envoy would else go live after 15 s without a first answer, empty: a control plane that is slow to be complete would
    # be answered for by 404s. With 0 it waits.
    return {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"}


def _xds_cluster(address: str, port: int, tls: ClientTls | None) -> Document:
    cluster: Document = {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_address(address, port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    # Half-open connections: without pings an Envoy goes without updates until somebody restarts it.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
        # The same one layer down, for a peer whose kernel still answers though nobody reads.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 10}
        },
    }
    if tls is not None:
        cluster["transport_socket"] = transport_socket(tls, address)
    if not _is_ip(address):
        cluster["type"] = "STRICT_DNS"
        # A resolver that does not answer must not hold up the start.
        cluster["wait_for_warm_on_init"] = False
        # The default takes IPv6 answers alone where there are any: "localhost" would miss a server on 127.0.0.1.
        cluster["dns_lookup_family"] = "V4_PREFERRED"
    return cluster


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
