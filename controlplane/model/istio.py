"""Istio's objects, as far as a control plane for gateways and waypoints looks at them.

Field names, defaults and meanings are those of the Istio API (networking.istio.io and security.istio.io); the CRDs are the
reference for each. Fields that Istio has and we do not act on are listed in ``controlplane.model.known_fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import NamespacedObject, Row
from controlplane.model.scalars import Group, IstioDuration, Kind, ObjectName, PortNumber

UINT32_MAX = 2**32 - 1
UInt32: TypeAlias = Annotated[int, Meta(ge=0, le=UINT32_MAX)]
Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Resolution: TypeAlias = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]
Location: TypeAlias = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]
SimpleLB: TypeAlias = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]
TLSMode: TypeAlias = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
H2UpgradePolicy: TypeAlias = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]
AuthorizationAction: TypeAlias = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]


class ServicePort(Row, frozen=True, kw_only=True, gc=False):
    """A port of a ServiceEntry."""

    number: PortNumber
    name: Annotated[str, Meta(max_length=256)] = ""
    """Required by Istio; a rule tells of its absence."""
    protocol: Annotated[str, Meta(max_length=256)] = ""
    """HTTP, HTTPS, GRPC, HTTP2, TCP, TLS ... in any case."""
    target_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0 means ``number``."""


class WorkloadEntrySpec(Row, frozen=True, kw_only=True, gc=False):
    """One workload outside of Kubernetes; also an inline endpoint of a ServiceEntry."""

    address: Annotated[str, Meta(max_length=256)] = ""
    ports: Mapping[str, UInt32] = msgspec.field(default_factory=dict)
    """Port of the workload by the name of the ServiceEntry's port."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    network: Annotated[str, Meta(max_length=2048)] = ""
    locality: Annotated[str, Meta(max_length=2048)] = ""
    """``region/zone/subzone``."""
    weight: UInt32 = 0
    """0 means *not said*."""
    service_account: Annotated[str, Meta(max_length=253)] = ""


class WorkloadSelector(Row, frozen=True, kw_only=True, gc=False):
    """Workloads of the same namespace that carry all these labels; empty selects *nothing*."""

    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class ServiceEntrySpec(Row, frozen=True, kw_only=True, gc=False):
    """Hosts, their ports, and where they are."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=256)] = ()
    """IP addresses or CIDR blocks."""
    ports: Annotated[tuple[ServicePort, ...], Meta(max_length=256)] = ()
    location: Location = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], Meta(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    """Namespaces; ``.`` is the object's own, ``*`` all; empty means all."""
    subject_alt_names: tuple[str, ...] = ()


class ServiceEntryAddress(Row, frozen=True, kw_only=True, gc=False):
    """An address that Istio allocated."""

    value: str = ""
    host: str = ""
    """The host that it is for; empty means all hosts."""


class ServiceEntryStatus(Row, frozen=True, kw_only=True, gc=False):
    """What we read of the status: the addresses that somebody else allocated."""

    addresses: tuple[ServiceEntryAddress, ...] = ()


class ServiceEntry(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Hosts that are no Kubernetes Service."""

    kind: ClassVar[str] = "ServiceEntry"
    api_version: str = "networking.istio.io/v1"
    spec: ServiceEntrySpec
    status: ServiceEntryStatus = ServiceEntryStatus()


class WorkloadCondition(Row, frozen=True, kw_only=True, gc=False):
    """A condition of a WorkloadEntry's or a Pod's status."""

    type: str = ""
    status: str = ""


class WorkloadEntryStatus(Row, frozen=True, kw_only=True, gc=False):
    """What we read of the status: the condition ``Healthy``."""

    conditions: tuple[WorkloadCondition, ...] = ()


class WorkloadEntry(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """One workload that ServiceEntries can select."""

    kind: ClassVar[str] = "WorkloadEntry"
    api_version: str = "networking.istio.io/v1"
    spec: WorkloadEntrySpec
    status: WorkloadEntryStatus = WorkloadEntryStatus()


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


class Maglev(Row, frozen=True, kw_only=True, gc=False):
    """Maglev; the table's size must be prime."""

    table_size: Annotated[int, Meta(ge=0)] = 0


class ConsistentHashLB(Row, frozen=True, kw_only=True, gc=False):
    """Requests with one value go to one endpoint. Exactly one of the first four is set."""

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

    from_: str = msgspec.field(name="from")
    to: Mapping[str, UInt32]
    """Weight by locality; patterns may end in ``*``; weights sum to 100."""


class Failover(Row, frozen=True, kw_only=True, gc=False):
    """The region that takes over from another."""

    from_: str = msgspec.field(name="from")
    to: str


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
    """A Secret in the *client's* namespace."""
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


class PortTrafficPolicy(Row, frozen=True, kw_only=True, gc=False):
    """The policy of one port; what it does not set is unset, not inherited."""

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

    match_labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class DestinationRuleSpec(Row, frozen=True, kw_only=True, gc=False):
    """A host, and how clients treat it."""

    host: Annotated[str, Meta(min_length=1)]
    traffic_policy: TrafficPolicy | None = None
    export_to: tuple[str, ...] = ()
    workload_selector: ProxySelector | None = None


class DestinationRule(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Policies that clients apply to a host."""

    kind: ClassVar[str] = "DestinationRule"
    api_version: str = "networking.istio.io/v1"
    spec: DestinationRuleSpec


class Source(Row, frozen=True, kw_only=True, gc=False):
    """Who asks; all that is set must hold, any value of a list."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(Row, frozen=True, kw_only=True, gc=False):
    """What is asked for; all that is set must hold, any value of a list."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class RuleFrom(Row, frozen=True, kw_only=True, gc=False):
    """One alternative of who asks."""

    source: Source | None = None


class RuleTo(Row, frozen=True, kw_only=True, gc=False):
    """One alternative of what is asked for."""

    operation: Operation | None = None


class AuthorizationCondition(Row, frozen=True, kw_only=True, gc=False):
    """A further attribute of the request. Istio calls it ``Condition``, which is another thing here."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(Row, frozen=True, kw_only=True, gc=False):
    """Matches a request that matches one of ``from``, one of ``to``, and all of ``when``; what is empty matches all."""

    from_: Annotated[tuple[RuleFrom, ...], Meta(max_length=512)] = msgspec.field(name="from", default=())
    to: tuple[RuleTo, ...] = ()
    when: tuple[AuthorizationCondition, ...] = ()


class PolicyTargetReference(Row, frozen=True, kw_only=True, gc=False):
    """Names what a policy is for."""

    kind: Kind
    name: ObjectName
    group: Group = ""
    namespace: str = ""
    """Empty means the policy's own."""


class AuthorizationPolicySpec(Row, frozen=True, kw_only=True, gc=False):
    """Whom to let through. No rules: ALLOW allows nothing, DENY denies nothing."""

    action: AuthorizationAction = "ALLOW"
    rules: Annotated[tuple[AuthorizationRule, ...], Meta(max_length=512)] = ()
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = ()


class AuthorizationPolicy(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Who may ask what of a waypoint or of a service behind it."""

    kind: ClassVar[str] = "AuthorizationPolicy"
    api_version: str = "security.istio.io/v1"
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
