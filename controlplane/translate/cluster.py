"""Backends into clusters and load assignments."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from controlplane._proto.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    Http2ProtocolOptions,
    Locality,
    SocketAddress,
)
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.ir import Backend, BackendEndpoints
from controlplane.translate.resource import Encoded, encoded

_UNLIMITED: Final = 2**32 - 1
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER_LIMIT: Final = 32_768
_LOAD_ASSIGNMENT_TIMEOUT: Final = timedelta(seconds=5)


def ads(initial_fetch_timeout: timedelta | None = None) -> ConfigSource:
    """The config source of everything that we serve: the stream that this came on."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=initial_fetch_timeout,
    )


def translate_cluster(backend: Backend, settings: Settings) -> Encoded:
    """The cluster of a backend.

    Envoy's own circuit breakers (1,024 requests) are lifted: nobody asked for them, and they answer 503. The load assignment's
    fetch timeout bounds what a lost assignment can hold up (reference: envoy-observed, "CDS ACK").
    """
    options = {}
    if backend.protocol == "h2c":
        explicit = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
        options[_HTTP_OPTIONS] = Any.pack(HttpProtocolOptions(explicit_http_config=explicit))
    cluster = Cluster(
        name=backend.cluster,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=ads(_LOAD_ASSIGNMENT_TIMEOUT)),
        connect_timeout=timedelta(milliseconds=settings.connect_timeout_ms),
        per_connection_buffer_limit_bytes=_BUFFER_LIMIT,
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=_UNLIMITED,
                    max_pending_requests=_UNLIMITED,
                    max_requests=_UNLIMITED,
                    max_retries=_UNLIMITED,
                )
            ]
        ),
        typed_extension_protocol_options=options,
        # An endpoint that Kubernetes has withdrawn goes at once, whatever health checks think of it.
        ignore_health_on_host_removal=True,
    )
    return encoded(backend.cluster, bytes(cluster))


def translate_endpoints(row: BackendEndpoints) -> Encoded:
    """The load assignment of a backend: its endpoints by zone. Without endpoints it is empty, never absent."""
    by_zone: dict[str, list[LbEndpoint]] = defaultdict(list)
    for endpoint in row.endpoints:
        address = SocketAddress(address=endpoint.address, port_value=endpoint.port)
        by_zone[endpoint.zone].append(LbEndpoint(endpoint=Endpoint(address=Address(socket_address=address))))
    assignment = ClusterLoadAssignment(
        cluster_name=row.cluster,
        endpoints=[
            LocalityLbEndpoints(locality=Locality(zone=zone) if zone else None, lb_endpoints=by_zone[zone])
            for zone in sorted(by_zone)
        ],
    )
    return encoded(row.cluster, bytes(assignment))
