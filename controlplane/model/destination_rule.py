"""Istio's DestinationRule: how clients treat a host.

Field names, defaults and meanings are those of networking.istio.io; what Istio has and we do not act on is listed in
``controlplane.model.known_fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import NamespacedObject, Row
from controlplane.model.scalars import Int32, IstioDuration, UInt32

SimpleLB: TypeAlias = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]
TLSMode: TypeAlias = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
H2UpgradePolicy: TypeAlias = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]


class TcpKeepalive(Row, frozen=True, kw_only=True, gc=False):
    """SO_KEEPALIVE of connections to a backend."""

    probes: UInt32 = 0
    time: IstioDuration | None = None
    interval: IstioDuration | None = None


class TCPSettings(Row, frozen=True, kw_only=True, gc=False):
    """Of every connection to a backend."""

    max_connections: Int32 = 0
    connect_timeout: IstioDuration | None = None
    idle_timeout: IstioDuration | None = None
    max_connection_duration: IstioDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None


class HTTPSettings(Row, frozen=True, kw_only=True, gc=False):
    """Of HTTP connections to a backend; 0 means *not said*."""

    http1_max_pending_requests: Int32 = msgspec.field(name="http1MaxPendingRequests", default=0)
    http2_max_requests: Int32 = msgspec.field(name="http2MaxRequests", default=0)
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: IstioDuration | None = None
    h2_upgrade_policy: H2UpgradePolicy = msgspec.field(name="h2UpgradePolicy", default="DEFAULT")
    max_concurrent_streams: Int32 = 0


class ConnectionPoolSettings(Row, frozen=True, kw_only=True, gc=False):
    """Limits of connections and requests."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Row, frozen=True, kw_only=True, gc=False):
    """When an endpoint is ejected."""

    consecutive_errors: Int32 = 0
    """Deprecated; what Istio takes for ``consecutiveGatewayErrors`` is left to it: we report it as unsupported."""
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = msgspec.field(name="consecutive5xxErrors", default=None)
    interval: IstioDuration | None = None
    base_ejection_time: IstioDuration | None = None
    max_ejection_percent: Annotated[int, Meta(ge=0, le=100)] = 0
    min_health_percent: Annotated[int, Meta(ge=0, le=100)] = 0


class HTTPCookie(Row, frozen=True, kw_only=True, gc=False):
    """A cookie to hash; made where the request has none and ``ttl`` is set."""

    name: str
    path: str = ""
    ttl: IstioDuration | None = None


class RingHash(Row, frozen=True, kw_only=True, gc=False):
    """Ketama."""

    minimum_ring_size: Annotated[int, Meta(ge=0)] = 0
    """At most 8,388,608, Envoy's maximum; 0 means *not said*."""


class Maglev(Row, frozen=True, kw_only=True, gc=False):
    """Maglev's table."""

    table_size: Annotated[int, Meta(ge=0)] = 0
    """Prime, at most 5,000,011; 0 means *not said*."""


class ConsistentHashLB(Row, frozen=True, kw_only=True, gc=False):
    """Requests with one value go to one endpoint.

    At most one of the first four is set (with none, and with ``useSourceIp: false`` alone, there is nothing to hash); at most one
    of the last three.
    """

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Annotated[int, Meta(ge=0)] = 0
    """Deprecated spelling of ``ringHash.minimumRingSize``."""


class Distribute(Row, frozen=True, kw_only=True, gc=False):
    """Shares of the traffic from one locality."""

    from_: str = msgspec.field(name="from", default="")
    to: Mapping[str, UInt32] = msgspec.field(default_factory=dict)
    """Weight by locality; patterns may end in ``*``; weights sum to 100."""


class Failover(Row, frozen=True, kw_only=True, gc=False):
    """The region that takes over from another."""

    from_: str = msgspec.field(name="from", default="")
    to: str = ""


class LocalityLbSetting(Row, frozen=True, kw_only=True, gc=False):
    """Which endpoints a client prefers."""

    enabled: bool | None = None
    """None means true."""
    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    """Labels, or ``label=value``, the most important first."""


class LoadBalancerSettings(Row, frozen=True, kw_only=True, gc=False):
    """How endpoints are chosen."""

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLbSetting | None = None


class ClientTLSSettings(Row, frozen=True, kw_only=True, gc=False):
    """TLS to the backend."""

    mode: TLSMode = "DISABLE"
    credential_name: str = ""
    """A Secret in the namespace of the *client's* Gateway."""
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None
    client_certificate: str = ""
    """A path on the proxy's disk; reported as unsupported, as ``private_key`` and ``ca_certificates`` are."""
    private_key: str = ""
    ca_certificates: str = ""


class PortSelector(Row, frozen=True, kw_only=True, gc=False):
    """Names a port by its number."""

    number: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Never 0 in an object that was accepted."""


class PortTrafficPolicy(Row, frozen=True, kw_only=True, gc=False):
    """The policy of one port; what it does not set is unset, not inherited. Of two for one port the first counts."""

    port: PortSelector = PortSelector()
    connection_pool: ConnectionPoolSettings | None = None
    load_balancer: LoadBalancerSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TrafficPolicy(Row, frozen=True, kw_only=True, gc=False):
    """How clients treat a backend."""

    connection_pool: ConnectionPoolSettings | None = None
    load_balancer: LoadBalancerSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Meta(max_length=4096)] = ()


class ProxySelector(Row, frozen=True, kw_only=True, gc=False):
    """Workloads that carry all these labels; empty selects all."""

    match_labels: Annotated[Mapping[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=4096)] = msgspec.field(
        default_factory=dict
    )


class DestinationRuleSpec(Row, frozen=True, kw_only=True, gc=False):
    """A host, and how clients treat it."""

    host: Annotated[str, Meta(min_length=1)]
    """A DNS name, a Service's short name, or a wildcard. Normalised: in lower case."""
    traffic_policy: TrafficPolicy | None = None
    export_to: tuple[str, ...] = ()
    workload_selector: ProxySelector | None = None


class DestinationRule(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Policies that clients apply to a host."""

    kind: ClassVar[str] = "DestinationRule"
    api_version: str = "networking.istio.io/v1"
    spec: DestinationRuleSpec
