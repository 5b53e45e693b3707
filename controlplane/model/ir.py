"""The intermediate rows: what the reducers make of objects and the translation makes into Envoy's resources.

They speak Gateway API's words, hold nothing of Envoy, and are values: frozen, compared by content, tuples inside. A row's key
is never a position in a list.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from controlplane.model.conditions import Condition
from controlplane.model.gateway import AllowedRoutes, Gateway, RouteGroupKind
from controlplane.model.http_route import (
    HTTPHeaderFilter,
    HTTPRequestRedirectFilter,
    HTTPRouteMatch,
    HTTPURLRewriteFilter,
    ParentReference,
)
from controlplane.model.references import FieldProblem


class ObjectReport(msgspec.Struct, frozen=True):
    """What is known of an object beside its content: where it came from and what is wrong with it."""

    key: str
    """``Kind namespace/name``."""
    source: str
    seq: int
    """The event that last spoke of it."""
    origin: str = ""
    resource_version: str = ""
    present: bool = True
    """False while no good version of it was ever seen."""
    generation: int | None = None
    errors: tuple[FieldProblem, ...] = ()
    warnings: tuple[FieldProblem, ...] = ()
    unsupported: tuple[FieldProblem, ...] = ()


class OwnedGateway(msgspec.Struct, frozen=True):
    """A Gateway whose class is ours."""

    key: str
    gateway: Gateway
    addresses: tuple[str, ...]
    """Addresses that its listeners bind; empty means that none that it asks for can be had."""
    problems: tuple[Condition, ...]
    """Of the Gateway as a whole; with one of them nothing of it is served."""
    waypoint_for: str = ""
    """What a waypoint captures: ``service``, ``all``, or another word, which is nothing; empty for what is no waypoint."""


class Listener(msgspec.Struct, frozen=True):
    """A listener of an owned Gateway."""

    key: tuple[str, str]
    """Gateway key, listener name."""
    port: int
    protocol: str
    hostname: str
    """Lower case; ``*`` for all."""
    addresses: tuple[str, ...]
    allowed: AllowedRoutes
    kinds: tuple[RouteGroupKind, ...]
    """Supported kinds that may attach; empty means none."""
    accepted: Condition
    conflicted: Condition
    kinds_resolved: Condition

    @property
    def gateway(self) -> str:
        """``namespace/name`` of its Gateway."""
        return self.key[0]

    @property
    def name(self) -> str:
        """Its name in the Gateway."""
        return self.key[1]

    @property
    def valid(self) -> bool:
        """Whether it can be served, certificates aside."""
        return self.accepted.status and not self.conflicted.status

    @property
    def route_configuration(self) -> str:
        """Name of the RouteConfiguration that serves it: a function of port and hostname alone, for all time.

        Empty for a listener of a waypoint, whose chains have one each.
        """
        if self.protocol not in ("HTTP", "HTTPS"):
            return ""
        return f"http~{self.port}" if self.protocol == "HTTP" else f"https~{self.port}~{self.hostname}"


class ListenerCertificates(msgspec.Struct, frozen=True):
    """What the certificateRefs of an HTTPS listener resolve to."""

    key: tuple[str, str]
    secrets: tuple[str, ...]
    """Keys of the Secrets that it may use, in the order of the references; those that are missing or broken included."""
    usable: tuple[str, ...]
    """Those of them that hold a certificate."""
    problems: tuple[Condition, ...]


class ListenerPort(msgspec.Struct, frozen=True):
    """One address and port of a Gateway: what becomes one Envoy listener."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    chains: tuple[ListenerChain, ...]
    """Sorted by hostname. Plain HTTP has one, for all hostnames; a waypoint's port has none here."""


class ListenerChain(msgspec.Struct, frozen=True):
    """One filter chain: a hostname by SNI, or all plain HTTP."""

    hostname: str
    protocol: str
    route_configuration: str
    secrets: tuple[str, ...] = ()


class AttachedListener(msgspec.Struct, frozen=True):
    """A listener that a route is attached to, and the hostnames that it serves there."""

    name: str
    port: int
    protocol: str
    hostname: str
    """The listener's own; ``*`` for all."""
    route_configuration: str
    hostnames: tuple[str, ...]
    """The route's, as far as requests for them belong to this listener."""


class RouteParent(msgspec.Struct, frozen=True):
    """One parentRef of a route that names a Gateway of ours, or a service that a waypoint of ours captures."""

    reference: ParentReference
    gateway: str
    """The Gateway, or the service's waypoint."""
    listeners: tuple[AttachedListener, ...]
    accepted: Condition
    chains: tuple[tuple[str, str], ...] = ()
    """Of a service: the keys of the ``WaypointChain`` rows that the route is for; sorted."""


class RouteAttachment(msgspec.Struct, frozen=True):
    """An HTTPRoute and its parents of ours, in the order of its parentRefs."""

    key: str
    parents: tuple[RouteParent, ...]


class ListenerRoute(msgspec.Struct, frozen=True):
    """A route counts for a listener."""

    key: tuple[str, str, str]
    """Gateway, listener name, route."""


class HostRoute(msgspec.Struct, frozen=True):
    """A route serves a hostname of a RouteConfiguration; or, with an empty route, a listener says whose the hostname is."""

    key: tuple[str, str, str, str]
    """Gateway, route configuration, hostname, route."""
    listener: str
    """Hostname of the listener that the requests belong to; one and the same for all that share the first three."""
    misdirected: bool = False
    """The hostname is another listener's of the port: who asks for it on this connection is answered with 421."""


class BackendTarget(msgspec.Struct, frozen=True):
    """Where a share of a rule's requests goes."""

    cluster: str
    """Empty when the reference does not resolve: this share is answered with 500."""
    weight: int
    request_headers: HTTPHeaderFilter | None = None
    response_headers: HTTPHeaderFilter | None = None
    rewrite_hostname: str = ""


class MirrorTarget(msgspec.Struct, frozen=True):
    """Where copies of a rule's requests go."""

    cluster: str
    parts_per_million: int


class RouteRule(msgspec.Struct, frozen=True):
    """A rule of an HTTPRoute with its references resolved."""

    index: int
    matches: tuple[HTTPRouteMatch, ...]
    backends: tuple[BackendTarget, ...] = ()
    mirrors: tuple[MirrorTarget, ...] = ()
    request_headers: HTTPHeaderFilter | None = None
    response_headers: HTTPHeaderFilter | None = None
    redirect: HTTPRequestRedirectFilter | None = None
    rewrite: HTTPURLRewriteFilter | None = None
    rewrite_hostname: str = ""
    """From a Host header that is set; the rewrite has precedence."""
    timeout_ms: int | None = None
    """Milliseconds; 0 disables it; None where the route does not say."""
    failure: str = ""
    """Why the rule as a whole cannot be served; its requests get 500."""
    unmatchable: tuple[int, ...] = ()
    """Positions of matches that cannot be compared with; nobody can tell which requests they mean, so they get none."""


class ResolvedRoute(msgspec.Struct, frozen=True):
    """An HTTPRoute ready for translation."""

    key: str
    created: str
    """RFC 3339, as the object has it; empty sorts last."""
    rules: tuple[RouteRule, ...]
    unresolved: tuple[Condition, ...]
    """Of ResolvedRefs, in the order of the rules."""
    invalid: tuple[Condition, ...]
    """Of Accepted or PartiallyInvalid: rules that cannot be served."""


REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
NETWORK: Final = "topology.istio.io/network"
NODE: Final = "kubernetes.io/hostname"
"""Labels that say where something runs. They stand among a workload's and a proxy's labels, wherever they were learned."""


class Locality(msgspec.Struct, frozen=True, order=True):
    """Where something runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """From ``region/zone/subzone``; what is missing is unknown, what is too much is left out."""
        return cls(*[part.strip() for part in text.split("/")][:3])

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


BackendKey: TypeAlias = tuple[str, str, str, int]
"""Kind, ``namespace/name``, host (empty for a Service), port."""


class Backend(msgspec.Struct, frozen=True):
    """One port of a service, wherever the service is defined: what becomes one cluster."""

    key: BackendKey
    cluster: str
    """Unique, and what routes, waypoints and policies name it by."""
    host: str
    """What DestinationRules and SNI call it: ``name.namespace.svc.cluster.local``, or a ServiceEntry's host; lower case."""
    port_name: str
    target_port: int | None
    """Numeric target port, if the service gives one."""
    single_port: bool
    protocol: str
    """``http``, ``h2c`` or ``ws``."""
    application: Literal["http", "tcp"] = "http"
    """How a waypoint takes it. An HTTPRoute that names it speaks HTTP to it whatever this says."""
    unsupported_protocol: str = ""
    """The port's appProtocol, if no HTTPRoute can speak it."""
    unserved: str = ""
    """Why there is no cluster although the object exists (a resolution that we do not do), with the remedy."""
    ip_families: tuple[str, ...] = ()
    discovery: Literal["endpoints", "dns", "dns_round_robin"] = "endpoints"
    """Where its endpoints come from: load assignments, or names that Envoy resolves."""
    addresses: tuple[str, ...] = ()
    """Its own addresses (VIPs; a ServiceEntry's can be CIDR blocks), as the object lists them; empty if it has none."""
    traffic_distribution: str = ""
    exported_to: tuple[str, ...] = ()
    """Namespaces that may name its host; empty means all."""
    created: str = ""

    @property
    def namespace(self) -> str:
        """Of its object."""
        return self.key[1].partition("/")[0]

    @property
    def owner(self) -> str:
        """``Kind namespace/name`` of its object."""
        return f"{self.key[0]} {self.key[1]}"

    @property
    def port(self) -> int:
        """The service's port, not its endpoints'."""
        return self.key[3]


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """One address that serves."""

    locality: Locality
    address: str
    """IP address; for a backend that Envoy resolves, possibly a DNS name."""
    port: int
    weight: int = 0
    """0 means *not said*, which counts as 1."""
    pod: str = ""
    """``namespace/name`` of the Pod whose labels are its labels; empty where ``labels`` has them."""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted, the network's among them; without those of ``locality``."""
    mesh_tls: bool = False
    """It takes Istio's mutual TLS: ``envoy.transport_socket_match: {tlsMode: istio}``."""


class BackendEndpoints(msgspec.Struct, frozen=True):
    """The endpoints of a backend: sorted, without duplicates; empty means that requests get 503."""

    key: BackendKey
    cluster: str
    endpoints: tuple[Endpoint, ...]


class LocalityPolicy(msgspec.Struct, frozen=True):
    """Which endpoints a client prefers."""

    failover_priority: tuple[str, ...] = ()
    """``label`` or ``label=value``, the most important first."""
    failover: tuple[tuple[str, str], ...] = ()
    """Region, and the region that takes over, in order."""
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    """From, and for each pattern its weight, sorted; excludes the two others."""


class LocalityGroup(msgspec.Struct, frozen=True):
    """Endpoints of one locality and priority: what becomes one ``LocalityLbEndpoints``."""

    locality: Locality
    priority: int
    weight: int
    """0 where nothing is to be said."""
    endpoints: tuple[Endpoint, ...]


class Client(msgspec.Struct, frozen=True):
    """A connected proxy as rules see it."""

    key: str
    """The proxy."""
    gateway: str
    class_name: str
    """``ClientClass.key[1]``: proxies that no rule tells apart share it."""


class ClientClass(msgspec.Struct, frozen=True):
    """Proxies of a gateway that no rule tells apart."""

    key: tuple[str, str]
    """Gateway, and the class's name: its namespace and labels in one text."""
    namespace: str
    labels: tuple[tuple[str, str], ...]
    """Those that some rule looks at, sorted, the labels of its locality among them; an absent one is absent."""

    @property
    def locality(self) -> Locality:
        """As far as some rule looks at it."""
        known = dict(self.labels)
        return Locality(known.get(REGION, ""), known.get(ZONE, ""), known.get(SUBZONE, ""))


class RuleCandidate(msgspec.Struct, frozen=True):
    """A DestinationRule whose host matches a backend's, and what decides whether a client goes by it."""

    rule: str
    """``namespace/name``."""
    exported_to: tuple[str, ...]
    """Namespaces of clients, ``.`` resolved; ``*`` alone for all."""
    selector: tuple[tuple[str, str], ...]
    """Labels that a client must have, in the rule's own namespace; empty for all."""
    specificity: int
    """Of the host's pattern: greater is more specific; an exact host is greater than any wildcard."""
    created: str


class BackendRules(msgspec.Struct, frozen=True):
    """The DestinationRules that can apply to a backend; absent where there is none."""

    key: str
    """The cluster."""
    candidates: tuple[RuleCandidate, ...]
    """Sorted by rule."""


class Permission(msgspec.Struct, frozen=True):
    """One pair of a ReferenceGrant."""

    key: tuple[str, int, int]
    """Grant, index of from, index of to."""
    from_kind: str
    from_namespace: str
    to_kind: str
    to_namespace: str
    to_name: str
    """Empty for all."""


class ObjectStatus(msgspec.Struct, frozen=True):
    """The status of one object, as it would be written."""

    key: str
    """``Kind namespace/name``."""
    document: bytes
    """Canonical JSON: bytes compare and hash as the value does."""


class WaypointListener(msgspec.Struct, frozen=True):
    """A listener of a waypoint that takes traffic for the services that it captures."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    protocol: Literal["PROXY", "HBONE"]
    """PROXY protocol from a node's proxy, or CONNECT over mutual TLS."""
    secrets: tuple[str, ...] = ()
    """HBONE: Secrets of its certificateRefs that hold a certificate; the first that has CA certificates says whom to trust."""


class WaypointChain(msgspec.Struct, frozen=True):
    """One port of a captured service on its waypoint: what becomes one filter chain."""

    key: tuple[str, str]
    """Gateway, and the chain's name: ``fc_http_80_name_namespace``."""
    port: int
    addresses: tuple[str, ...]
    """IP addresses and CIDR blocks; never empty."""
    application: Literal["http", "tcp"]
    cluster: str
    """The service's own."""
    policies: tuple[str, ...] = ()
    """AuthorizationPolicies that hold for it, sorted."""

    @property
    def gateway(self) -> str:
        """``namespace/name`` of the waypoint."""
        return self.key[0]

    @property
    def route_configuration(self) -> str:
        """Name of its RouteConfiguration, if it speaks HTTP: the chain's own."""
        return self.key[1]


class WaypointRoute(msgspec.Struct, frozen=True):
    """A route has a part in a chain's virtual hosts."""

    key: tuple[str, str, str]
    """Gateway, route configuration (the chain's name), route."""
    rank: int
    """0: attached to the service, whatever its hostnames (GAMMA). 1: attached to the waypoint, for its hostnames."""
    hostnames: tuple[str, ...] = ()
    """Of rank 1; empty for all."""


class IngressVirtualAddresses(msgspec.Struct, frozen=True):
    """A backend that gateways reach at the service's own address, so that its waypoint sees the traffic."""

    key: str
    """The cluster."""
    addresses: tuple[str, ...]
    """Sorted as the settings say, IP addresses only; empty if the service has none, and then requests get 503."""
    port: int
